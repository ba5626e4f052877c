-- Wakes waiters. In: $1 channel; $2 payloads (queue names).
SELECT pg_notify($1, q.queue) FROM unnest($2::text[]) AS q (queue)
