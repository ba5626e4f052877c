-- Part of claim.sql: a single job, which comes whatever its size.
taken AS MATERIALIZED (
    SELECT p.tid, p.seq, p.rank, p.due, p.kind, p.version + 1 AS version, p.attempt + 1 AS attempt,
           p.crash_count + (p.kind = 1)::int AS crash_count, p.retry_count, p.trace_kind, p.trace_version, p.trace_token,
           nextval('{schema}.token_seq') AS token, j.*
      FROM picked p
     CROSS JOIN LATERAL (
        SELECT k.id, k.method, k.arguments, k.created_at, k.queue, k.priority, k.max_retries, k.job_type,
               k.timeout_seconds, k.metadata
          FROM {schema}.job k WHERE k.seq = p.seq OFFSET 0) j
)
