-- What a claim would put in line first: jobs that came due, lapsed claims; in claim order. Moves nothing.
--
-- In:   $1 clock offset; $2 at most that many of each; $3 max_crashes.
-- Out:  records, then rank, due.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
),
wave AS MATERIALIZED (
    (SELECT * FROM (SELECT f.seq, f.due FROM {schema}.future f WHERE f.due <= (SELECT now FROM clock)
                     ORDER BY f.due, (f.seq + 0) LIMIT 1000) y
      LIMIT $2::int)
    UNION ALL
    (SELECT z.seq, z.due FROM (SELECT l.seq, l.due, l.expires_at FROM {schema}.lease l
                     WHERE NOT l.parked AND l.expires_at <= (SELECT now FROM clock) AND l.crash_count + 1 < $3
                       AND {lease_is_free}
                     ORDER BY l.expires_at, l.seq LIMIT 1000) z
      LIMIT $2::int)
)
SELECT v.*, NULL::bigint AS token, NULL::bigint AS expires_at, ~v.priority AS rank, w.due
  FROM wave w
 CROSS JOIN LATERAL (SELECT * FROM {schema}.record r WHERE r.seq = w.seq OFFSET 0) v
 WHERE NOT EXISTS (SELECT FROM {schema}.explicit_lock x
                    WHERE x.id = v.id AND x.expires_at > (SELECT now FROM clock))
 ORDER BY ~v.priority, w.due, w.seq
