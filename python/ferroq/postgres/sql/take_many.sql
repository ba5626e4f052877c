-- Part of claim.sql: what of the picked jobs fits in 16 MiB of text, the first in any case. They are sorted and summed up one
-- by one only if all together do not fit.
sized AS MATERIALIZED (
    SELECT p.tid, p.seq, p.rank, p.due, p.kind, p.version + 1 AS version, p.attempt + 1 AS attempt,
           p.crash_count + (p.kind = 1)::int AS crash_count, p.retry_count, p.trace_kind, p.trace_version, p.trace_token,
           j.*, octet_length(j.arguments) + coalesce(octet_length(j.metadata), 0) AS bytes
      FROM picked p
     CROSS JOIN LATERAL (
        SELECT k.id, k.method, k.arguments, k.created_at, k.queue, k.priority, k.max_retries, k.job_type,
               k.timeout_seconds, k.metadata
          FROM {schema}.job k WHERE k.seq = p.seq OFFSET 0) j
),
taken AS MATERIALIZED (
    SELECT s.*, nextval('{schema}.token_seq') AS token
      FROM sized s
     WHERE (SELECT coalesce(sum(bytes), 0) <= 16777216 FROM sized)
        OR s.seq = ANY (ARRAY (
            SELECT x.seq
              FROM (SELECT seq, sum(bytes) OVER w AS bytes, row_number() OVER w AS place
                      FROM sized WINDOW w AS (ORDER BY rank, due, seq)) x
             WHERE x.bytes <= 16777216 OR x.place = 1))
)
