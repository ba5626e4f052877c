-- The claims that a request made: what a re-sent claim answers with after a lost reply.
--
-- In:   $1 the request id.
-- Out:  as claim.sql; no row if the request claimed nothing, or never arrived.
-- Keeps: walks lease without an index, for it runs after a dropped connection only.
SELECT false AS pending, 0 AS candidates, 0 AS dead, false AS cut, v.*, l.token, l.expires_at, ~v.priority AS rank, l.due,
       false AS lapsed
  FROM {schema}.lease l
 CROSS JOIN LATERAL (SELECT * FROM {schema}.record r WHERE r.seq = l.seq OFFSET 0) v
 WHERE l.request = $1
 ORDER BY ~v.priority, l.due, l.seq
