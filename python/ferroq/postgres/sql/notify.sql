-- Wakes waiters. A transaction that notifies would wait for the disk as any that writes; this one has nothing to lose.
--
-- In:   $1 channel; $2 payloads.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, q.payload)
  FROM unnest($2::text[]) AS q (payload)
