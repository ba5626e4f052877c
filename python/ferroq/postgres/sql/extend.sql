-- Renews claims by token.
--
-- In:   $1 clock offset; $2 lock length; $3 seqs; $4 tokens (by position).
-- Out:  token, expires_at of each renewed claim. What lapsed and is back in line is left to the locking path.
WITH clock AS MATERIALIZED (SELECT {now} AS now)
UPDATE {schema}.lease l
   SET expires_at = c.now + $2
  FROM clock c
 WHERE l.seq = ANY ($3::bigint[]) AND l.token = ANY ($4::bigint[]) AND NOT l.parked
RETURNING l.token, l.expires_at
