-- Gives claims back unspent, by token: to the place in line where they stood, or put off.
--
-- In:   $1 clock offset; $2 delay in µs or null; then by position $3 place, $4 seq, $5 token, $6 id.
-- Out:  place, version, seq, attempt, crash_count, retry_count, kind, state of each job that was given back.
-- Keeps: as settle.sql. due is kept without a delay.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT i.*, j.queue, j.priority
      FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::text[]) AS i (ord, seq, token, id)
     CROSS JOIN LATERAL (SELECT k.id, k.queue, k.priority FROM {schema}.job k WHERE k.seq = i.seq OFFSET 0) j
     WHERE j.id = i.id
),
freed AS (
    DELETE FROM {schema}.lease
     WHERE seq = ANY (ARRAY (SELECT seq FROM input)) AND coalesce(token IN (SELECT token FROM input), false)
       AND parked::int = 0
    RETURNING *
),
won AS MATERIALIZED (
    SELECT i.ord, i.seq, i.token, i.queue, i.priority, f.due, f.version + 1 AS version, f.attempt - 1 AS attempt,
           f.crash_count, f.retry_count
      FROM freed f
      FULL JOIN input i ON i.seq = f.seq AND i.token = f.token
     WHERE coalesce(f.seq, -1) >= 0 AND coalesce(i.seq, -1) >= 0
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue)
    SELECT w.seq, w.due, c.now, ~w.priority, w.version, w.attempt, w.crash_count, w.retry_count, 0, 0, w.version,
           w.token, w.queue
      FROM won w, clock c WHERE $2::bigint IS NULL
),
put_off AS (
    INSERT INTO {schema}.future (seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version,
                                 trace_token, state)
    SELECT w.seq, least(c.now + $2, {max_time}), w.version, w.attempt, w.crash_count, w.retry_count, 5, 5, w.version, w.token,
           '{"scheduled_at":' || c.now || ',"enqueue_at":' || least(c.now + $2, {max_time}) || ',"reason":"released"}'
      FROM won w, clock c WHERE $2::bigint IS NOT NULL
)
SELECT w.ord, w.version, w.seq, w.attempt, w.crash_count, w.retry_count,
       CASE WHEN $2::bigint IS NULL THEN 0 ELSE 5 END AS kind,
       CASE WHEN $2::bigint IS NULL THEN '{"enqueued_at":' || c.now || '}'
            ELSE '{"scheduled_at":' || c.now || ',"enqueue_at":' || least(c.now + $2, {max_time}) || ',"reason":"released"}' END AS state,
       w.queue
  FROM won w, clock c
