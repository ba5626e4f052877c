-- The locking path: takes held jobs from where they stand; put.sql follows in the same transaction.
--
-- In:   $1 seqs, all held by hold.sql: their rows cannot move, and ctid is stable.
WITH a AS (DELETE FROM {schema}.ready WHERE seq = ANY ($1::bigint[])),
     b AS (DELETE FROM {schema}.lease WHERE seq = ANY ($1::bigint[])),
     c AS (
        DELETE FROM {schema}.future
         WHERE ctid = ANY (ARRAY (
                SELECT f.tid FROM unnest($1::bigint[]) AS s (seq)
                 CROSS JOIN LATERAL (SELECT f.ctid AS tid FROM {schema}.future f
                                      WHERE f.kind IN (5, 6) AND f.seq = s.seq OFFSET 0) f))
     ),
     d AS (
        DELETE FROM {schema}.done
         WHERE ctid = ANY (ARRAY (
                SELECT d.tid FROM unnest($1::bigint[]) AS s (seq)
                 CROSS JOIN LATERAL (SELECT d.ctid AS tid FROM {schema}.done d
                                      WHERE d.kind IN (2, 3, 4) AND d.seq = s.seq OFFSET 0) d))
     )
SELECT
