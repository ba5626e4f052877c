"""What an operation costs the server by how many jobs are stored: commands, time, memory a job.

Run: ``python -m benches.redis.scale [--flavour wheel|debian] [JOBS ...]`` (default 1000 100000). A million takes about
three minutes. Each size has a server of its own; server time is that of the EVALSHA calls alone (INFO commandstats).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from redis.asyncio import Redis

from ferroq import Job, JobState
from ferroq.redis import RedisConfig, RedisStorage
from tests.servers import RedisServer

PAYLOAD = "x" * 96
BATCHES = (1, 100, 1000)
ROUNDS = 9


async def stats(admin: Any) -> tuple[float, int]:
    """Server time in EVALSHA so far (µs), and commands called inside scripts and out."""
    info = await admin.info("commandstats")
    calls = sum(one["calls"] for name, one in info.items() if name not in ("cmdstat_info", "cmdstat_evalsha"))
    return float(info.get("cmdstat_evalsha", {"usec": 0})["usec"]), int(calls)


def jobs(count: int) -> list[Job]:
    return [Job("send_email", [PAYLOAD]) for _ in range(count)]


async def memory(admin: Any) -> int:
    return int((await admin.info("memory"))["used_memory"])


async def fill(storage: RedisStorage, count: int) -> None:
    for _ in range(0, count, 10_000):
        await storage.enqueue_many(jobs(min(count, 10_000)))


async def finish(storage: RedisStorage, count: int) -> None:
    while count > 0:
        batch = await storage.fetch_available_jobs_atomic("w", min(count, 1000))
        for job in batch:
            job.set_state(JobState.succeeded(5))
        await storage.update_many(batch)
        count -= len(batch)


async def measure(url: str, size: int) -> None:
    admin = Redis.from_url(url, protocol=2)
    storage = RedisStorage(RedisConfig(url=url, command_timeout=60))
    await storage.open()
    empty = await memory(admin)
    await fill(storage, size)
    ready = await memory(admin) - empty
    await finish(storage, size)
    finished = await memory(admin) - empty
    await fill(storage, size)  # as many again, ready: claims have a backlog before them
    print(f"{size:>9} finished, as many ready; bytes a job: ready {ready / size:.0f}, finished {finished / size:.0f}")

    async def one(name: str, batch: int, call: Callable[[], Awaitable[Any]], times: list[float]) -> Any:
        before = await stats(admin)
        answer = await call()
        after = await stats(admin)
        times.append(after[0] - before[0])
        counts.setdefault((name, batch), []).append(after[1] - before[1])
        return answer

    counts: dict[tuple[str, int], list[int]] = {}
    for batch in BATCHES:
        rows: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            fresh = jobs(batch)
            await one("enqueue", batch, partial(storage.enqueue_many, fresh), rows.setdefault("enqueue", []))
            held = await one(
                "claim",
                batch,
                partial(storage.fetch_available_jobs_atomic, "w", batch),
                rows.setdefault("claim", []),
            )
            await one("extend", batch, partial(storage.extend_job_locks, held), rows.setdefault("extend", []))
            for job in held:
                job.set_state(JobState.succeeded(5))
            await one("settle", batch, partial(storage.update_many, held), rows.setdefault("settle", []))
            again = await storage.fetch_available_jobs_atomic("w", batch)
            await one("release", batch, partial(storage.release_jobs, again), rows.setdefault("release", []))
            await one("list", batch, partial(storage.list, limit=batch), rows.setdefault("list", []))
            await one(
                "available",
                batch,
                partial(storage.get_available_jobs, batch),
                rows.setdefault("available", []),
            )
            await one("counts", batch, storage.get_job_counts, rows.setdefault("counts", []))
            await one("purge", batch, partial(storage.purge, "succeeded", 0, batch), rows.setdefault("purge", []))
        cells = []
        for name, times in rows.items():
            commands = statistics.median(counts[name, batch])
            each = statistics.median(times)
            cells.append(f"{name} {each:.0f} µs (worst {max(times):.0f}), {commands:.0f} commands")
        print(f"  batch {batch:>4}: " + "; ".join(cells))
    await storage.close()
    await admin.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, 100_000])
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    load = os.getloadavg()[0]
    print(f"server {options.flavour}, payload {len(PAYLOAD) + 4}, load average {load:.2f} on {os.cpu_count()} cores")
    print(f"medians of {ROUNDS}; time is the server's wall time in EVALSHA, so other load on the machine is in it")
    for size in options.sizes:
        with RedisServer(options.flavour) as server:
            asyncio.run(measure(server.url, size))


if __name__ == "__main__":
    main()
