-- Part of claim.sql: the head of one queue. $11 its name.
-- The queue is bounded from both sides instead of asked to be equal: an equality is estimated at half a percent of the
-- table, and sorting that looks cheaper than walking it.
name AS MATERIALIZED (SELECT $11::text AS queue),
picked AS MATERIALIZED (
    SELECT * FROM (
        SELECT r.ctid AS tid, r.seq, r.rank, r.due, r.kind, r.version, r.attempt, r.crash_count, r.retry_count,
               r.trace_kind, r.trace_version, r.trace_token
          FROM {schema}.ready r
         WHERE (r.queue, r.rank, r.due, r.seq) >= ((SELECT queue FROM name), (SELECT rank FROM at),
                                                   (SELECT due FROM at), (SELECT seq FROM at))
           AND r.queue <= (SELECT queue FROM name)
           AND NOT (SELECT pending FROM wave) AND {ready_is_free}
         ORDER BY r.queue, r.rank, r.due, r.seq
         LIMIT {cap}
           FOR UPDATE OF r SKIP LOCKED) x
     LIMIT $2::int
)
