-- The self-audit: one sentence a finding, of one snapshot.
--
-- In:   $1 at most that many findings of each sort.
WITH standing AS MATERIALIZED (
    SELECT seq, 'ready' AS place FROM {schema}.ready WHERE kind <> 1
    UNION ALL SELECT seq, 'lease' FROM {schema}.lease
    UNION ALL SELECT seq, 'future' FROM {schema}.future
    UNION ALL SELECT seq, 'done' FROM {schema}.done
),
places AS MATERIALIZED (
    SELECT seq, count(*) AS count, string_agg(place, ', ' ORDER BY place) AS list FROM standing GROUP BY seq
)
(SELECT 'job ' || to_json(j.id) || ' stands nowhere' AS finding
   FROM {schema}.job j WHERE NOT EXISTS (SELECT FROM places p WHERE p.seq = j.seq) LIMIT $1)
UNION ALL
(SELECT 'sequence ' || p.seq || ' stands in several places: ' || p.list FROM places p WHERE p.count > 1 LIMIT $1)
UNION ALL
(SELECT 'sequence ' || p.seq || ' stands in ' || p.list || ' without a job'
   FROM places p WHERE NOT EXISTS (SELECT FROM {schema}.job j WHERE j.seq = p.seq) LIMIT $1)
UNION ALL
(SELECT 'ready row of job ' || to_json(j.id) || ' disagrees with its record on queue or priority'
   FROM {schema}.ready r JOIN {schema}.job j ON j.seq = r.seq
  WHERE r.queue <> j.queue OR r.rank <> ~j.priority LIMIT $1)
UNION ALL
(SELECT 'sequence ' || r.seq || ' is in line as a lapsed claim without one'
   FROM {schema}.ready r
  WHERE r.kind = 1 AND NOT EXISTS (SELECT FROM {schema}.lease l WHERE l.seq = r.seq AND l.parked) LIMIT $1)
UNION ALL
(SELECT 'sequence ' || r.seq || ' is in line as a lapsed claim that its lease disagrees with'
   FROM {schema}.ready r JOIN {schema}.lease l ON l.seq = r.seq
  WHERE r.kind = 1 AND (r.due, r.version, r.attempt, r.crash_count, r.retry_count, r.trace_kind, r.trace_version,
                        r.trace_token)
                       IS DISTINCT FROM
                       (l.due, l.version, l.attempt, l.crash_count, l.retry_count, l.trace_kind, l.trace_version,
                        l.trace_token) LIMIT $1)
UNION ALL
(SELECT 'the lapsed claim of sequence ' || l.seq || ' is parked but not in line'
   FROM {schema}.lease l
  WHERE l.parked AND NOT EXISTS (SELECT FROM {schema}.ready r WHERE r.seq = l.seq AND r.kind = 1) LIMIT $1)
UNION ALL
(SELECT 'sequence ' || r.seq || ' stands in ready with kind ' || r.kind
   FROM {schema}.ready r WHERE r.kind NOT IN (0, 1, 5, 6) LIMIT $1)
UNION ALL
(SELECT 'sequence ' || f.seq || ' stands in future with kind ' || f.kind
   FROM {schema}.future f WHERE f.kind NOT IN (5, 6) LIMIT $1)
UNION ALL
(SELECT 'sequence ' || d.seq || ' stands in done with kind ' || d.kind
   FROM {schema}.done d WHERE d.kind NOT IN (2, 3, 4) LIMIT $1)
UNION ALL
(SELECT 'token ' || l.token || ' is held ' || count(*) || ' times'
   FROM {schema}.lease l GROUP BY l.token HAVING count(*) > 1 LIMIT $1)
UNION ALL
(SELECT 'a marker is left on the explicit lock of ' || to_json(x.id)
   FROM {schema}.explicit_lock x WHERE x.worker = '' LIMIT $1)
