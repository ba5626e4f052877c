"""One job at a time: what a call takes beside an EVALSHA that reads one key.

Run: ``python -m benches.redis.single [--flavour debian] [--calls 2000]``. Three take turns, call by call, so that
whatever else the machine does is in all of them; medians of their times, means of the processor time of the server:

* ours: `enqueue`, `fetch_and_lock_job`, `update`;
* redis-py: its own public `evalsha` of a script that reads one key, on one connection, with hiredis: what a user of
  redis-py meets. The bar is held against it;
* transport: the same script over our own connection, which is faster than redis-py's: the stricter yardstick, shown
  beside it.
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

from redis.asyncio import Redis

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
    opened = storage._life.opened
    assert opened is not None
    client = opened.client
    driver = Redis.from_url(server.url)
    sha = await driver.script_load(TEXT)
    held: list[Job] = []

    async def enqueue() -> None:
        await storage.enqueue(Job("send_email", [PAYLOAD]))

    async def claim() -> None:
        job = await storage.fetch_and_lock_job("worker")
        assert job is not None
        held.append(job)

    async def settle() -> None:
        await storage.update(held.pop())

    async def public() -> Any:
        return await driver.evalsha(sha, 1, client.keys.meta)

    async def transport() -> Any:
        return await client.script("bench", ONE_KEY, ())

    async def timed(call: Callable[[], Awaitable[Any]], times: list[float], used: list[float]) -> None:
        before, begun = server_time(server), time.perf_counter()
        await call()
        times.append((time.perf_counter() - begun) * 1e6)
        used.append(server_time(server) - before)

    await storage.enqueue_many([Job("send_email", [PAYLOAD]) for _ in range(1000)])
    await public()
    found = {}
    for operation in (enqueue, claim, settle):
        seen: dict[str, tuple[list[float], list[float]]] = {
            name: ([], []) for name in ("ours", "redis-py", "transport")
        }
        for job in held:
            job.set_state(JobState.succeeded(1))
        for _ in range(calls):
            await timed(public, *seen["redis-py"])
            await timed(transport, *seen["transport"])
            await timed(operation, *seen["ours"])
        row = {name: statistics.median(times) for name, (times, _used) in seen.items()}
        row |= {f"{name}, server": statistics.mean(used) for name, (_times, used) in seen.items()}
        row |= {f"to {name}": row["ours"] / row[name] for name in ("redis-py", "transport")}
        found[operation.__name__] = row
    await driver.aclose()
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
            f"{name:8} {row['ours']:.0f} µs: {row['to redis-py']:.2f} times redis-py's evalsha of one key "
            f"({row['redis-py']:.0f} µs), {row['to transport']:.2f} times the same over our transport "
            f"({row['transport']:.0f} µs); server {row['ours, server']:.0f}, {row['redis-py, server']:.0f} and "
            f"{row['transport, server']:.0f} µs"
        )
    strict = [name for name, row in found.items() if row["to transport"] > BAR]
    if strict:
        print(f"above {BAR} times the stricter yardstick: {', '.join(strict)}")
    if options.json:
        write_json(options.json, {"machine": machine(), "flavour": options.flavour, "calls": found})
    missed = [name for name, row in found.items() if row["to redis-py"] > BAR]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)} above {BAR} times redis-py's evalsha")


if __name__ == "__main__":
    main()
