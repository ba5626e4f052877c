-- Part of claim.sql: the merged heads of several queues. $11 their names, $12 how far to look into each.
-- The heads are read without locks, merged, and locked from the best on until $2 are: locking in each queue would keep
-- up to $2 jobs of every queue from other claimers. Short although $12 was reached somewhere: look further.
heads AS MATERIALIZED (
    SELECT h.seq, h.rank, h.due
      FROM unnest($11::text[]) AS q (queue)
     CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT r.seq, r.rank, r.due
              FROM {schema}.ready r
             WHERE (r.queue, r.rank, r.due, r.seq) >= (q.queue, (SELECT rank FROM at), (SELECT due FROM at),
                                                       (SELECT seq FROM at))
               AND r.queue <= q.queue
               AND NOT (SELECT pending FROM wave) AND {ready_is_free}
             ORDER BY r.queue, r.rank, r.due, r.seq
             LIMIT {cap}) y
         LIMIT $12::int) h
),
picked AS MATERIALIZED (
    SELECT l.*, h.seq, h.rank, h.due
      FROM (SELECT * FROM heads ORDER BY rank, due, seq OFFSET 0) h
     CROSS JOIN LATERAL (
        SELECT r.ctid AS tid, r.kind, r.version, r.attempt, r.crash_count, r.retry_count, r.trace_kind, r.trace_version,
               r.trace_token
          FROM {schema}.ready r WHERE r.seq = h.seq FOR UPDATE OF r SKIP LOCKED) l
     LIMIT $2::int
)
