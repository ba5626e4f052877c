-- Deletes finished jobs, the longest finished first, with the explicit locks on their ids.
--
-- In:   $1 clock offset; $2 kinds; $3 age in µs; $4 how many, at most 1,000.
-- Out:  deleted; looked_at (fewer than $4: there are no more).
WITH clock AS MATERIALIZED (SELECT {now} AS now),
picked AS MATERIALIZED (
    SELECT h.tid
      FROM unnest($2::smallint[]) AS k (kind)
     CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT d.ctid AS tid, d.finished_at
              FROM {schema}.done d
             WHERE (d.kind + 0) = k.kind AND d.finished_at <= (SELECT now FROM clock) - $3::bigint
             ORDER BY d.finished_at
             LIMIT 1000) y
         LIMIT $4::int) h
     ORDER BY h.finished_at
     LIMIT $4::int
),
gone AS (
    DELETE FROM {schema}.done WHERE ctid = ANY (ARRAY (SELECT tid FROM picked)) RETURNING seq
),
removed AS (
    DELETE FROM {schema}.job WHERE seq = ANY (ARRAY (SELECT seq FROM gone)) RETURNING id
),
unlocked AS (DELETE FROM {schema}.explicit_lock WHERE id = ANY (ARRAY (SELECT id FROM removed)))
SELECT (SELECT count(*) FROM removed) AS deleted, (SELECT count(*) FROM picked) AS looked_at
