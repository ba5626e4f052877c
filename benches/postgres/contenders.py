"""One process of a contender of peers.py: `python -m benches.postgres.contenders NAME DSN JOBS BATCH`.

A line of stdin starts a phase (enqueue, claim, settle), a line of stdout ends it. JOBS is this process's share; a claim
phase takes what is there until nothing is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg

from benches.postgres.scale import PAYLOAD, jobs
from ferroq import Job, JobState
from ferroq.postgres import PostgresConfig, PostgresStorage

SCHEMA = "bench_ferroq"
Phases = dict[str, Callable[[], Awaitable[None]]]


async def ferroq(dsn: str, total: int, batch: int, keep: float | None) -> Phases:
    config = PostgresConfig(database_url=dsn, schema_name=SCHEMA, keep_succeeded=keep, listen=False)
    storage = await PostgresStorage(config)
    claimed: list[list[Job]] = []

    async def enqueue() -> None:
        for at in range(0, total, batch):
            await storage.enqueue_many(jobs(min(batch, total - at)))

    async def claim() -> None:
        claimed.clear()
        while found := await storage.fetch_available_jobs_atomic("w", batch):
            claimed.append(found)

    async def settle() -> None:
        for found in claimed:
            for job in found:
                job.set_state(JobState.succeeded(1))
            assert set(await storage.update_many(found)) == {None}

    return {"enqueue": enqueue, "claim": claim, "settle": settle}


async def pgqueuer(dsn: str, total: int, batch: int) -> Phases:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import EntrypointExecutionParameter
    from pgqueuer.queries import Queries as Peer

    peer = Peer(AsyncpgDriver(await asyncpg.connect(dsn)))
    payload = json.dumps(PAYLOAD).encode()
    manager: Any = uuid.uuid4()
    entry: dict[Any, Any] = {"send_email": EntrypointExecutionParameter(0)}
    claimed: list[list[Any]] = []

    async def enqueue() -> None:
        for at in range(0, total, batch):
            count = min(batch, total - at)
            await peer.enqueue(["send_email"] * count, [payload] * count, [0] * count)

    async def claim() -> None:
        claimed.clear()
        while found := await peer.dequeue(batch, entry, manager, None, timedelta(seconds=60)):
            claimed.append(found)

    async def settle() -> None:
        for found in claimed:
            await peer.log_jobs([(job, "successful", None) for job in found])

    return {"enqueue": enqueue, "claim": claim, "settle": settle}


async def main() -> None:
    name, dsn, total, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if name == "pgqueuer":
        phases = await pgqueuer(dsn, total, batch)
    else:
        phases = await ferroq(dsn, total, batch, 0 if name == "ferroq, not kept" else None)
    print("ready", flush=True)
    while (phase := (await asyncio.to_thread(sys.stdin.readline)).strip()) in phases:
        await phases[phase]()
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
