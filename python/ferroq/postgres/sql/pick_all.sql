-- Part of claim.sql: the heads of all queues. A constant limit inside makes the planner expect a short walk along the
-- index even in a generic plan; the outer one stops it after $2 locked rows.
picked AS MATERIALIZED (
    SELECT * FROM (
        SELECT r.ctid AS tid, r.seq, r.rank, r.due, r.kind, r.version, r.attempt, r.crash_count, r.retry_count,
               r.trace_kind, r.trace_version, r.trace_token
          FROM {schema}.ready r
         WHERE (r.rank, r.due, r.seq) >= ((SELECT rank FROM at), (SELECT due FROM at), (SELECT seq FROM at))
           AND NOT (SELECT pending FROM wave) AND {ready_is_free}
         ORDER BY r.rank, r.due, r.seq
         LIMIT {cap}
           FOR UPDATE OF r SKIP LOCKED) x
     LIMIT $2::int
)
