-- Whether a claim may find a job now, and when the next one comes due or lapses.
--
-- In:   $1 clock offset; $2 queues or null.
-- Out:  available; wait (µs until the next instant, or null).
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
)
SELECT EXISTS (SELECT FROM {schema}.future f WHERE f.due <= c.now)
    OR EXISTS (SELECT FROM {schema}.lease l WHERE NOT l.parked AND l.expires_at <= c.now AND {lease_is_free})
    OR ($2::text[] IS NULL AND EXISTS (SELECT FROM {schema}.ready r WHERE {ready_is_free}))
    OR EXISTS (SELECT FROM unnest($2::text[]) AS q (queue)
                CROSS JOIN LATERAL (SELECT 1 FROM {schema}.ready r
                                     WHERE r.queue = q.queue AND {ready_is_free} LIMIT 1) h) AS available,
       least((SELECT min(f.due) FROM {schema}.future f WHERE f.due > c.now),
             (SELECT min(l.expires_at) FROM {schema}.lease l WHERE NOT l.parked AND l.expires_at > c.now)) - c.now
         AS wait
  FROM clock c
