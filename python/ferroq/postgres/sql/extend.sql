-- Renews claims by token.
--
-- In:   $1 clock offset; $2 lock length; by position $3 seq, $4 token, $5 id.
-- Out:  token, expires_at of each renewed claim. What lapsed and is back in line is left to the locking path.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
input AS MATERIALIZED (
    SELECT i.seq
      FROM unnest($3::bigint[], $5::text[]) AS i (seq, id)
     CROSS JOIN LATERAL (SELECT k.id FROM {schema}.job k WHERE k.seq = i.seq OFFSET 0) j
     WHERE j.id = i.id
)
UPDATE {schema}.lease l
   SET expires_at = c.now + $2
  FROM clock c
 WHERE l.seq = ANY (ARRAY (SELECT seq FROM input)) AND l.token = ANY ($4::bigint[]) AND l.parked::int = 0
RETURNING l.token, l.expires_at
