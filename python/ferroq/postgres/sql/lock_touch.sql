-- try_acquire, second: a real DELETE of the job's place in line, and a fresh row in its stead.
--
-- In:   $1 id.
-- Keeps: a claim whose snapshot is older than the lock sees only the deleted row and skips it, whichever comes first; one
--       that sees the new row sees the lock too. A claim, or a crash-failing, in flight is waited for. An UPDATE would
--       not do: a claim follows it to the new version under its old snapshot.
WITH target AS MATERIALIZED (SELECT seq FROM {schema}.job WHERE id = $1),
taken AS (
    DELETE FROM {schema}.ready WHERE seq = (SELECT seq FROM target) RETURNING *
),
put_back AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue, state)
    SELECT seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version,
           trace_token, queue, state
      FROM taken
    RETURNING seq
),
waited AS (
    SELECT l.seq FROM (SELECT count(*) FROM put_back) p
     CROSS JOIN LATERAL (SELECT * FROM {schema}.lease l
                          WHERE l.seq = (SELECT seq FROM target) AND p.count >= 0 FOR UPDATE) l
)
SELECT count(*) FROM waited
