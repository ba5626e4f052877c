-- The locking path: renews held claims that lapsed and were put back in line; they leave the line again.
--
-- In:   $1 seqs, all held by hold.sql; $2 expires_at.
WITH a AS (DELETE FROM {schema}.ready WHERE seq = ANY ($1::bigint[]) AND kind = 1)
UPDATE {schema}.lease SET parked = false, expires_at = $2 WHERE seq = ANY ($1::bigint[])
