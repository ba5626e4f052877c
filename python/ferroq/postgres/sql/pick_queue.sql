-- Part of claim.sql: the head of one queue. $12 its name.
picked AS MATERIALIZED (
    SELECT * FROM (
        SELECT r.ctid AS tid, r.seq, r.rank, r.due
          FROM {schema}.ready r
         WHERE r.queue = $12::text AND (r.rank, r.due, r.seq) >= ($9::int, $10::bigint, $11::bigint)
           AND NOT (SELECT pending FROM wave) AND {ready_is_free}
         ORDER BY r.rank, r.due, r.seq
         LIMIT 1000
           FOR UPDATE OF r SKIP LOCKED) x
     LIMIT $2::int
)
