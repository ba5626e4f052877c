-- The store: one wide record a job, written once, and one narrow row that says where the job stands.
--
-- Which table owns which invariant:
--
--   job            what was enqueued: one row a job, unique by id (byte for byte), `seq` is the insertion sequence.
--                  Written at enqueue; rewritten only when an update changes queue, priority, metadata and the like.
--   ready          what a claim may take, in claim order: ~priority, due, seq (`rank` is ~priority, so that ascending
--                  order is priority descending and -2^31 has an image).
--   lease          who holds what: the claim locks. Unique by seq: one claim a job.
--   future         scheduled and awaiting retry, in order of due.
--   done           succeeded, failed, deleted, in order of the time of the write that changed the kind.
--   explicit_lock  the locks of try_acquire_job_lock, by id, whether or not a job of that id is stored.
--
-- A job stands in exactly one of ready, lease, future, done; its row there is the job's lock: who writes, moves or
-- deletes a job has first deleted or locked (FOR UPDATE) that row. The one exception is a lapsed claim that a claim's
-- takeover has put back in line: it stands in lease (`parked`) and in ready (`kind` 1); the ready row is locked first.
-- Rows of ready are inserted and deleted, never updated: a claim with an older snapshot then finds a row gone, where
-- an update would have led it on to the new version (see try_acquire in the docs).
--
-- kind: 0 enqueued 1 processing 2 succeeded 3 failed 4 deleted 5 scheduled 6 awaiting_retry. ready also holds what has
-- come due (5, 6) and what has lapsed (1): a job shows its stored state until a claim takes it.
-- Instants are microseconds since 1970 in UTC. trace_*: the last settlement (token, kind, version).
--
-- No foreign keys, no triggers, no GIN: each costs a lookup or a lock a row on the hot path. `verify()` audits instead.

CREATE SEQUENCE {schema}.job_seq AS bigint;
CREATE SEQUENCE {schema}.token_seq AS bigint;

CREATE TABLE {schema}.job (
    seq bigint NOT NULL,
    created_at bigint NOT NULL,
    priority integer NOT NULL,
    max_retries integer NOT NULL,
    timeout_seconds integer,
    id text COLLATE "C" NOT NULL,
    method text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    job_type text COLLATE "C",
    arguments text NOT NULL,
    metadata text,
    CONSTRAINT job_pkey PRIMARY KEY (seq),
    CONSTRAINT job_id_key UNIQUE (id)
);

CREATE TABLE {schema}.ready (
    seq bigint NOT NULL,
    due bigint NOT NULL,
    since bigint NOT NULL,
    rank integer NOT NULL,
    version integer NOT NULL,
    attempt integer NOT NULL,
    crash_count integer NOT NULL,
    retry_count integer NOT NULL,
    kind smallint NOT NULL,
    trace_kind smallint,
    trace_version integer,
    trace_token bigint,
    queue text COLLATE "C" NOT NULL,
    state text,
    CONSTRAINT ready_pkey PRIMARY KEY (seq)
);
CREATE INDEX ready_order ON {schema}.ready (rank, due, seq);
CREATE INDEX ready_queue_order ON {schema}.ready (queue, rank, due, seq);
CREATE INDEX ready_taken_over ON {schema}.ready (kind, seq) WHERE kind <> 0;

CREATE TABLE {schema}.lease (
    seq bigint NOT NULL,
    token bigint NOT NULL,
    expires_at bigint NOT NULL,
    due bigint NOT NULL,
    started_at bigint NOT NULL,
    request bigint NOT NULL,
    version integer NOT NULL,
    attempt integer NOT NULL,
    crash_count integer NOT NULL,
    retry_count integer NOT NULL,
    parked boolean NOT NULL DEFAULT false,
    trace_kind smallint,
    trace_version integer,
    trace_token bigint,
    worker text COLLATE "C" NOT NULL,
    server text COLLATE "C" NOT NULL,
    CONSTRAINT lease_pkey PRIMARY KEY (seq)
);
CREATE INDEX lease_lapse ON {schema}.lease (expires_at, seq) WHERE NOT parked;

CREATE TABLE {schema}.future (
    seq bigint NOT NULL,
    due bigint NOT NULL,
    version integer NOT NULL,
    attempt integer NOT NULL,
    crash_count integer NOT NULL,
    retry_count integer NOT NULL,
    kind smallint NOT NULL,
    trace_kind smallint,
    trace_version integer,
    trace_token bigint,
    state text NOT NULL,
    CONSTRAINT future_pkey PRIMARY KEY (kind, seq)
);
-- seq as an expression, so that no plan looks a job up in it, as with done_finished.
CREATE INDEX future_due ON {schema}.future (due, (seq + 0));

CREATE TABLE {schema}.done (
    seq bigint NOT NULL,
    finished_at bigint NOT NULL,
    version integer NOT NULL,
    attempt integer NOT NULL,
    crash_count integer NOT NULL,
    retry_count integer NOT NULL,
    kind smallint NOT NULL,
    trace_kind smallint,
    trace_version integer,
    trace_token bigint,
    state text NOT NULL,
    CONSTRAINT done_pkey PRIMARY KEY (kind, seq)
);
-- Of an expression, so that no plan looks a job up in it: (kind, seq) has the other index, and a plan made while the
-- table is empty takes either, and keeps it.
CREATE INDEX done_finished ON {schema}.done ((kind + 0), finished_at);

CREATE TABLE {schema}.explicit_lock (
    id text COLLATE "C" NOT NULL,
    worker text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    nonce bigint NOT NULL,
    CONSTRAINT explicit_lock_pkey PRIMARY KEY (id)
);
CREATE INDEX explicit_lock_expiry ON {schema}.explicit_lock (expires_at);

-- Dead rows decide in the long run: the hot tables are vacuumed by their churn, not by their size.
ALTER TABLE {schema}.ready SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
);
ALTER TABLE {schema}.lease SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
);
ALTER TABLE {schema}.future SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 10000
);
ALTER TABLE {schema}.done SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 1
);
ALTER TABLE {schema}.job SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 1
);
ALTER TABLE {schema}.explicit_lock SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);

-- The whole record of a job, in the order in which the native module takes it, and what the write paths need besides.
-- OFFSET 0 keeps the planner from pulling the lookups up into a hash join over whole tables.
CREATE VIEW {schema}.record AS
SELECT j.id, j.method, j.arguments, j.created_at, j.queue, j.priority, j.max_retries, j.job_type, j.timeout_seconds,
       j.metadata, p.kind, p.state, p.attempt, p.crash_count, p.retry_count, p.version, j.seq
  FROM {schema}.job j
 CROSS JOIN LATERAL (
    SELECT r.kind, coalesce(r.state, '{"enqueued_at":' || r.since || '}') AS state, r.attempt, r.crash_count,
           r.retry_count, r.version
      FROM {schema}.ready r WHERE r.seq = j.seq AND r.kind <> 1
    UNION ALL
    SELECT 1::smallint,
           '{"started_at":' || l.started_at || ',"worker_id":' || to_json(l.worker)::text || ',"server_name":'
             || to_json(l.server)::text || '}',
           l.attempt, l.crash_count, l.retry_count, l.version
      FROM {schema}.lease l WHERE l.seq = j.seq
    UNION ALL
    SELECT f.kind, f.state, f.attempt, f.crash_count, f.retry_count, f.version
      FROM {schema}.future f WHERE f.kind IN (5, 6) AND f.seq = j.seq
    UNION ALL
    SELECT d.kind, d.state, d.attempt, d.crash_count, d.retry_count, d.version
      FROM {schema}.done d WHERE d.kind IN (2, 3, 4) AND d.seq = j.seq
    OFFSET 0
 ) p;
