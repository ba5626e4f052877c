-- Settles claims by token: the common way out of Processing. What it does not return was not settled here.
--
-- In:   $1 clock offset; $2 kinds that are not kept; then by position, each an array written out as a text, $3 place,
--       $4 seq, $5 token, $6 id; then one value by position, or one for all: $7 kind (not 1), $8 state, $9 due,
--       $10 retry_count, $11 queue, $12 priority, $13 max_retries, $14 job_type, $15 timeout_seconds, $16 metadata.
-- Out:  place, version, attempt, crash_count, retry_count of each job that was settled.
-- Keeps: the deleted lease row is the right to write: it is matched by seq and token, both unique; the id is checked
--       against the seq first, for the seq is the object's word. A parked claim (lapsed, back in line) is left to the
--       locking path. The job row is rewritten only where a field of it changed.
-- Plans: `parked::int = 0` and not NOT parked, which would let in the index of lapses: a plan made while the table is
--       small takes it as gladly as the primary key, and reads all of it ever after. A full join is hashed or merged
--       whatever the estimates say (coalesce keeps it from being reduced to an inner one); the nested loop that ten
--       expected rows invite compares a batch of 1,000 a million times. The coalesce about IN keeps it a hashed look-up:
--       not a join, and not an array that is searched from end to end.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT i.*, (j.queue, j.priority, j.max_retries, j.job_type, j.timeout_seconds, j.metadata)
                IS DISTINCT FROM
                (i.queue, i.priority, i.max_retries, i.job_type, i.timeout_seconds, i.metadata) AS changed
      FROM (SELECT u.ord, u.seq, u.token, u.id,
                   CASE WHEN cardinality($7::smallint[]) = 1 THEN ($7::smallint[])[1] ELSE u.kind END AS kind,
                   CASE WHEN cardinality($8::text[]) = 1 THEN ($8::text[])[1] ELSE u.state END AS state,
                   CASE WHEN cardinality($9::bigint[]) = 1 THEN ($9::bigint[])[1] ELSE u.due END AS due,
                   CASE WHEN cardinality($10::int[]) = 1 THEN ($10::int[])[1] ELSE u.retry_count END AS retry_count,
                   CASE WHEN cardinality($11::text[]) = 1 THEN ($11::text[])[1] ELSE u.queue END AS queue,
                   CASE WHEN cardinality($12::int[]) = 1 THEN ($12::int[])[1] ELSE u.priority END AS priority,
                   CASE WHEN cardinality($13::int[]) = 1 THEN ($13::int[])[1] ELSE u.max_retries END AS max_retries,
                   CASE WHEN cardinality($14::text[]) = 1 THEN ($14::text[])[1] ELSE u.job_type END AS job_type,
                   CASE WHEN cardinality($15::int[]) = 1 THEN ($15::int[])[1] ELSE u.timeout_seconds END AS timeout_seconds,
                   CASE WHEN cardinality($16::text[]) = 1 THEN ($16::text[])[1] ELSE u.metadata END AS metadata
              FROM unnest($3::text::int[], $4::text::bigint[], $5::text::bigint[], $6::text::text[], $7::smallint[],
                          $8::text[], $9::bigint[],
                          $10::int[], $11::text[], $12::int[], $13::int[], $14::text[], $15::int[], $16::text[])
                   AS u (ord, seq, token, id, kind, state, due, retry_count, queue, priority, max_retries, job_type,
                         timeout_seconds, metadata)) i
     CROSS JOIN LATERAL (SELECT * FROM {schema}.job k WHERE k.seq = i.seq OFFSET 0) j
     WHERE j.id = i.id
),
freed AS (
    DELETE FROM {schema}.lease
     WHERE seq = ANY (ARRAY (SELECT seq FROM input)) AND coalesce(token IN (SELECT token FROM input), false)
       AND parked::int = 0
    RETURNING seq, token, version, attempt, crash_count, retry_count
),
won AS MATERIALIZED (
    SELECT i.ord, i.seq, i.token, i.kind, i.state, i.due, i.queue, i.priority, i.changed, f.version + 1 AS version,
           f.attempt, f.crash_count,
           CASE WHEN i.kind IN (3, 6) THEN i.retry_count ELSE f.retry_count END AS retry_count
      FROM freed f
      FULL JOIN input i ON i.seq = f.seq AND i.token = f.token
     WHERE coalesce(f.seq, -1) >= 0 AND coalesce(i.seq, -1) >= 0
),
finished AS (
    INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                               trace_version, trace_token, state)
    SELECT w.seq, c.now, w.version, w.attempt, w.crash_count, w.retry_count, w.kind, w.kind, w.version, w.token, w.state
      FROM won w, clock c
     WHERE w.kind IN (2, 3, 4) AND w.kind <> ALL ($2::smallint[])
),
dropped AS (
    DELETE FROM {schema}.job WHERE seq = ANY (ARRAY (SELECT seq FROM won WHERE kind = ANY ($2::smallint[])))
    RETURNING id
),
unlocked AS (DELETE FROM {schema}.explicit_lock WHERE id = ANY (ARRAY (SELECT id FROM dropped))),
put_off AS (
    INSERT INTO {schema}.future (seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version,
                                 trace_token, state)
    SELECT seq, due, version, attempt, crash_count, retry_count, kind, kind, version, token, state
      FROM won WHERE kind IN (5, 6)
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue)
    SELECT w.seq, c.now, (w.state::json ->> 'enqueued_at')::bigint, ~w.priority, w.version, w.attempt, w.crash_count,
           w.retry_count, 0, 0, w.version, w.token, w.queue
      FROM won w, clock c WHERE w.kind = 0
),
rewritten AS (
    UPDATE {schema}.job j
       SET queue = i.queue, priority = i.priority, max_retries = i.max_retries, job_type = i.job_type,
           timeout_seconds = i.timeout_seconds, metadata = i.metadata
      FROM input i
     WHERE i.changed AND i.seq = j.seq
       AND j.seq = ANY (ARRAY (SELECT seq FROM won WHERE changed AND kind <> ALL ($2::smallint[])))
)
SELECT ord, version, attempt, crash_count, retry_count FROM won
