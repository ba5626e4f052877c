-- The first step of failing lapsed claims at the crash limit: locks them. The second, doomed_fail.sql, looks for
-- explicit locks in a newer snapshot, so that a lock taken meanwhile is seen.
--
-- In:   $1 clock offset; $2 at most that many; $3 max_crashes.
-- Out:  seq.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
)
SELECT l.seq
  FROM {schema}.lease l
 WHERE NOT l.parked AND l.expires_at <= (SELECT now FROM clock) AND l.crash_count + 1 >= $3
   AND {lease_is_free}
 ORDER BY l.expires_at, l.seq
 LIMIT $2
   FOR UPDATE
