-- Before a job becomes Processing otherwise than by a claim: takes the rows of its explicit lock, so that a try_acquire
-- waits for the end of this transaction and then sees what it did; without a lock, a marker (no worker has the name '').
--
-- In:   $1 ids.
INSERT INTO {schema}.explicit_lock AS x (id, worker, expires_at, nonce)
SELECT i.id, '', 0, 0 FROM unnest($1::text[]) AS i (id) ORDER BY i.id COLLATE "C"
ON CONFLICT (id) DO UPDATE SET nonce = x.nonce
