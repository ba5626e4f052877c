-- Claims up to $2 jobs in claim order, in one step.
--
-- In:   $1 clock offset; $2 how many; $3 worker; $4 server; $5 lock length; $6 request id; $7 go on although jobs came due
--       or lapsed; $8..$10 rank, due, seq of the first key to look at; {pick} names the rest.
-- Out:  at least one row, in claim order: the columns of a claim (`Claimed` in the native module: the job's own, attempt,
--       crash_count, retry_count, version, seq, token, since when, lapsed: it was taken over), or nulls; its due; and head,
--       the same in each row: 1 jobs came due or lapsed and $7 is false: nothing was claimed, take them over first; 2 the
--       byte cap left some of those that were locked; 4 there may be more behind what was looked at; 8 times the dead
--       index entries in the way.
-- Plans: where the walk starts comes out of a CTE, so that no plan, custom or generic, is bent by statistics of these
--       values: the planner then takes a third of the table to match, {cap} of them wanted, and walks the index in order.
--       Behind the walk there is nothing to join: what is read there goes along, into the leases and to the caller. What is
--       the same for all rows is read once, in a subselect, and what the caller knows already is not sent.
-- Keeps: the rows of ready that this statement locked are the right to claim: nothing updates ready, so what is locked is
--       what was read, and the deletion by ctid takes exactly these; a job has one claimer. Rows that the byte cap left over
--       stay in ready. A lapsed claim's row in ready is a true copy of its lease: whoever changes the one has locked the
--       other. Its lease is replaced; the count sees to it that the old one is gone first.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
at AS MATERIALIZED (SELECT $8::int AS rank, $9::bigint AS due, $10::bigint AS seq),
locks AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM {schema}.explicit_lock x WHERE x.expires_at > (SELECT now FROM clock)) AS live
),
wave AS MATERIALIZED (
    SELECT NOT $7::boolean AND (
               EXISTS (SELECT FROM ({first_due}) y) OR EXISTS (SELECT FROM ({first_lapsed}) y)) AS pending,
           {waded_so_far} AS waded_before
),
{pick},
{take},
gone AS (DELETE FROM {schema}.ready WHERE ctid = ANY (ARRAY (SELECT tid FROM taken))),
replaced AS (
    DELETE FROM {schema}.lease WHERE seq = ANY (ARRAY (SELECT seq FROM taken WHERE kind = 1)) RETURNING seq
),
held AS (
    INSERT INTO {schema}.lease (seq, token, expires_at, due, started_at, request, version, attempt, crash_count,
                                retry_count, trace_kind, trace_version, trace_token, worker, server)
    SELECT t.seq, t.token, c.now + $5, t.due, c.now, $6, t.version, t.attempt, t.crash_count, t.retry_count,
           t.trace_kind, t.trace_version, t.trace_token, $3, $4
      FROM taken t, clock c
     WHERE (SELECT count(*) FROM replaced) >= 0
)
SELECT t.id, t.method, t.arguments, t.created_at, t.queue, t.priority, t.max_retries, t.job_type, t.timeout_seconds,
       t.metadata, t.attempt, t.crash_count, t.retry_count, t.version, t.seq, t.token, c.now AS since,
       t.kind = 1 AS lapsed, t.due,
       (SELECT w.pending::int + 2 * (n.taken < n.picked)::int + 4 * ({more})::int
               + 8 * greatest(0, {waded_so_far} - w.waded_before)
          FROM (SELECT (SELECT count(*) FROM taken) AS taken, (SELECT count(*) FROM picked) AS picked OFFSET 0) n
         CROSS JOIN wave w) AS head
  FROM clock c
  LEFT JOIN taken t ON true
 ORDER BY t.rank, t.due, t.seq
