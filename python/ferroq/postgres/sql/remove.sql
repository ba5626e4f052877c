-- The locking path: takes held jobs from where they stand; put.sql follows in the same transaction.
--
-- In:   $1 seqs, all held by hold.sql.
WITH a AS (DELETE FROM {schema}.ready WHERE seq = ANY ($1::bigint[])),
     b AS (DELETE FROM {schema}.lease WHERE seq = ANY ($1::bigint[])),
     c AS (DELETE FROM {schema}.future WHERE kind IN (5, 6) AND seq = ANY ($1::bigint[]))
DELETE FROM {schema}.done WHERE kind IN (2, 3, 4) AND seq = ANY ($1::bigint[])
