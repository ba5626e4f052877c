-- Wakes waiters at the commit of the caller's own transaction, whose durability is not ours to change.
--
-- In:   $1 channel; $2 payloads.
SELECT pg_notify($1, q.payload) FROM unnest($2::text[]) AS q (payload)
