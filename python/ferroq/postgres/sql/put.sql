-- The locking path: puts held jobs, taken away by remove.sql, to their new place, and rewrites their records.
--
-- In:   $1 seqs of jobs that are not kept; then by position $2 seq, $3 kind, $4 state, $5 due, $6 version,
--       $7 attempt, $8 crash_count, $9 retry_count, $10 to $12 the trace (kind, version, token), of a claim $13 token
--       (null: a fresh one), $14 expires_at, $15 worker, $16 server; of the record $17 queue,
--       $18 priority, $19 max_retries, $20 job_type, $21 timeout_seconds, $22 metadata, $23 since when it is in its kind.
-- Out:  seq, token of each claim.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::bigint[], $6::int[], $7::int[], $8::int[],
                         $9::int[], $10::smallint[], $11::int[], $12::bigint[], $13::bigint[], $14::bigint[],
                         $15::text[], $16::text[], $17::text[], $18::int[], $19::int[], $20::text[], $21::int[],
                         $22::text[], $23::bigint[])
             AS i (seq, kind, state, due, version, attempt, crash_count, retry_count, trace_kind, trace_version,
                   trace_token, token, expires_at, worker, server, queue, priority, max_retries, job_type,
                   timeout_seconds, metadata, since)
),
dropped AS (
    DELETE FROM {schema}.job WHERE seq = ANY ($1::bigint[]) RETURNING id
),
unlocked AS (DELETE FROM {schema}.explicit_lock WHERE id = ANY (ARRAY (SELECT id FROM dropped))),
rewritten AS (
    UPDATE {schema}.job j
       SET queue = i.queue, priority = i.priority, max_retries = i.max_retries, job_type = i.job_type,
           timeout_seconds = i.timeout_seconds, metadata = i.metadata
      FROM input i
     WHERE j.seq = ANY ($2::bigint[]) AND i.seq = j.seq AND i.seq <> ALL ($1::bigint[])
       AND (j.queue, j.priority, j.max_retries, j.job_type, j.timeout_seconds, j.metadata)
           IS DISTINCT FROM (i.queue, i.priority, i.max_retries, i.job_type, i.timeout_seconds, i.metadata)
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, trace_kind,
                                trace_version, trace_token, queue)
    SELECT seq, due, since, ~priority, version, attempt, crash_count, retry_count, 0, trace_kind, trace_version,
           trace_token, queue
      FROM input WHERE kind = 0
),
put_off AS (
    INSERT INTO {schema}.future (seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version,
                                 trace_token, state)
    SELECT seq, due, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version, trace_token, state
      FROM input WHERE kind IN (5, 6)
),
finished AS (
    INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                               trace_version, trace_token, state)
    SELECT seq, since, version, attempt, crash_count, retry_count, kind, trace_kind, trace_version, trace_token, state
      FROM input WHERE kind IN (2, 3, 4) AND seq <> ALL ($1::bigint[])
)
INSERT INTO {schema}.lease (seq, token, expires_at, due, started_at, request, version, attempt, crash_count,
                            retry_count, trace_kind, trace_version, trace_token, worker, server)
SELECT seq, coalesce(token, nextval('{schema}.token_seq')), expires_at, due, since, 0, version, attempt, crash_count,
       retry_count, trace_kind, trace_version, trace_token, worker, server
  FROM input WHERE kind = 1
RETURNING seq, token
