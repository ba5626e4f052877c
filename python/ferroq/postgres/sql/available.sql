-- A page of what stands in line and a claim would take, in claim order.
--
-- In:   $1 clock offset; $2 how many, at most 1,000; $3 max_crashes; $4..$6 rank, due, seq of the last key seen.
-- Out:  records, then rank, due.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
)
SELECT v.*, NULL::bigint AS token, NULL::bigint AS expires_at, w.rank, w.due
  FROM (SELECT * FROM (
            SELECT r.seq, r.rank, r.due FROM {schema}.ready r
             WHERE (r.rank, r.due, r.seq) > ($4::int, $5::bigint, $6::bigint)
               AND NOT (r.kind = 1 AND r.crash_count + 1 >= $3) AND {ready_is_free}
             ORDER BY r.rank, r.due, r.seq LIMIT 1000) y
         LIMIT $2::int) w
 CROSS JOIN LATERAL (SELECT * FROM {schema}.record r WHERE r.seq = w.seq OFFSET 0) v
 ORDER BY w.rank, w.due, w.seq
