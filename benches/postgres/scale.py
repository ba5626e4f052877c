"""Rates, WAL and sizes of the Postgres backend by what is stored, through `PostgresStorage`.

    make scale-postgres [ARGS="--jobs 1000000 --huge 5000000 --only empty,ready --json out.json"]

Scenarios: an empty table; many ready jobs; many future jobs; many jobs of another queue; many finished ones; after many
have passed through; and a transaction held open for the whole run. Each is measured with lives (enqueue, claim, settle)
in batches of 100 by one process, taking turns with an empty store beside it: rates are medians of the turns, ratios
medians of those within a turn, the worst one in brackets. The server is one of its own, on disk, with fsync on, and
full_page_writes off so that WAL leaves their images out; `--dsn` takes another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import asyncpg

from ferroq import Job, JobState
from ferroq.postgres import PostgresConfig, PostgresStorage
from tests.servers import PostgresServer

BATCH = 100
TURNS = 10
RATES = ("life_per_s", "enqueue_per_s", "claim_per_s", "settle_per_s")
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
PAYLOAD = ["x" * 96]


def jobs(count: int, queue: str = "default", **fields: Any) -> list[Job]:
    return [Job("send_email", PAYLOAD, queue=queue, **fields) for _ in range(count)]


class Bench:
    def __init__(self, dsn: str, keep: float | None = None, schema: str = "scale") -> None:
        self.dsn = dsn
        self.schema = schema
        self.keep = keep
        self.storage: PostgresStorage
        self.admin: asyncpg.Connection

    async def __aenter__(self) -> Bench:
        self.admin = await asyncpg.connect(self.dsn)
        await self.admin.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        config = PostgresConfig(
            database_url=self.dsn, schema_name=self.schema, auto_migrate=True, keep_succeeded=self.keep
        )
        self.storage = await PostgresStorage(config)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.storage.close()
        await self.admin.execute(f"DROP SCHEMA {self.schema} CASCADE")
        await self.admin.close()

    async def wal(self) -> int:
        return int(await self.admin.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"))

    async def fill(self, count: int, table: str, row: str, queue: str = "default", priority: int = 0) -> None:
        """So many jobs of about the size of the others, by SQL; their rows of `table` are `row`, out of seq."""
        await self.admin.execute(
            f"""
            INSERT INTO {self.schema}.job (seq, created_at, priority, max_retries, id, method, queue, arguments)
            SELECT seq, 1, {priority}, 0, gen_random_uuid()::text, 'send_email', '{queue}',
                   '["' || repeat('x', 96) || '"]'
              FROM generate_series(1, {count}) seq;
            INSERT INTO {self.schema}.{table} {row} FROM generate_series(1, {count}) seq;
            SELECT setval('{self.schema}.job_seq', {count} + 1)
            """
        )

    async def lives(self, count: int, queues: list[str] | None = None, batch: int = BATCH) -> dict[str, float]:
        """Lives one batch after the other; rates by phase, and the claims' own latency."""
        spent = {"enqueue": 0.0, "claim": 0.0, "settle": 0.0}
        claims = []
        before = await self.wal()
        start = time.perf_counter()
        for _ in range(count // batch):
            fresh = jobs(batch)
            at = time.perf_counter()
            await self.storage.enqueue_many(fresh)
            spent["enqueue"] += time.perf_counter() - at
            at = time.perf_counter()
            claimed = await self.storage.fetch_available_jobs_atomic("worker-1", batch, queues)
            claims.append(time.perf_counter() - at)
            assert len(claimed) == batch
            for job in claimed:
                job.set_state(JobState.succeeded(12))
            at = time.perf_counter()
            assert set(await self.storage.update_many(claimed)) == {None}
            spent["settle"] += time.perf_counter() - at
        total = time.perf_counter() - start
        spent["claim"] = sum(claims)
        tenth = max(1, len(claims) // 10)
        return {
            "life_per_s": count / total,
            **{f"{name}_per_s": count / value for name, value in spent.items()},
            "first_claims_ms": 1000 * sum(claims[:tenth]) / tenth,
            "last_claims_ms": 1000 * sum(claims[-tenth:]) / tenth,
            "wal_per_life": (await self.wal() - before) / count,
        }

    async def size(self) -> dict[str, Any]:
        rows = await self.admin.fetch(
            "SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid) AS bytes FROM pg_stat_user_tables"
            " WHERE schemaname = $1 ORDER BY relname",
            self.schema,
        )
        return {row["relname"]: {"live": row[1], "dead": row[2], "bytes": row[3]} for row in rows if row["bytes"]}


async def run(options: argparse.Namespace, dsn: str) -> dict[str, Any]:
    admin = await asyncpg.connect(dsn)
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}",
        "load": os.getloadavg(),
        "settings": {name: await admin.fetchval(f"SHOW {name}") for name in SETTINGS},
        "jobs": options.jobs,
        "lives": options.lives,
        "batch": BATCH,
    }
    await admin.close()
    print(f"{found['machine']}, load {found['load'][0]:.1f} at the start; {found['settings']}", flush=True)
    only = options.only.split(",") if options.only else None

    async def scenario(name: str, prepare: Any, queues: list[str] | None = None, keep: float | None = None) -> None:
        if only and name not in only:
            return
        async with Bench(dsn, keep) as bench, Bench(dsn, schema="scale_empty") as empty:
            await prepare(bench)
            # Statements are prepared, pages are warm: what is compared is what is stored.
            await bench.lives(10 * BATCH, queues)
            await empty.lives(10 * BATCH)
            turns = []
            for turn in range(TURNS):
                sides = [("ours", bench), ("empty", empty)]
                pair = {}
                for which, side in sides[:: 1 if turn % 2 else -1]:
                    pair[which] = await side.lives(options.lives // TURNS, queues)
                turns.append(pair)
            found[name] = {**summary(turns), "load": os.getloadavg()[0], "sizes": await bench.size()}
            show(name, found[name])

    async def nothing(bench: Bench) -> None: ...

    def ready(count: int, queue: str = "default", rank: int = -1) -> Any:
        row = f"SELECT seq, 1000000 + seq, 1, {rank}, 1, 0, 0, 0, 0, NULL, NULL, NULL, '{queue}', NULL"
        return lambda bench: bench.fill(count, "ready", row, queue, ~rank)

    far = f'SELECT seq, {2**52} + seq, 1, 0, 0, 0, 5, NULL, NULL, NULL, \'{{"scheduled_at":1,"enqueue_at":{2**52}}}\''
    over = 'SELECT seq, seq, 1, 1, 0, 0, 2, 2, 1, seq, \'{"succeeded_at":1,"total_duration":1,"result":null}\''

    async def passed(bench: Bench) -> None:
        await bench.lives(options.jobs, batch=1000)

    await scenario("empty", nothing)
    await scenario("not kept", nothing, keep=0)
    await scenario("ready 10^4", ready(10_000))
    await scenario("ready", ready(options.jobs))
    await scenario("future", lambda bench: bench.fill(options.jobs, "future", far))
    await scenario("another queue", ready(options.jobs, "aaa", ~5), ["default"])
    await scenario("finished", lambda bench: bench.fill(options.jobs, "done", over))
    await scenario("passed", passed)
    if options.huge:
        await scenario("ready, huge", ready(options.huge))
    if not only or "pinned" in only:
        async with Bench(dsn) as bench:
            await bench.lives(10 * BATCH)
            holder = await asyncpg.connect(dsn)
            transaction = holder.transaction(isolation="repeatable_read")
            await transaction.start()
            await holder.fetchval("SELECT txid_current()")
            found["pinned"] = await bench.lives(options.pinned)
            found["pinned"]["load"] = os.getloadavg()[0]
            show("pinned", found["pinned"])
            await transaction.rollback()
            await holder.close()
    return found


def summary(turns: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians of one scenario's turns, and its ratios to the empty store: median and worst."""
    ours = [pair["ours"] for pair in turns]
    ratios = {key: [pair["ours"][key] / pair["empty"][key] for pair in turns] for key in RATES}
    return {
        **{key: statistics.median(turn[key] for turn in ours) for key in (*RATES, "wal_per_life")},
        "first_claims_ms": ours[0]["first_claims_ms"],
        "last_claims_ms": ours[-1]["last_claims_ms"],
        "ratios": {key: {"median": statistics.median(each), "worst": min(each)} for key, each in ratios.items()},
        "turns": turns,
    }


def show(name: str, one: dict[str, Any]) -> None:
    """One scenario, with its ratios to the empty store where it took turns with it."""
    parts = []
    for key in RATES:
        ratio = one["ratios"][key] if "ratios" in one else None
        against = f" {ratio['median']:.2f}x ({ratio['worst']:.2f})" if ratio else ""
        parts.append(f"{key.removesuffix('_per_s')} {one[key] / 1000:.1f}k{against}")
    parts.append(f"claims {one['first_claims_ms']:.1f} ms at first, {one['last_claims_ms']:.1f} at last")
    parts.append(f"WAL {one['wal_per_life']:.0f} B a life, load {one['load']:.1f}")
    print(f"{name:14} " + ", ".join(parts), flush=True)
    if name == "passed":
        for table, size in one["sizes"].items():
            print(f"{'':14}   {table}: {size['live']} rows, {size['dead']} dead, {size['bytes'] >> 20} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="another server")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--huge", type=int, default=0, help="ready jobs of one more scenario, such as 5000000")
    parser.add_argument("--lives", type=int, default=20_000)
    parser.add_argument("--pinned", type=int, default=200_000)
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.dsn:
        found = asyncio.run(run(options, options.dsn))
    else:
        with PostgresServer(durable=True, settings={"full_page_writes": "off", "max_wal_size": "4GB"}) as server:
            found = asyncio.run(run(options, server.dsn))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
