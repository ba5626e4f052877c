"""Rates, WAL and sizes of the Postgres backend by what is stored, through `PostgresStorage`.

    python -m benches.postgres.scale postgresql://… [--jobs 1000000] [--only empty,ready,…] [--json out.json]

Scenarios: an empty table; many ready jobs; many future jobs; many jobs of another queue; many finished ones; after many
have passed through; and a transaction held open for the whole run. Each is measured with lives (enqueue, claim, settle)
in batches of 100 by one process, against the empty table in the same run. WAL leaves out full-page images if the server
runs with full_page_writes off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import asyncpg

from ferroq import Job, JobState
from ferroq.postgres import PostgresConfig, PostgresStorage

BATCH = 100
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

    async def fill(self, count: int, queue: str = "default", **fields: Any) -> None:
        for at in range(0, count, 5000):
            await self.storage.enqueue_many(jobs(min(5000, count - at), queue, **fields), if_exists="skip")

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


async def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg(), "jobs": options.jobs}
    only = options.only.split(",") if options.only else None
    lives = options.lives

    async def scenario(name: str, prepare: Any, queues: list[str] | None = None, keep: float | None = None) -> None:
        if only and name not in only:
            return
        async with Bench(options.dsn, keep) as bench:
            await prepare(bench)
            found[name] = await bench.lives(lives, queues)
            found[name]["sizes"] = await bench.size()
            print(name, json.dumps({k: round(v, 2) for k, v in found[name].items() if k != "sizes"}), flush=True)

    async def nothing(bench: Bench) -> None: ...

    async def finished(bench: Bench) -> None:
        await bench.fill(options.jobs, state=JobState.succeeded(1))

    async def future(bench: Bench) -> None:
        from datetime import UTC, datetime, timedelta

        await bench.fill(options.jobs, state=JobState.scheduled(datetime.now(UTC) + timedelta(days=9)))

    async def passed(bench: Bench) -> None:
        await bench.lives(options.jobs, batch=1000)

    await scenario("empty", nothing)
    await scenario("not kept", nothing, keep=0)
    await scenario("ready 10^4", lambda bench: bench.fill(10_000))
    await scenario("ready", lambda bench: bench.fill(options.jobs))
    await scenario("future", future)
    await scenario("another queue", lambda bench: bench.fill(options.jobs, "aaa", priority=5), ["default"])
    await scenario("finished", finished)
    await scenario("passed", passed)
    await scenario("empty again", nothing)
    if not only or "pinned" in only:
        async with Bench(options.dsn) as bench:
            await bench.fill(1000)
            holder = await asyncpg.connect(options.dsn)
            transaction = holder.transaction(isolation="repeatable_read")
            await transaction.start()
            await holder.fetchval("SELECT txid_current()")
            found["pinned"] = await bench.lives(options.pinned)
            print("pinned", json.dumps({k: round(v, 2) for k, v in found["pinned"].items()}), flush=True)
            await transaction.rollback()
            await holder.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--lives", type=int, default=20_000)
    parser.add_argument("--pinned", type=int, default=200_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    options = parser.parse_args()
    found = asyncio.run(run(options))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
