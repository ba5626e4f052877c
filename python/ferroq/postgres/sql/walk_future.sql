-- Part of list.sql: scheduled or awaiting retry ($4), also those that came due and were put in line.
(SELECT f.seq FROM {schema}.future f
  WHERE f.kind = $4::smallint AND f.seq < $1::bigint
    AND ($3::text IS NULL OR (SELECT j.queue FROM {schema}.job j WHERE j.seq = f.seq) = $3)
  ORDER BY f.seq DESC LIMIT 1000)
UNION ALL
(SELECT r.seq FROM {schema}.ready r
  WHERE r.kind = $4::smallint AND r.kind <> 0 AND r.seq < $1::bigint AND ($3::text IS NULL OR r.queue = $3)
  ORDER BY r.seq DESC LIMIT 1000)
 ORDER BY seq DESC LIMIT 1000
