-- The locking path: removes a held job, its claim and its explicit lock.
--
-- In:   $1 seqs, all held by hold.sql; $2 their ids.
WITH a AS (DELETE FROM {schema}.ready WHERE seq = ANY ($1::bigint[])),
     b AS (DELETE FROM {schema}.lease WHERE seq = ANY ($1::bigint[])),
     c AS (DELETE FROM {schema}.future WHERE kind IN (5, 6) AND seq = ANY ($1::bigint[])),
     d AS (DELETE FROM {schema}.done WHERE kind IN (2, 3, 4) AND seq = ANY ($1::bigint[])),
     e AS (DELETE FROM {schema}.explicit_lock WHERE id = ANY ($2::text[]))
DELETE FROM {schema}.job WHERE seq = ANY ($1::bigint[])
