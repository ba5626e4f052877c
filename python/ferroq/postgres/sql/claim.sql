-- Claims up to $2 jobs in claim order, in one step.
--
-- In:   $1 clock offset; $2 how many; $3 worker; $4 server; $5 the state's text behind started_at; $6 lock length;
--       $7 request id; $8 go on although jobs came due or lapsed; $9..$11 rank, due, seq of the first key to look at;
--       {pick} names the rest.
-- Out:  at least one row: pending (jobs came due or lapsed and $8 is false: nothing was claimed; take them over first),
--       candidates (that were looked at), dead (index entries in the way), cut (the byte cap left some of those that were
--       locked); then a record with token and expires_at, or nulls, its rank and due, and lapsed (it was taken over); in
--       claim order.
-- Plans: where the walk starts comes out of a CTE, so that no plan, custom or generic, is bent by statistics of these
--       values: the planner then takes a third of the table to match, {cap} of them wanted, and walks the index in order.
--       Full joins, as in settle.sql: they cannot become nested loops, which compare a batch of 1,000 a million times.
-- Keeps: only rows of ready that this statement deleted become claims, so a job has one claimer. The rows that it
--       locked and the byte cap left over stay in ready. Nothing here updates ready: ctid is stable under the lock.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
at AS MATERIALIZED (SELECT $9::int AS rank, $10::bigint AS due, $11::bigint AS seq),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
),
wave AS MATERIALIZED (
    SELECT NOT $8::boolean AND (
               EXISTS (SELECT FROM ({first_due}) y) OR EXISTS (SELECT FROM ({first_lapsed}) y)) AS pending,
           {waded_so_far} AS waded_before
),
{pick},
sized AS MATERIALIZED (
    SELECT p.tid, j.*,
           sum(octet_length(j.arguments) + coalesce(octet_length(j.metadata), 0)) OVER w AS bytes,
           row_number() OVER w AS place
      FROM picked p
     CROSS JOIN LATERAL (SELECT * FROM {schema}.job k WHERE k.seq = p.seq OFFSET 0) j
    WINDOW w AS (ORDER BY p.rank, p.due, p.seq)
),
gone AS (
    DELETE FROM {schema}.ready
     WHERE ctid = ANY (ARRAY (SELECT tid FROM sized WHERE bytes <= 16777216 OR place = 1))
    RETURNING *
),
fresh AS (
    INSERT INTO {schema}.lease (seq, token, expires_at, due, started_at, request, version, attempt, crash_count,
                                retry_count, trace_kind, trace_version, trace_token, worker, server)
    SELECT g.seq, nextval('{schema}.token_seq'), c.now + $6, g.due, c.now, $7, g.version + 1, g.attempt + 1,
           g.crash_count, g.retry_count, g.trace_kind, g.trace_version, g.trace_token, $3, $4
      FROM gone g, clock c
     WHERE g.kind <> 1
    RETURNING seq, token, expires_at, version, attempt, crash_count, retry_count
),
retaken AS (
    UPDATE {schema}.lease l
       SET token = nextval('{schema}.token_seq'), expires_at = c.now + $6, started_at = c.now, request = $7,
           version = l.version + 1, attempt = l.attempt + 1, crash_count = l.crash_count + 1, parked = false,
           worker = $3, server = $4
      FROM clock c
     WHERE l.seq = ANY (ARRAY (SELECT seq FROM gone WHERE kind = 1))
    RETURNING l.seq, l.token, l.expires_at, l.version, l.attempt, l.crash_count, l.retry_count
),
claimed AS (SELECT * FROM fresh UNION ALL SELECT * FROM retaken)
SELECT w.pending, (SELECT count(*) FROM {candidates}) AS candidates, {waded_so_far} - w.waded_before AS dead,
       EXISTS (SELECT FROM sized WHERE bytes > 16777216 AND place > 1) AS cut,
       s.id, s.method, s.arguments, s.created_at, s.queue, s.priority, s.max_retries, s.job_type, s.timeout_seconds,
       s.metadata, 1 AS kind, '{"started_at":' || c.now || $5 AS state, s.attempt, s.crash_count, s.retry_count,
       s.version, s.seq, s.token, s.expires_at, s.rank, s.due, s.lapsed
  FROM clock c
 CROSS JOIN wave w
  LEFT JOIN (
        SELECT z.id, z.method, z.arguments, z.created_at, z.queue, z.priority, z.max_retries, z.job_type,
               z.timeout_seconds, z.metadata, d.attempt, d.crash_count, d.retry_count, d.version, d.seq, d.token,
               d.expires_at, g.rank, g.due, g.kind = 1 AS lapsed
          FROM claimed d
          FULL JOIN sized z ON z.seq = d.seq
          FULL JOIN gone g ON g.seq = d.seq
         WHERE coalesce(d.seq, -1) >= 0
       ) s ON true
 ORDER BY s.rank, s.due, s.seq
