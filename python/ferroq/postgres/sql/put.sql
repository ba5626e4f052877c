-- The locking path: puts held jobs, taken away by remove.sql, to their new place, and rewrites their records.
--
-- In:   $1 clock offset; $2 kinds that are not kept; then by position $3 seq, $4 kind, $5 state, $6 due, $7 version,
--       $8 attempt, $9 crash_count, $10 retry_count, $11 to $13 the trace (kind, version, token), of a claim $14 token
--       (null: a fresh one), $15 expires_at, $16 started_at, $17 worker, $18 server; of the record $19 queue,
--       $20 priority, $21 max_retries, $22 job_type, $23 timeout_seconds, $24 metadata, $25 since when it is in its kind.
-- Out:  seq, token of each claim.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT * FROM unnest($3::bigint[], $4::smallint[], $5::text[], $6::bigint[], $7::int[], $8::int[], $9::int[],
                         $10::int[], $11::smallint[], $12::int[], $13::bigint[], $14::bigint[], $15::bigint[],
                         $16::bigint[], $17::text[], $18::text[], $19::text[], $20::int[], $21::int[], $22::text[],
                         $23::int[], $24::text[], $25::bigint[])
             AS i (seq, kind, state, due, version, attempt, crash_count, retry_count, trace_kind, trace_version,
                   trace_token, token, expires_at, started_at, worker, server, queue, priority, max_retries, job_type,
                   timeout_seconds, metadata, since)
),
dropped AS (
    DELETE FROM {schema}.job WHERE seq = ANY (ARRAY (SELECT seq FROM input WHERE kind = ANY ($2::smallint[])))
),
rewritten AS (
    UPDATE {schema}.job j
       SET queue = i.queue, priority = i.priority, max_retries = i.max_retries, job_type = i.job_type,
           timeout_seconds = i.timeout_seconds, metadata = i.metadata
      FROM input i
     WHERE j.seq = ANY ($3::bigint[]) AND i.seq = j.seq AND i.kind <> ALL ($2::smallint[])
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
      FROM input WHERE kind IN (2, 3, 4) AND kind <> ALL ($2::smallint[])
)
INSERT INTO {schema}.lease (seq, token, expires_at, due, started_at, request, version, attempt, crash_count,
                            retry_count, trace_kind, trace_version, trace_token, worker, server, state)
SELECT seq, coalesce(token, nextval('{schema}.token_seq')), expires_at, due, started_at, 0, version, attempt,
       crash_count, retry_count, trace_kind, trace_version, trace_token, worker, server, state
  FROM input WHERE kind = 1
RETURNING seq, token
