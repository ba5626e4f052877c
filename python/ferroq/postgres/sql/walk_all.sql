-- Part of list.sql: every job. The constant limit keeps generic plans on the index.
SELECT j.seq FROM {schema}.job j
 WHERE j.seq < $1::bigint AND ($3::text IS NULL OR j.queue = $3)
 ORDER BY j.seq DESC LIMIT 1000
