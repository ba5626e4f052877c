-- Stores a chunk of new jobs: all, or none where an id is taken (strict) or a Processing job's id is locked by another.
--
-- In:   $1 clock offset; $2 strict; $3 lock length of Processing jobs; $4 kinds that are not kept; then by position
--       $5 place in the caller's order, $6 id, $7 method, $8 arguments, $9 created_at, $10 queue, $11 priority,
--       $12 max_retries, $13 job_type, $14 timeout_seconds, $15 metadata, $16 kind, $17 state, $18 due, $19 retry_count.
--       Positions are in order of id: two chunks that share ids lock them in one order.
-- Out:  a row an input: place, verdict (0 stored, 1 id taken, 2 locked, 3 not stored because of another), seq, token,
--       expires_at, now.
-- Keeps: sequence follows the caller's order; all jobs of the chunk share a due time; strict: a unique violation (two
--       chunks at the same instant) fails the whole statement. {on_conflict} is empty when strict: a speculative
--       insertion costs a second WAL record a row. A job that is not kept is deleted here, and the explicit lock with it.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT nextval('{schema}.job_seq') AS seq, i.*
      FROM (SELECT * FROM unnest($5::int[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::int[],
                                 $12::int[], $13::text[], $14::int[], $15::text[], $16::smallint[], $17::text[],
                                 $18::bigint[], $19::int[])
                   AS u (ord, id, method, arguments, created_at, queue, priority, max_retries, job_type,
                         timeout_seconds, metadata, kind, state, due, retry_count)
             ORDER BY ord) i
),
taken AS MATERIALIZED (SELECT j.id FROM {schema}.job j WHERE j.id = ANY ($6::text[])),
held AS MATERIALIZED (
    SELECT i.id
      FROM input i
      JOIN {schema}.explicit_lock x ON x.id = i.id
     WHERE i.kind = 1 AND i.id NOT IN (SELECT id FROM taken) AND x.expires_at > (SELECT now FROM clock) AND x.worker <> i.state::json ->> 'worker_id'
),
gate AS MATERIALIZED (
    SELECT NOT EXISTS (SELECT FROM held) AND NOT ($2 AND EXISTS (SELECT FROM taken)) AS open
),
added AS (
    INSERT INTO {schema}.job (seq, created_at, priority, max_retries, timeout_seconds, id, method, queue, job_type,
                              arguments, metadata)
    SELECT seq, created_at, priority, max_retries, timeout_seconds, id, method, queue, job_type, arguments, metadata
      FROM input i
     WHERE (SELECT open FROM gate) AND i.kind <> ALL ($4::smallint[]) AND i.id NOT IN (SELECT id FROM taken)
     ORDER BY i.id COLLATE "C"
    {on_conflict}
    RETURNING seq
),
fresh AS MATERIALIZED (SELECT i.* FROM added a JOIN input i ON i.seq = a.seq),
unlocked AS (
    DELETE FROM {schema}.explicit_lock
     WHERE id = ANY (ARRAY (SELECT i.id FROM input i
                             WHERE (SELECT open FROM gate) AND i.kind = ANY ($4::smallint[])
                               AND i.id NOT IN (SELECT id FROM taken)))
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, queue)
    SELECT f.seq, c.now, (f.state::json ->> 'enqueued_at')::bigint, ~f.priority, 1, 0, 0, 0, 0, f.queue
      FROM fresh f, clock c WHERE f.kind = 0 ORDER BY f.seq
),
put_off AS (
    INSERT INTO {schema}.future (seq, due, version, attempt, crash_count, retry_count, kind, state)
    SELECT f.seq, f.due, 1, 0, 0, f.retry_count, f.kind, f.state FROM fresh f WHERE f.kind IN (5, 6)
),
finished AS (
    INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, state)
    SELECT f.seq, c.now, 1, 0, 0, f.retry_count, f.kind, f.state
      FROM fresh f, clock c WHERE f.kind IN (2, 3, 4)
),
claimed AS (
    INSERT INTO {schema}.lease (seq, token, expires_at, due, started_at, request, version, attempt, crash_count,
                                retry_count, worker, server)
    SELECT f.seq, nextval('{schema}.token_seq'), c.now + $3, c.now, (f.state::json ->> 'started_at')::bigint, 0, 1, 1,
           0, 0, f.state::json ->> 'worker_id', f.state::json ->> 'server_name'
      FROM fresh f, clock c WHERE f.kind = 1
    RETURNING seq, token, expires_at
)
SELECT i.ord,
       CASE WHEN a.seq IS NOT NULL THEN 0
            WHEN h.id IS NOT NULL THEN 2
            WHEN t.id IS NOT NULL THEN 1
            WHEN NOT (SELECT open FROM gate) THEN 3
            WHEN i.kind = ANY ($4::smallint[]) THEN 0
            ELSE 1 END AS verdict,
       i.seq, l.token, l.expires_at, c.now
  FROM input i
 CROSS JOIN clock c
  LEFT JOIN added a ON a.seq = i.seq
  LEFT JOIN held h ON h.id = i.id
  LEFT JOIN taken t ON t.id = i.id
  LEFT JOIN claimed l ON l.seq = i.seq
