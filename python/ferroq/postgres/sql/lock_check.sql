-- try_acquire, third: in a new snapshot, takes the lock back if a live claim came first.
--
-- In:   $1 clock offset; $2 id; $3 nonce.
-- Out:  ours: whether the lock is there and stays. Sent again it says the same: a lock taken back is not there.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
taken_back AS (
    DELETE FROM {schema}.explicit_lock x
     WHERE x.id = $2 AND x.nonce = $3
       AND EXISTS (SELECT FROM {schema}.lease l
                    WHERE l.seq = (SELECT j.seq FROM {schema}.job j WHERE j.id = $2)
                      AND l.expires_at > (SELECT now FROM clock))
    RETURNING x.id
)
SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.id = $2 AND x.nonce = $3)
       AND NOT EXISTS (SELECT FROM taken_back) AS ours
