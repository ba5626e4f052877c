-- A claim met jobs that nobody may have: they become failed. Records that cannot be decoded, whose bytes stay as they are;
-- lapsed claims that another process, with a higher max_crashes, had put in line.
--
-- In:   $1 clock offset; by position $2 seq, $3 token of the claims just made, $4 why.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
freed AS (
    DELETE FROM {schema}.lease WHERE seq = ANY ($2::bigint[]) AND token = ANY ($3::bigint[]) RETURNING *
)
INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                           trace_version, trace_token, state)
SELECT f.seq, c.now, f.version, f.attempt - 1, f.crash_count, f.retry_count, 3, f.trace_kind, f.trace_version,
       f.trace_token,
       '{"failed_at":' || c.now || ',"exception":' || to_json(i.why) || ',"stack_trace":null,"retry_count":'
         || f.retry_count || '}'
  FROM freed f
  JOIN unnest($3::bigint[], $4::text[]) AS i (token, why) ON i.token = f.token
 CROSS JOIN clock c
