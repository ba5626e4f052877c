"""This package beside SAQ and BullMQ on one server: enqueue, claim, settle, and the full life of a job.

Run: ``make bench-redis``, or ``python -m benches.redis.compare [--flavour debian] [--rounds 5] [--batches 1,10,…]``

One server for all, with an AOF synced every second; it is empty when a contender begins. With `--fresh` each turn has
a server started for it, of the same binary and settings: an allocator keeps in pieces what it was given back, and the
next contender works in those pieces. All keep finished jobs, carry a payload of about a hundred bytes and hold claims
for at least 30 s. Contenders take turns in each round; ratios
are taken within a round and shown as median and worst. Beside the rate: processor time a job, of the client and of the
server. The command fails where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from benches.measure import machine, machine_line, write_json
from tests.servers import Flavour, RedisServer

from .peers import IN_FLIGHT, OPERATIONS, PAYLOAD, Missing, Peer
from .peers.bullmq import BullMq
from .peers.ours import Ours
from .peers.saq_queue import Saq

PEERS: tuple[type[Peer], ...] = (Ours, BullMq, Saq)
JOBS = {1: 2000, 10: 4000, 100: 10_000, 1000: 50_000}
RESULTS = Path(__file__).parent / "results"

BARS = {
    ("BullMQ", "life", 100): 2.0,
    ("BullMQ", "life", 1000): 2.0,
    ("SAQ", "life", 100): 6.0,
    ("SAQ", "life", 1000): 6.0,
    ("BullMQ", "enqueue", 100): 2.5,
    ("BullMQ", "enqueue", 1000): 2.5,
}
"""How many times as fast we mean to be, by median."""

SERVER_BAR = {100: 30.0, 1000: 30.0}
"""How many µs of the server's time a life may cost in such batches, by median: as fast as the machine is just then."""


def server_cpu(server: RedisServer) -> float:
    """Seconds that the server's main thread has run."""
    return int(Path(f"/proc/{server.pid}/task/{server.pid}/schedstat").read_text().split()[0]) / 1e9


def empty(admin: Redis) -> None:
    """Deletes everything, at once: what a thread of the server freed later, the next contender would pay for."""
    admin.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]


@contextmanager
def started(flavour: Flavour) -> Iterator[tuple[RedisServer, Redis]]:
    """A server and a connection to it."""
    with RedisServer(flavour, durable=True, options={"auto-aof-rewrite-percentage": 0}) as server:
        admin = Redis.from_url(server.url, protocol=2)
        try:
            yield server, admin
        finally:
            admin.close()


async def one(kind: type[Peer], server: RedisServer, admin: Redis, batch: int) -> dict[str, dict[str, float]]:
    """One contender's turn: rate, and processor time a job in µs."""
    jobs = max(batch, int(JOBS[batch] * kind.share) // batch * batch)
    found = {}
    empty(admin)
    peer = kind()
    await peer.open(server.url)
    try:
        await peer.life(batch * IN_FLIGHT, batch)  # connections, scripts, caches
        empty(admin)
        for operation in OPERATIONS:
            if operation == "life":
                empty(admin)
            before = server_cpu(server)
            spent = await getattr(peer, operation)(jobs, batch)
            found[operation] = {
                "rate": jobs / spent.seconds,
                "client": spent.cpu / jobs * 1e6,
                "server": (server_cpu(server) - before) / jobs * 1e6,
            }
    finally:
        await peer.close()
    return found


async def run(options: argparse.Namespace) -> dict[str, Any]:
    rounds: dict[int, list[dict[str, Any]]] = {}
    with started(options.flavour) as (server, admin):
        info = admin.info("server")
        what = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"
        where = ", each turn on a server of its own" if options.fresh else ""
        print(f"{what}{where}, AOF everysec on disk; payload {len(PAYLOAD) + 4} bytes; {IN_FLIGHT} batches in flight")
        for kind in PEERS:
            peer = kind()
            await peer.open(server.url)
            await peer.close()
            print(f"  {kind.name} {peer.version()}: {kind.note}")
        for batch in options.batches:
            rounds[batch] = []
            for turn in range(options.rounds):
                order = PEERS[turn % len(PEERS) :] + PEERS[: turn % len(PEERS)]
                turns = {}
                for kind in order:
                    if options.fresh:
                        with started(options.flavour) as (own, its_admin):
                            turns[kind.name] = await one(kind, own, its_admin, batch)
                    else:
                        turns[kind.name] = await one(kind, server, admin, batch)
                rounds[batch].append({**turns, "load": os.getloadavg()[0]})
            show(batch, rounds[batch])
    return {"machine": machine(), "server": what, "fresh": options.fresh, "rounds": rounds}


def show(batch: int, rounds: list[dict[str, Any]]) -> None:
    loads = [each["load"] for each in rounds]
    print(f"batch {batch}: medians of {len(rounds)} rounds, load average {min(loads):.1f} to {max(loads):.1f}")
    for operation in OPERATIONS:
        cells = []
        for kind in PEERS:
            values = {
                key: statistics.median(each[kind.name][operation][key] for each in rounds)
                for key in ("rate", "client", "server")
            }
            cell = f"{kind.name} {values['rate'] / 1000:.2f}k/s ({values['client']:.0f}+{values['server']:.0f} µs)"
            if kind is not Ours:
                ratios = ratios_of(rounds, kind.name, operation)
                cell += f" {statistics.median(ratios):.1f}x, worst {min(ratios):.1f}x"
            cells.append(cell)
        print(f"  {operation:8} " + "; ".join(cells), flush=True)


def ratios_of(rounds: list[dict[str, Any]], name: str, operation: str) -> list[float]:
    return [each[Ours.name][operation]["rate"] / each[name][operation]["rate"] for each in rounds]


def missed(rounds: dict[int, list[dict[str, Any]]]) -> list[str]:
    found = []
    for (name, operation, batch), bar in BARS.items():
        if batch in rounds:
            ratio = statistics.median(ratios_of(rounds[batch], name, operation))
            if ratio < bar:
                found.append(f"{operation} at batch {batch}: {ratio:.2f} times {name}, {bar} wanted")
    for batch, bar in SERVER_BAR.items():
        if batch in rounds:
            spent = statistics.median(each[Ours.name]["life"]["server"] for each in rounds[batch])
            if spent > bar:
                found.append(f"life at batch {batch}: {spent:.1f} µs of the server, at most {bar:.0f} wanted")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    parser.add_argument("--fresh", action="store_true", help="a server of its own for each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=list(JOBS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine_line())
    try:
        found = asyncio.run(run(options))
    except Missing as error:
        sys.exit(str(error))
    print(f"load average at the end {os.getloadavg()[0]:.2f}")
    misses = missed(found["rounds"])
    if options.json:
        write_json(options.json, {**found, "missed": misses})
    for miss in misses:
        print(f"missed: {miss}", file=sys.stderr)
    sys.exit(1 if misses else 0)


if __name__ == "__main__":
    main()
