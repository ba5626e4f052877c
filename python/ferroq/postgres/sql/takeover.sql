-- Puts jobs that came due, and lapsed claims, in line: into ready, where claims find them in claim order.
--
-- In:   $1 clock offset; $2 at most that many of each, in order of their times; $3 max_crashes.
-- Out:  moved (how many), doomed (whether lapsed claims at the crash limit wait to be failed).
-- Keeps: no job changes: it shows its stored state until a claim takes it, and its holder may still renew a lapsed claim.
--       Waits for a takeover in flight rather than skipping its rows: the claim behind this must see what that moved.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
),
come_due AS (
    DELETE FROM {schema}.future
     WHERE ctid = ANY (ARRAY (
            SELECT * FROM (
                SELECT f.ctid FROM {schema}.future f WHERE f.due <= (SELECT now FROM clock)
                 ORDER BY f.due, (f.seq + 0) LIMIT 1000 FOR UPDATE) y
             LIMIT $2::int))
    RETURNING *
),
lapsed AS (
    UPDATE {schema}.lease
       SET parked = true
     WHERE ctid = ANY (ARRAY (
            SELECT * FROM (
                SELECT l.ctid FROM {schema}.lease l
                 WHERE NOT l.parked AND l.expires_at <= (SELECT now FROM clock) AND l.crash_count + 1 < $3
                   AND {lease_is_free}
                 ORDER BY l.expires_at, l.seq LIMIT 1000 FOR UPDATE) y
             LIMIT $2::int))
    RETURNING *
),
put_in_line AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue, state)
    SELECT m.seq, m.due, 0, ~j.priority, m.version, m.attempt, m.crash_count, m.retry_count, m.kind, m.trace_kind,
           m.trace_version, m.trace_token, j.queue, m.state
      FROM (SELECT seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version, trace_token,
                   state
              FROM come_due
            UNION ALL
            SELECT seq, due, version, attempt, crash_count, retry_count, 1::smallint, trace_kind, trace_version,
                   trace_token, NULL
              FROM lapsed) m
     CROSS JOIN LATERAL (SELECT k.priority, k.queue FROM {schema}.job k WHERE k.seq = m.seq OFFSET 0) j
    RETURNING seq
)
SELECT (SELECT count(*) FROM put_in_line) AS moved,
       EXISTS (SELECT FROM (SELECT l.seq FROM {schema}.lease l
                             WHERE NOT l.parked AND l.expires_at <= (SELECT now FROM clock)
                               AND l.crash_count + 1 >= $3 AND {lease_is_free}
                             ORDER BY l.expires_at, l.seq LIMIT 1) y) AS doomed
