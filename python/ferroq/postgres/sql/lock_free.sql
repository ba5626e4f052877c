-- Frees a worker's live explicit lock.
--
-- In:   $1 clock offset; $2 id; $3 worker.
-- Out:  a row if there was one: the queue of the job, or null.
DELETE FROM {schema}.explicit_lock x
 WHERE x.id = $2 AND x.worker = $3 AND x.expires_at > {now}
RETURNING (SELECT j.queue FROM {schema}.job j WHERE j.id = x.id) AS queue
