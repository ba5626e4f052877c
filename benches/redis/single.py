"""One job at a time: what a call takes beside an EVALSHA that reads one key, over the same connection.

Run: ``python -m benches.redis.single [--flavour debian] [--calls 2000]``. The two take turns, call by call, so that
whatever else the machine does is in both; medians of their times, and of the processor time of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benches.measure import machine, machine_line, write_json
from ferroq import Job, JobState
from ferroq.redis import RedisConfig, RedisStorage
from ferroq.redis.scripts import Script
from tests.servers import RedisServer

from .peers import PAYLOAD

TEXT = b"#!lua\nreturn redis.call('HGET', KEYS[1], 'seq')"
ONE_KEY = Script("one", TEXT, hashlib.sha1(TEXT, usedforsecurity=False).hexdigest().encode())
BAR = 1.5


def server_time(server: RedisServer) -> float:
    return int(Path(f"/proc/{server.pid}/task/{server.pid}/schedstat").read_text().split()[0]) / 1e3


async def measure(server: RedisServer, calls: int) -> dict[str, dict[str, float]]:
    storage = RedisStorage(RedisConfig(url=server.url))
    await storage.open()
    client = storage._client
    assert client is not None
    held: list[Job] = []

    async def enqueue() -> None:
        await storage.enqueue(Job("send_email", [PAYLOAD]))

    async def claim() -> None:
        job = await storage.fetch_and_lock_job("worker")
        assert job is not None
        held.append(job)

    async def settle() -> None:
        await storage.update(held.pop())

    async def one_key() -> Any:
        return await client.script("bench", ONE_KEY, ())

    async def timed(call: Callable[[], Awaitable[Any]], times: list[float], used: list[float]) -> None:
        before, begun = server_time(server), time.perf_counter()
        await call()
        times.append((time.perf_counter() - begun) * 1e6)
        used.append(server_time(server) - before)

    await storage.enqueue_many([Job("send_email", [PAYLOAD]) for _ in range(1000)])
    found = {}
    for operation in (enqueue, claim, settle):
        ours: tuple[list[float], list[float]] = ([], [])
        floor: tuple[list[float], list[float]] = ([], [])
        for job in held:
            job.set_state(JobState.succeeded(1))
        for _ in range(calls):
            await timed(one_key, *floor)
            await timed(operation, *ours)
        times, base = statistics.median(ours[0]), statistics.median(floor[0])
        found[operation.__name__] = {
            "time": times,
            "one key": base,
            "ratio": times / base,
            "server": statistics.mean(ours[1]),
            "server, one key": statistics.mean(floor[1]),
        }
    await storage.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine_line())
    with RedisServer(options.flavour) as server:
        found = asyncio.run(measure(server, options.calls))
    for name, row in found.items():
        print(
            f"{name:8} {row['time']:.0f} µs, one key {row['one key']:.0f} µs: {row['ratio']:.2f} times; "
            f"server {row['server']:.0f} and {row['server, one key']:.0f} µs"
        )
    if options.json:
        write_json(options.json, {"machine": machine(), "flavour": options.flavour, "calls": found})
    missed = [name for name, row in found.items() if row["ratio"] > BAR]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)} above {BAR} times")


if __name__ == "__main__":
    main()
