-- The locking path: takes the rows where the jobs stand, so that nothing moves them, and shows them as they are then.
--
-- In:   $1 clock offset; $2 ids.
-- Out:  by job that was found standing: now, id, seq, place (0 ready, 1 lease, 2 done, 3 future), kind, version, attempt,
--       crash_count, retry_count, due, the trace, and since when it is in its kind, of a claim token, worker, expires_at, parked,
--       server; held_by: the worker of a live explicit lock; found (false: the job row is there but the job was moving:
--       ask again, the next snapshot sees it).
-- Keeps: order of locking explicit_lock (as guard.sql), ready, future, lease, done, as in all other statements, and by
--       seq within each; the counts see to it. A parked claim comes once, as a lease.
-- Plans: one look-up a job in future and done: two arrays against one index were read as one array and a filter. The full
--       join is for what settle.sql says.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
target AS MATERIALIZED (SELECT seq, id FROM {schema}.job WHERE id = ANY ($2::text[])),
in_locks AS MATERIALIZED (
    SELECT x.id FROM {schema}.explicit_lock x WHERE x.id = ANY ($2::text[]) ORDER BY x.id FOR UPDATE
),
in_ready AS MATERIALIZED (
    SELECT r.* FROM (SELECT count(*) FROM in_locks) n
     CROSS JOIN LATERAL (
        SELECT r.* FROM {schema}.ready r
         WHERE r.seq = ANY (ARRAY (SELECT seq FROM target)) AND n.count >= 0 ORDER BY r.seq FOR UPDATE) r
),
in_future AS MATERIALIZED (
    SELECT f.* FROM (SELECT seq FROM target WHERE (SELECT count(*) FROM in_ready) >= 0 ORDER BY seq OFFSET 0) t
     CROSS JOIN LATERAL (
        SELECT f.* FROM {schema}.future f WHERE f.kind IN (5, 6) AND f.seq = t.seq FOR UPDATE) f
),
in_lease AS MATERIALIZED (
    SELECT l.* FROM (SELECT count(*) FROM in_future) n
     CROSS JOIN LATERAL (
        SELECT l.* FROM {schema}.lease l
         WHERE l.seq = ANY (ARRAY (SELECT seq FROM target)) AND n.count >= 0 ORDER BY l.seq FOR UPDATE) l
),
in_done AS MATERIALIZED (
    SELECT d.* FROM (SELECT seq FROM target ORDER BY seq OFFSET 0) t
     CROSS JOIN LATERAL (
        SELECT d.* FROM {schema}.done d WHERE d.kind IN (2, 3, 4) AND d.seq = t.seq FOR UPDATE) d
),
standing AS (
    SELECT seq, 0 AS place, kind, version, attempt, crash_count, retry_count, due, trace_kind, trace_version,
           trace_token, NULL::bigint AS token, NULL::text AS worker, NULL::bigint AS expires_at, NULL::boolean AS parked,
           since, NULL::text AS server
      FROM in_ready WHERE kind <> 1
    UNION ALL
    SELECT l.seq, 1, 1, l.version, l.attempt, l.crash_count, l.retry_count, l.due, l.trace_kind, l.trace_version,
           l.trace_token, l.token, l.worker, l.expires_at, l.parked, l.started_at, l.server
      FROM in_lease l
     WHERE NOT l.parked OR l.seq IN (SELECT seq FROM in_ready)
    UNION ALL
    SELECT seq, 3, kind, version, attempt, crash_count, retry_count, due, trace_kind, trace_version, trace_token,
           NULL, NULL, NULL, NULL, NULL, NULL
      FROM in_future
    UNION ALL
    SELECT seq, 2, kind, version, attempt, crash_count, retry_count, NULL, trace_kind, trace_version, trace_token,
           NULL, NULL, NULL, NULL, finished_at, NULL
      FROM in_done
)
SELECT c.now, t.id, t.seq, s.place, s.kind, s.version, s.attempt, s.crash_count, s.retry_count, s.due, s.trace_kind,
       s.trace_version, s.trace_token, s.token, s.worker, s.expires_at, s.parked, s.since, s.server,
       (SELECT x.worker FROM {schema}.explicit_lock x WHERE x.id = t.id AND x.expires_at > c.now) AS held_by,
       s.seq IS NOT NULL AS found
  FROM target t
  FULL JOIN standing s ON s.seq = t.seq
 CROSS JOIN clock c
 WHERE coalesce(t.seq, -1) >= 0
