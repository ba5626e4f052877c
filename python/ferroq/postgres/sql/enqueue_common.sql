-- The common enqueue: stores a chunk of enqueued jobs, no id twice, all or nothing.
--
-- In:   $1 clock offset; $2 id; $3 created_at and $4 since when it is enqueued, by position in the caller's order, each an
--       array written out as a text, which the driver need not take apart; then one value by position, or one for all:
--       $5 method, $6 arguments, $7 queue, $8 priority, $9 max_retries, $10 job_type, $11 timeout_seconds, $12 metadata.
-- Out:  seq by position; no row if an id is stored: nothing was.
-- Keeps: as enqueue.sql, which names the ids then. A unique violation (two chunks at the same instant) fails it all.
WITH clock AS MATERIALIZED (SELECT {now} AS now),
gate AS MATERIALIZED (SELECT NOT EXISTS (SELECT FROM {schema}.job j WHERE j.id = ANY ($2::text::text[])) AS open),
input AS MATERIALIZED (
    SELECT nextval('{schema}.job_seq') AS seq, u.id, u.created_at, u.since,
           CASE WHEN cardinality($5::text[]) = 1 THEN ($5::text[])[1] ELSE u.method END AS method,
           CASE WHEN cardinality($6::text[]) = 1 THEN ($6::text[])[1] ELSE u.arguments END AS arguments,
           CASE WHEN cardinality($7::text[]) = 1 THEN ($7::text[])[1] ELSE u.queue END AS queue,
           CASE WHEN cardinality($8::int[]) = 1 THEN ($8::int[])[1] ELSE u.priority END AS priority,
           CASE WHEN cardinality($9::int[]) = 1 THEN ($9::int[])[1] ELSE u.max_retries END AS max_retries,
           CASE WHEN cardinality($10::text[]) = 1 THEN ($10::text[])[1] ELSE u.job_type END AS job_type,
           CASE WHEN cardinality($11::int[]) = 1 THEN ($11::int[])[1] ELSE u.timeout_seconds END AS timeout_seconds,
           CASE WHEN cardinality($12::text[]) = 1 THEN ($12::text[])[1] ELSE u.metadata END AS metadata
      FROM (SELECT * FROM unnest($2::text::text[], $3::text::bigint[], $4::text::bigint[], $5::text[], $6::text[],
                                 $7::text[], $8::int[], $9::int[], $10::text[], $11::int[], $12::text[]) WITH ORDINALITY
                   AS i (id, created_at, since, method, arguments, queue, priority, max_retries, job_type,
                         timeout_seconds, metadata, ord)
             ORDER BY ord) u
     WHERE (SELECT open FROM gate)
),
added AS (
    INSERT INTO {schema}.job (seq, created_at, priority, max_retries, timeout_seconds, id, method, queue, job_type,
                              arguments, metadata)
    SELECT seq, created_at, priority, max_retries, timeout_seconds, id, method, queue, job_type, arguments, metadata
      FROM input ORDER BY id COLLATE "C"
),
lined_up AS (
    INSERT INTO {schema}.ready (seq, due, since, rank, version, attempt, crash_count, retry_count, kind, queue)
    SELECT i.seq, c.now, i.since, ~i.priority, 1, 0, 0, 0, 0, i.queue FROM input i, clock c ORDER BY i.seq
)
SELECT seq FROM input ORDER BY seq
