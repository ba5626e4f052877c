"""What an operation costs the server by how many jobs are stored: commands, time, memory a job; and at its limits.

Run: ``make scale-redis``, or ``python -m benches.redis.scale [--flavour debian] [--json FILE] [JOBS ...]`` (default
1000 100000 1000000; the million takes minutes). Each size has a server of its own, with as many jobs finished as ready.
Time is the server's in EVALSHA (INFO commandstats), the longest by its SLOWLOG; processor time is that of the server's
thread, in which the machine's other load is not. The limits: a thousand jobs of 1 KiB, and 16 MiB in one call.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benches.measure import machine, machine_line, write_json
from ferroq import Job, JobState
from ferroq.redis import RedisConfig, RedisStorage
from tests.servers import RedisServer

PAYLOAD = "x" * 96
BATCHES = (1, 100, 1000)
ROUNDS = 9
MEGABYTE = 1024 * 1024
BOUND = 30_000
"""µs that no script may take for a thousand jobs of 1 KiB."""
LARGEST = 700
"""Bytes a job at most, over a million."""


class Server:
    """A server, a storage on it, and what its calls cost."""

    def __init__(self, process: RedisServer) -> None:
        self.process = process
        self.admin: Any = Redis.from_url(process.url, protocol=2)
        self.storage = RedisStorage(RedisConfig(url=process.url, command_timeout=60))
        self.rows: dict[str, list[dict[str, float]]] = {}

    async def __aenter__(self) -> Server:
        await self.storage.open()
        await self.admin.config_set("slowlog-log-slower-than", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.storage.close()
        await self.admin.aclose()

    def _cpu(self) -> float:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat")
        return int(path.read_text().split()[0]) / 1e3

    async def _stats(self) -> tuple[float, int]:
        info = await self.admin.info("commandstats")
        own = ("cmdstat_info", "cmdstat_evalsha", "cmdstat_slowlog|reset", "cmdstat_slowlog|get")
        calls = sum(one["calls"] for name, one in info.items() if name not in own)
        return float(info.get("cmdstat_evalsha", {"usec": 0})["usec"]), int(calls)

    async def measure(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        await self.admin.slowlog_reset()
        before, used = await self._stats(), self._cpu()
        answer = await call()
        spent = self._cpu() - used
        after = await self._stats()
        slow = [entry["duration"] for entry in await self.admin.slowlog_get(20) if b"EVALSHA" in entry["command"]]
        row = {"time": after[0] - before[0], "cpu": spent, "commands": after[1] - before[1]}
        self.rows.setdefault(name, []).append(row | {"slow": max(slow, default=0)})
        return answer

    def taken(self) -> dict[str, dict[str, float]]:
        """Medians by operation, and the longest script; forgets them."""
        found = {
            name: {key: statistics.median(row[key] for row in rows) for key in ("time", "cpu", "commands")}
            | {"longest": max(row["slow"] for row in rows)}
            for name, rows in self.rows.items()
        }
        self.rows = {}
        return found

    async def memory(self) -> int:
        return int((await self.admin.info("memory"))["used_memory"])


def jobs(count: int, payload: str = PAYLOAD) -> list[Job]:
    return [Job("send_email", [payload]) for _ in range(count)]


async def fill(storage: RedisStorage, count: int) -> None:
    for _ in range(0, count, 10_000):
        await storage.enqueue_many(jobs(min(count, 10_000)))


def succeed(held: list[Job]) -> None:
    for job in held:
        job.set_state(JobState.succeeded(5))


async def finish(storage: RedisStorage, count: int) -> None:
    while count > 0:
        batch = await storage.fetch_available_jobs_atomic("w", min(count, 1000))
        succeed(batch)
        await storage.update_many(batch)
        count -= len(batch)


async def each_operation(server: Server, batch: int, payload: str = PAYLOAD) -> dict[str, Any]:
    storage, measure = server.storage, server.measure
    for _ in range(ROUNDS):
        await measure("enqueue", partial(storage.enqueue_many, jobs(batch, payload)))
        held = await measure("claim", partial(storage.fetch_available_jobs_atomic, "w", batch))
        await measure("extend", partial(storage.extend_job_locks, held))
        succeed(held)
        await measure("settle", partial(storage.update_many, held))
        again = await storage.fetch_available_jobs_atomic("w", batch)
        await measure("release", partial(storage.release_jobs, again))
        await measure("list", partial(storage.list, limit=batch))
        await measure("available", partial(storage.get_available_jobs, batch))
        await measure("counts", storage.get_job_counts)
        await measure("purge", partial(storage.purge, "succeeded", 0, batch))
    return server.taken()


async def by_size(flavour: Any, size: int) -> dict[str, Any]:
    with RedisServer(flavour) as process:
        async with Server(process) as server:
            empty = await server.memory()
            await fill(server.storage, size)
            ready = (await server.memory() - empty) / size
            await finish(server.storage, size)
            finished = (await server.memory() - empty) / size
            await fill(server.storage, size)  # as many again, ready: claims have a backlog before them
            found = {batch: await each_operation(server, batch) for batch in BATCHES}
    return {"ready": ready, "finished": finished, "operations": found}


async def limits(flavour: Any) -> dict[str, Any]:
    found = {}
    for name, batch, payload in (
        ("1,000 jobs of 1 KiB", 1000, "x" * 1000),
        ("16 MiB in 1,000 jobs", 1000, "x" * (16 * MEGABYTE // 1000 - 350)),
        ("16 MiB in 16 jobs", 16, "x" * (MEGABYTE - 350)),
    ):
        with RedisServer(flavour) as process:
            async with Server(process) as server:
                await server.storage.enqueue_many(jobs(batch, payload))  # there is a next one to claim
                found[name] = await each_operation(server, batch, payload)
    return found


def show(found: dict[str, Any]) -> None:
    sizes = list(found["sizes"])
    for size, one in found["sizes"].items():
        print(f"{size:,} stored: bytes a job ready {one['ready']:.0f}, finished {one['finished']:.0f}")
    print(f"medians: commands, time and processor time of the server in µs, at {', '.join(f'{n:,}' for n in sizes)}")
    for batch in BATCHES:
        print(f"batch {batch}")
        for name in found["sizes"][sizes[0]]["operations"][batch]:
            each = [found["sizes"][size]["operations"][batch][name] for size in sizes]
            text = "   ".join(f"{one['commands']:5.0f} {one['time']:7.0f} {one['cpu']:7.0f}" for one in each)
            print(f"  {name:10} {text}")
    print("limits: the longest script in ms, by SLOWLOG, and the median of the processor time of its call")
    for name, operations in found["limits"].items():
        shown = [
            f"{operation} {one['longest'] / 1e3:.1f} ({one['cpu'] / 1e3:.1f})"
            for operation, one in operations.items()
            if one["longest"]
        ]
        print(f"  {name}: " + ", ".join(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, 100_000, 1_000_000])
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine_line())
    print(f"server {options.flavour}, payload {len(PAYLOAD) + 4} bytes, ids of 36; medians of {ROUNDS}", flush=True)
    found: dict[str, Any] = {"machine": machine(), "flavour": options.flavour}
    found["limits"] = asyncio.run(limits(options.flavour))
    found["sizes"] = {size: asyncio.run(by_size(options.flavour, size)) for size in options.sizes}
    show(found)
    print(f"load average at the end {os.getloadavg()[0]:.2f}")
    if options.json:
        write_json(options.json, found)
    longest = max(one["cpu"] for one in found["limits"]["1,000 jobs of 1 KiB"].values())
    largest = max(max(one["ready"], one["finished"]) for size, one in found["sizes"].items() if size >= 100_000)
    if longest > BOUND or largest > LARGEST:
        raise SystemExit(f"missed: {longest / 1e3:.1f} ms for 1,000 jobs of 1 KiB, {largest:.0f} bytes a job")


if __name__ == "__main__":
    main()
