-- Part of list.sql: processing jobs.
SELECT l.seq FROM {schema}.lease l
 WHERE l.seq < $1::bigint
   AND ($3::text IS NULL OR (SELECT j.queue FROM {schema}.job j WHERE j.seq = l.seq) = $3)
 ORDER BY l.seq DESC LIMIT 1000
