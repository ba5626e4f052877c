-- Whether a claim may find a job now, and when the next one comes due or lapses.
--
-- In:   $1 clock offset; $2 queues or null.
-- Out:  available; wait (µs until the next instant, or null).
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
)
SELECT EXISTS (SELECT FROM ({first_due}) y)
    OR EXISTS (SELECT FROM ({first_lapsed}) y)
    OR ($2::text[] IS NULL AND EXISTS (SELECT FROM (SELECT r.seq FROM {schema}.ready r WHERE {ready_is_free}
                                                     ORDER BY r.rank, r.due, r.seq LIMIT 1) y))
    OR EXISTS (SELECT FROM unnest($2::text[]) AS q (queue)
                CROSS JOIN LATERAL (SELECT 1 FROM {schema}.ready r
                                     WHERE (r.queue, r.rank) >= (q.queue, -2147483648) AND r.queue <= q.queue
                                       AND {ready_is_free}
                                     ORDER BY r.queue, r.rank, r.due, r.seq LIMIT 1) h) AS available,
       least((SELECT f.due FROM {schema}.future f WHERE f.due > c.now ORDER BY f.due LIMIT 1),
             (SELECT l.expires_at FROM {schema}.lease l WHERE NOT l.parked AND l.expires_at > c.now
               ORDER BY l.expires_at LIMIT 1)) - c.now
         AS wait
  FROM clock c
