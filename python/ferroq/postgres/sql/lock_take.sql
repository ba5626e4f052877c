-- try_acquire, the first of three statements, each its own transaction: commits the lock row.
--
-- In:   $1 clock offset; $2 id; $3 worker; $4 lock length; $5 nonce.
-- Out:  a row if the lock row is ours (a re-sent call finds its own by the nonce).
-- Keeps: one live row an id. Sweeps up to 20 lapsed rows, so that the table stays almost empty.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
swept AS (
    DELETE FROM {schema}.explicit_lock
     WHERE ctid = ANY (ARRAY (SELECT x.ctid FROM {schema}.explicit_lock x
                               WHERE x.expires_at <= (SELECT now FROM clock) AND x.id <> $2
                               ORDER BY x.expires_at LIMIT 20 FOR UPDATE SKIP LOCKED))
)
INSERT INTO {schema}.explicit_lock AS x (id, worker, expires_at, nonce)
SELECT $2, $3, c.now + $4, $5
  FROM clock c
 WHERE NOT EXISTS (SELECT FROM {schema}.lease l
                    WHERE l.seq = (SELECT j.seq FROM {schema}.job j WHERE j.id = $2) AND l.expires_at > c.now)
ON CONFLICT (id) DO UPDATE
   SET worker = excluded.worker, expires_at = excluded.expires_at, nonce = excluded.nonce
 WHERE x.expires_at <= (SELECT now FROM clock) OR x.nonce = excluded.nonce
RETURNING x.id
