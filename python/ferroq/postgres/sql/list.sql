-- A page of records, newest first.
--
-- In:   $1 before this seq; $2 how many, at most 1,000; $3 queue or null; $4 kind, where {walk} looks at it.
SELECT v.*, NULL::bigint AS token, NULL::bigint AS expires_at
  FROM (SELECT * FROM ({walk}) y LIMIT $2::int) w
 CROSS JOIN LATERAL (SELECT * FROM {schema}.record r WHERE r.seq = w.seq OFFSET 0) v
 ORDER BY w.seq DESC
