-- The claims that a request made: what a re-sent claim answers with after a lost reply.
--
-- In:   $1 the request id.
-- Out:  as claim.sql; no row if the request claimed nothing, or never arrived.
-- Keeps: walks lease without an index, for it runs after a dropped connection only.
SELECT j.id, j.method, j.arguments, j.created_at, j.queue, j.priority, j.max_retries, j.job_type, j.timeout_seconds,
       j.metadata, l.attempt, l.crash_count, l.retry_count, l.version, l.seq, l.token, l.started_at AS since,
       false AS lapsed, l.due, 0::bigint AS head
  FROM {schema}.lease l
 CROSS JOIN LATERAL (SELECT * FROM {schema}.job k WHERE k.seq = l.seq OFFSET 0) j
 WHERE l.request = $1
 ORDER BY ~j.priority, l.due, l.seq
