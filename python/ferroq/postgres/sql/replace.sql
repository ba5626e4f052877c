-- Replaces unlocked jobs that nobody holds: the common update without a claim. What it does not return was not replaced.
--
-- In:   $1 clock offset; $2 kinds that are not kept; then by position, these arrays written out as texts, $3 place, $4 seq,
--       $5 version, $6 id, and these not, $7 kind (not 1), $8 state, $9 due, $10 retry_count, $11 queue, $12 priority,
--       $13 max_retries, $14 job_type, $15 timeout_seconds, $16 metadata.
-- Out:  place, version, attempt, crash_count, retry_count of each job that was replaced.
-- Keeps: the row where a job stands is locked and deleted only at the version that the caller read; a job under a claim,
--       live or lapsed, is left to the locking path. The rules are those of records.replaced.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT i.*, (j.queue, j.priority, j.max_retries, j.job_type, j.timeout_seconds, j.metadata)
                IS DISTINCT FROM
                (i.queue, i.priority, i.max_retries, i.job_type, i.timeout_seconds, i.metadata) AS changed
      FROM unnest($3::text::int[], $4::text::bigint[], $5::text::int[], $6::text::text[], $7::smallint[],
                  $8::text[], $9::bigint[],
                  $10::int[], $11::text[], $12::int[], $13::int[], $14::text[], $15::int[], $16::text[])
           AS i (ord, seq, version, id, kind, state, due, retry_count, queue, priority, max_retries, job_type,
                 timeout_seconds, metadata)
     CROSS JOIN LATERAL (SELECT * FROM {schema}.job k WHERE k.seq = i.seq OFFSET 0) j
     WHERE j.id = i.id
),
from_ready AS (
    DELETE FROM {schema}.ready
     WHERE ctid = ANY (ARRAY (
            SELECT s.tid FROM (SELECT seq, version FROM input ORDER BY seq OFFSET 0) i
             CROSS JOIN LATERAL (SELECT r.ctid AS tid, r.version, r.kind FROM {schema}.ready r
                                  WHERE r.seq = i.seq FOR UPDATE) s
             WHERE s.version = i.version AND s.kind <> 1))
    RETURNING *
),
from_future AS (
    DELETE FROM {schema}.future
     WHERE ctid = ANY (ARRAY (
            SELECT s.tid FROM (SELECT seq, version FROM input ORDER BY seq OFFSET 0) i
             CROSS JOIN LATERAL (SELECT f.ctid AS tid, f.version FROM {schema}.future f
                                  WHERE f.kind IN (5, 6) AND f.seq = i.seq FOR UPDATE) s
             WHERE s.version = i.version))
    RETURNING *
),
from_done AS (
    DELETE FROM {schema}.done
     WHERE ctid = ANY (ARRAY (
            SELECT s.tid FROM (SELECT seq, version FROM input ORDER BY seq OFFSET 0) i
             CROSS JOIN LATERAL (SELECT d.ctid AS tid, d.version FROM {schema}.done d
                                  WHERE d.kind IN (2, 3, 4) AND d.seq = i.seq FOR UPDATE) s
             WHERE s.version = i.version))
    RETURNING *
),
moved AS (
    SELECT seq, kind, due, NULL::bigint AS finished_at, attempt, crash_count, retry_count, trace_kind, trace_version,
           trace_token
      FROM from_ready
    UNION ALL
    SELECT seq, kind, due, NULL, attempt, crash_count, retry_count, trace_kind, trace_version, trace_token
      FROM from_future
    UNION ALL
    SELECT seq, kind, NULL, finished_at, attempt, crash_count, retry_count, trace_kind, trace_version, trace_token
      FROM from_done
),
won AS MATERIALIZED (
    SELECT i.ord, i.seq, i.kind, m.kind AS was, i.state, i.queue, i.priority, i.changed, i.version + 1 AS version,
           CASE WHEN i.kind IN (5, 6) THEN i.due WHEN i.kind = 0 AND m.kind = 0 THEN m.due ELSE c.now END AS due,
           CASE WHEN i.kind = m.kind THEN m.finished_at ELSE c.now END AS finished_at, m.attempt,
           CASE WHEN i.kind = 0 AND m.kind = 3 THEN 0 ELSE m.crash_count END AS crash_count,
           CASE WHEN i.kind = 0 AND m.kind = 3 THEN 0
                WHEN i.kind IN (3, 6) THEN i.retry_count ELSE m.retry_count END AS retry_count,
           m.trace_kind, m.trace_version, m.trace_token
      FROM moved m
      FULL JOIN input i ON i.seq = m.seq
     CROSS JOIN clock c
     WHERE coalesce(m.seq, -1) >= 0 AND coalesce(i.seq, -1) >= 0
),
finished AS (
    INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                               trace_version, trace_token, state)
    SELECT seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version, trace_token,
           state
      FROM won WHERE kind IN (2, 3, 4) AND (kind = was OR kind <> ALL ($2::smallint[]))
),
dropped AS (
    DELETE FROM {schema}.job
     WHERE seq = ANY (ARRAY (SELECT seq FROM won WHERE kind <> was AND kind = ANY ($2::smallint[])))
    RETURNING id
),
unlocked AS (DELETE FROM {schema}.explicit_lock WHERE id = ANY (ARRAY (SELECT id FROM dropped))),
put_off AS (
    INSERT INTO {schema}.future (seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version,
                                 trace_token, state)
    SELECT seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version, trace_token, state
      FROM won WHERE kind IN (5, 6)
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue)
    SELECT seq, due, (state::json ->> 'enqueued_at')::bigint, ~priority, version, attempt, crash_count, retry_count, 0,
           trace_kind, trace_version, trace_token, queue
      FROM won WHERE kind = 0
),
rewritten AS (
    UPDATE {schema}.job j
       SET queue = i.queue, priority = i.priority, max_retries = i.max_retries, job_type = i.job_type,
           timeout_seconds = i.timeout_seconds, metadata = i.metadata
      FROM input i
     WHERE j.seq = ANY (ARRAY (SELECT seq FROM won
                                WHERE changed AND (kind = was OR kind <> ALL ($2::smallint[])))) AND i.seq = j.seq
)
SELECT ord, version, attempt, crash_count, retry_count FROM won
