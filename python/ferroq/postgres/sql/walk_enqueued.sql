-- Part of list.sql: enqueued jobs.
SELECT r.seq FROM {schema}.ready r
 WHERE r.seq < $1::bigint AND r.kind = 0 AND ($3::text IS NULL OR r.queue = $3)
 ORDER BY r.seq DESC LIMIT 1000
