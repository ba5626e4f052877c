-- A claim met records that cannot be decoded: they become failed, and their bytes stay as they are.
--
-- In:   $1 clock offset; by position $2 seq, $3 token of the claims just made.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
freed AS (
    DELETE FROM {schema}.lease WHERE seq = ANY ($2::bigint[]) AND token = ANY ($3::bigint[]) RETURNING *
)
INSERT INTO {schema}.done (seq, finished_at, version, attempt, crash_count, retry_count, kind, trace_kind,
                           trace_version, trace_token, state)
SELECT f.seq, c.now, f.version, f.attempt - 1, f.crash_count, f.retry_count, 3, f.trace_kind, f.trace_version,
       f.trace_token,
       '{"failed_at":' || c.now || ',"exception":"the stored record cannot be decoded","stack_trace":null,'
         || '"retry_count":' || f.retry_count || '}'
  FROM freed f, clock c
