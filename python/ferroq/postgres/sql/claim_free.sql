-- Gives back a live claim: enqueued at once, attempt kept, no settlement.
--
-- In:   $1 clock offset; $2 id; $3 token.
-- Out:  a row if there was one: the queue of the job.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
freed AS (
    DELETE FROM {schema}.lease l
     WHERE l.seq = (SELECT j.seq FROM {schema}.job j WHERE j.id = $2) AND l.token = $3 AND l.parked::int = 0
       AND l.expires_at > (SELECT now FROM clock)
    RETURNING l.*
)
INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                            trace_version, trace_token, queue)
SELECT f.seq, f.due, c.now, ~j.priority, f.version + 1, f.attempt, f.crash_count, f.retry_count, 0, f.trace_kind,
       f.trace_version, f.trace_token, j.queue
  FROM freed f
 CROSS JOIN clock c
 CROSS JOIN LATERAL (SELECT k.priority, k.queue FROM {schema}.job k WHERE k.seq = f.seq OFFSET 0) j
RETURNING queue
