-- Frees an explicit lock.
--
-- In:   $1 id; $2 nonce.
-- Out:  a row if it was there: the queue of the job, or null.
DELETE FROM {schema}.explicit_lock x
 WHERE x.id = $1 AND x.nonce = $2
RETURNING (SELECT j.queue FROM {schema}.job j WHERE j.id = x.id) AS queue
