-- What a worker holds of an id: names what lock_free.sql or claim_free.sql is to free, so that they may be sent again.
--
-- In:   $1 clock offset; $2 id; $3 worker.
-- Out:  nonce of its live explicit lock, token of its live claim; nulls.
SELECT (SELECT x.nonce FROM {schema}.explicit_lock x WHERE x.id = $2 AND x.worker = $3 AND x.expires_at > c.now) AS nonce,
       (SELECT l.token FROM {schema}.lease l
         WHERE l.seq = (SELECT j.seq FROM {schema}.job j WHERE j.id = $2) AND l.worker = $3 AND l.parked::int = 0
           AND l.expires_at > c.now) AS token
  FROM (SELECT {now} AS now OFFSET 0) c
