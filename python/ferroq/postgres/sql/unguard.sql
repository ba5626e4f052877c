-- Removes the markers of guard.sql; in the same transaction.
--
-- In:   $1 ids.
DELETE FROM {schema}.explicit_lock WHERE id = ANY ($1::text[]) AND worker = ''
