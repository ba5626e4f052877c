-- Part of list.sql: finished jobs of one kind ($4).
SELECT d.seq FROM {schema}.done d
 WHERE d.kind = $4::smallint AND d.seq < $1::bigint
   AND ($3::text IS NULL OR (SELECT j.queue FROM {schema}.job j WHERE j.seq = d.seq) = $3)
 ORDER BY d.seq DESC LIMIT 1000
