-- Fails lapsed claims at the crash limit, whose rows doomed_lock.sql locked, unless a live explicit lock is held on them.
--
-- In:   $1 clock offset; $2 their seqs.
-- Out:  how many.
-- Keeps: crash_count and version + 1; attempt, retry_count and the last settlement's trace stay; kept in any case.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
),
failed AS (
    DELETE FROM {schema}.lease l WHERE l.seq = ANY ($2::bigint[]) AND {lease_is_free} RETURNING l.*
),
kept AS (
    INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                               trace_version, trace_token, state)
    SELECT f.seq, c.now, f.version + 1, f.attempt, f.crash_count + 1, f.retry_count, 3, f.trace_kind, f.trace_version,
           f.trace_token,
           '{"failed_at":' || c.now || ',"exception":"lock lapsed ' || f.crash_count + 1
             || ' times","stack_trace":null,"retry_count":' || f.retry_count || '}'
      FROM failed f, clock c
    RETURNING seq
)
SELECT count(*) FROM kept
