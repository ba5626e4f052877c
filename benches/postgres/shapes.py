"""Two table shapes, the same life: enqueue, claim and settle in batches, over a backlog. WAL and CPU-bound rates.

`one`:   one table, partial indexes; a claim and a settlement each rewrite the wide row.
`moves`: the shape of the migrations: the wide row is written once, narrow rows move (its own statements are run).
`moves, no ready_order`: as `moves` without the index over all queues; claims by queue.

    python benches/postgres/shapes.py postgresql://… [--lives 20000] [--backlog 100000] [--rounds 3]

WAL is counted with full_page_writes as the server has it: switch it off there to leave full-page images out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
import uuid
from importlib.resources import files
from typing import Any

import asyncpg

from ferroq.postgres.queries import Queries
from ferroq.postgres.records import written

ONE = """
CREATE SEQUENCE {s}.token_seq;
CREATE TABLE {s}.job (
    seq bigserial PRIMARY KEY, due bigint, expires_at bigint, token bigint, created_at bigint NOT NULL,
    changed_at bigint, request bigint, rank int NOT NULL, max_retries int NOT NULL, timeout_seconds int,
    version int NOT NULL, attempt int NOT NULL, crash_count int NOT NULL, retry_count int NOT NULL,
    kind smallint NOT NULL, trace_kind smallint, trace_version int, trace_token bigint,
    id text COLLATE "C" NOT NULL UNIQUE,
    method text NOT NULL, queue text COLLATE "C" NOT NULL, job_type text, worker text, server text,
    arguments text NOT NULL, metadata text, state text NOT NULL
);
CREATE INDEX ON {s}.job (rank, due, seq) WHERE kind = 0;
CREATE INDEX ON {s}.job (queue, rank, due, seq) WHERE kind = 0;
CREATE INDEX ON {s}.job (kind, seq);
CREATE INDEX ON {s}.job (expires_at, seq) WHERE kind = 1;
CREATE INDEX ON {s}.job (due, seq) WHERE kind IN (5, 6);
CREATE INDEX ON {s}.job (kind, changed_at) WHERE kind IN (2, 3, 4);
ALTER TABLE {s}.job SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
"""
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
ONE_ENQUEUE = f"""
WITH c AS MATERIALIZED (SELECT {NOW} AS now)
INSERT INTO {{s}}.job (due, created_at, rank, max_retries, version, attempt, crash_count, retry_count, kind, id, method,
                       queue, arguments, state)
SELECT c.now, c.now, -1, 3, 1, 0, 0, 0, 0, i.id, 'send_email', i.queue, i.arguments, '{{{{"enqueued_at":1}}}}'
  FROM c, unnest($1::text[], $2::text[], $3::text[]) AS i (id, queue, arguments)
"""
ONE_CLAIM = f"""
WITH c AS MATERIALIZED (SELECT {NOW} AS now),
t AS MATERIALIZED (SELECT * FROM (SELECT ctid AS tid FROM {{s}}.job WHERE kind = 0 ORDER BY rank, due, seq
                   LIMIT 1000 FOR UPDATE SKIP LOCKED) x LIMIT $1::int)
UPDATE {{s}}.job SET kind = 1, token = nextval('{{s}}.token_seq'), expires_at = c.now + 1800000000, request = $2,
       worker = 'worker-1', server = 'server-1', version = version + 1, attempt = attempt + 1,
       state = '{{{{"started_at":' || c.now || ',"worker_id":"worker-1","server_name":"server-1"}}}}'
  FROM c WHERE ctid = ANY (ARRAY (SELECT tid FROM t))
RETURNING id, seq, token, arguments, method, queue
"""
ONE_SETTLE = f"""
WITH c AS MATERIALIZED (SELECT {NOW} AS now)
UPDATE {{s}}.job SET kind = 2, token = NULL, expires_at = NULL, version = version + 1, trace_kind = 2,
       trace_version = version + 1, trace_token = token, changed_at = c.now, state = $3
  FROM c WHERE seq = ANY ($1::bigint[]) AND token = ANY ($2::bigint[])
RETURNING seq
"""
DONE_STATE = '{"succeeded_at":1790000000000000,"total_duration":12,"result":null}'
PAYLOAD = json.dumps(["x" * 96])


class One:
    def __init__(self, schema: str) -> None:
        self.schema = schema

    async def create(self, c: asyncpg.Connection) -> None:
        await c.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE; CREATE SCHEMA {self.schema}")
        await c.execute(ONE.format(s=self.schema))

    async def enqueue(self, c: asyncpg.Connection, n: int) -> None:
        ids = [str(uuid.UUID(int=(time.time_ns() << 64) | random.getrandbits(64))) for _ in range(n)]
        await c.fetch(ONE_ENQUEUE.format(s=self.schema), ids, ["default"] * n, [PAYLOAD] * n)

    async def claim(self, c: asyncpg.Connection, n: int) -> list[Any]:
        claimed: list[Any] = await c.fetch(ONE_CLAIM.format(s=self.schema), n, random.getrandbits(62))
        return claimed

    async def settle(self, c: asyncpg.Connection, jobs: list[Any]) -> None:
        jobs.sort(key=lambda r: r["seq"])
        await c.fetch(
            ONE_SETTLE.format(s=self.schema), [r["seq"] for r in jobs], [r["token"] for r in jobs], DONE_STATE
        )


class Moves:
    def __init__(self, schema: str, by_queue: bool = False) -> None:
        self.schema, self.by_queue, self.q = schema, by_queue, Queries(schema)

    async def create(self, c: asyncpg.Connection) -> None:
        await c.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE; CREATE SCHEMA {self.schema}")
        text = files("ferroq.postgres").joinpath("migrations", "0001_initial.sql").read_text()
        await c.execute(text.replace("{schema}", f'"{self.schema}"'))
        if self.by_queue:
            await c.execute(f"DROP INDEX {self.schema}.ready_order")

    async def enqueue(self, c: asyncpg.Connection, n: int) -> None:
        ids = [str(uuid.UUID(int=(time.time_ns() << 64) | random.getrandbits(64))) for _ in range(n)]
        one, none = [1790000000000000] * n, [None] * n
        await c.fetch(
            self.q.enqueue, 0, True, 1800000000, [], list(range(n)), ids, ["send_email"] * n, [PAYLOAD] * n, one,
            ["default"] * n, [0] * n, [3] * n, none, none, none, [0] * n, ['{"enqueued_at":1}'] * n, none, [0] * n,
        )  # fmt: skip

    async def claim(self, c: asyncpg.Connection, n: int) -> list[Any]:
        head = (0, n, "worker-1", "server-1", 1800000000, random.getrandbits(62), False, -(2**31), 0, 0)
        rows = await (
            c.fetch(self.q.claim_queue(n), *head, "default") if self.by_queue else c.fetch(self.q.claim_all(n), *head)
        )
        return [r for r in rows if r["id"] is not None]

    async def settle(self, c: asyncpg.Connection, jobs: list[Any]) -> None:
        jobs.sort(key=lambda r: r["seq"])
        n = len(jobs)
        none = [None] * n
        await c.fetch(
            self.q.settle, 0, [], written(range(n)), written(r["seq"] for r in jobs),
            written(r["token"] for r in jobs), written(r["id"] for r in jobs),
            [2] * n, [DONE_STATE] * n, none, [0] * n, [r["queue"] for r in jobs],
            [0] * n, [3] * n, none, none, none,
        )  # fmt: skip


async def wal(c: asyncpg.Connection) -> int:
    return int(await c.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"))


async def measure(dsn: str, shape: Any, lives: int, backlog: int, batch: int, sessions: int) -> dict[str, float]:
    admin = await asyncpg.connect(dsn)
    await shape.create(admin)
    for _ in range(backlog // 1000):
        await shape.enqueue(admin, 1000)
    await admin.execute(f"VACUUM ANALYZE {shape.schema}.job")
    conns = [await asyncpg.connect(dsn) for _ in range(sessions)]
    result: dict[str, float] = {}
    held: list[Any] = []

    async def spread(name: str, step: Any) -> None:
        todo = iter(range(lives // batch))
        before, start = await wal(admin), time.perf_counter()

        async def one(c: asyncpg.Connection) -> None:
            for _ in todo:
                await step(c)

        await asyncio.gather(*(one(c) for c in conns))
        spent = time.perf_counter() - start
        result[f"{name}_per_s"] = lives / spent
        result[f"{name}_wal"] = (await wal(admin) - before) / lives

    async def claim(c: asyncpg.Connection) -> None:
        held.append(await shape.claim(c, batch))

    await spread("enqueue", lambda c: shape.enqueue(c, batch))
    await spread("claim", claim)
    await spread("settle", lambda c: shape.settle(c, held.pop()))
    result["life_wal"] = sum(v for k, v in result.items() if k.endswith("_wal"))
    result["life_per_s"] = 1 / sum(1 / v for k, v in result.items() if k.endswith("_per_s"))
    for c in conns:
        await c.close()
    await admin.execute(f"DROP SCHEMA {shape.schema} CASCADE")
    await admin.close()
    return result


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("--lives", type=int, default=20_000)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    shapes = {"one": One("shape_one"), "moves": Moves("shape_moves"), "moves, no ready_order": Moves("shape_q", True)}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in shapes}
    for _ in range(args.rounds):
        for name, shape in shapes.items():
            rounds[name].append(await measure(args.dsn, shape, args.lives, args.backlog, args.batch, args.sessions))
    print(json.dumps(vars(args) | {"dsn": "…"}))
    for name, results in rounds.items():
        print(name)
        for key in results[0]:
            values = [r[key] for r in results]
            print(f"  {key:16} median {statistics.median(values):10.0f}  worst {min(values):10.0f}")


if __name__ == "__main__":
    asyncio.run(main())
