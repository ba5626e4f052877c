-- try_acquire ended in an error or was cancelled: its lock, which may be there, goes.
--
-- In:   $1 id; $2 nonce.
DELETE FROM {schema}.explicit_lock WHERE id = $1 AND nonce = $2
