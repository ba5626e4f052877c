-- The claims that a request made: what a re-sent claim answers with after a lost reply.
--
-- In:   $1 the request id.
-- Out:  records with token and expires_at, then the key.
-- Keeps: walks lease without an index, for it runs after a dropped connection only.
SELECT v.*, l.token, l.expires_at, ~v.priority AS rank, l.due
  FROM {schema}.lease l
 CROSS JOIN LATERAL (SELECT * FROM {schema}.record r WHERE r.seq = l.seq OFFSET 0) v
 WHERE l.request = $1
 ORDER BY ~v.priority, l.due, l.seq
