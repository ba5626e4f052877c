"""Side by side on one server: this backend, pgqueuer, graphile-worker, and pgbench running our own claim.

    python -m benches.postgres.peers postgresql://… [--jobs 10000] [--batches 10,100,1000] [--rounds 5]
        [--graphile FOLDER_WITH_NODE_MODULES] [--pgbench PATH]

One process, interleaved: each round runs every contender once, and ratios are taken within a round. Payload of about
100 bytes; durability is the server's, the same for all. A finished job is kept by `ferroq`, and deleted by `ferroq, not
kept`, pgqueuer (which writes a log row) and graphile-worker. Counted to the last acknowledgement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benches.postgres.scale import PAYLOAD, Bench
from ferroq import JobState
from ferroq.postgres.queries import Queries


async def ferroq(dsn: str, total: int, batch: int, keep: float | None) -> dict[str, float]:
    from benches.postgres.scale import jobs

    async with Bench(dsn, keep, "bench_ferroq") as bench:
        storage = bench.storage
        start = time.perf_counter()
        for _ in range(total // batch):
            await storage.enqueue_many(jobs(batch))
        enqueued = time.perf_counter()
        claimed = [await storage.fetch_available_jobs_atomic("w", batch) for _ in range(total // batch)]
        fetched = time.perf_counter()
        for each in claimed:
            for job in each:
                job.set_state(JobState.succeeded(1))
            assert set(await storage.update_many(each)) == {None}
        settled = time.perf_counter()
    return rates(total, start, enqueued, fetched, settled)


async def pgqueuer(dsn: str, total: int, batch: int) -> dict[str, float]:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import EntrypointExecutionParameter
    from pgqueuer.queries import Queries as Peer

    connection = await asyncpg.connect(dsn)
    peer = Peer(AsyncpgDriver(connection))
    await peer.install()
    try:
        payload = json.dumps(PAYLOAD).encode()
        manager: Any = uuid.uuid4()
        start = time.perf_counter()
        for _ in range(total // batch):
            await peer.enqueue(["send_email"] * batch, [payload] * batch, [0] * batch)
        enqueued = time.perf_counter()
        entry: dict[Any, Any] = {"send_email": EntrypointExecutionParameter(0)}
        claimed = [
            await peer.dequeue(batch, entry, manager, None, timedelta(seconds=60)) for _ in range(total // batch)
        ]
        fetched = time.perf_counter()
        assert sum(map(len, claimed)) == total
        for each in claimed:
            await peer.log_jobs([(job, "successful", None) for job in each])
        settled = time.perf_counter()
    finally:
        await peer.uninstall()
        await connection.close()
    return rates(total, start, enqueued, fetched, settled)


def rates(total: int, start: float, enqueued: float, fetched: float, settled: float) -> dict[str, float]:
    return {
        "enqueue_per_s": total / (enqueued - start),
        "claim_per_s": total / (fetched - enqueued),
        "settle_per_s": total / (settled - fetched),
        "life_per_s": total / (settled - start),
        "drain_per_s": total / (settled - enqueued),
    }


async def graphile(dsn: str, total: int, batch: int, folder: str) -> dict[str, float]:
    admin = await asyncpg.connect(dsn)
    await admin.execute("DROP SCHEMA IF EXISTS graphile_worker CASCADE")
    await admin.close()
    script = Path(__file__).with_name("graphile.mjs")
    process = await asyncio.create_subprocess_exec(
        "node", str(script), dsn, str(total), str(batch), cwd=folder, stdout=subprocess.PIPE
    )
    answer, _ = await process.communicate()
    found: dict[str, float] = json.loads(answer)
    found["life_per_s"] = 1 / (1 / found["enqueue_per_s"] + 1 / found["drain_per_s"])
    return found


async def pgbench(dsn: str, total: int, batch: int, program: str) -> dict[str, float]:
    """Our claim statement, run by pgbench: what the server gives without Python."""
    from benches.postgres.scale import jobs

    async with Bench(dsn, None, "bench_ferroq") as bench:
        for _ in range(total // 1000):
            await bench.storage.enqueue_many(jobs(1000))
        sql = Queries("bench_ferroq").claim_all(batch)
        given = ("0", str(batch), "'w'", "'s'", "',x'", "1800000000", "1", "false", "'-2147483648'", "0", "0")
        for at in range(len(given), 0, -1):
            sql = sql.replace(f"${at}", f"({given[at - 1]})" if at < 9 else given[at - 1])
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(" ".join(sql.split()) + ";\n")
            file.flush()
            command = [program, "-n", "-M", "prepared", "-c", "1", "-t", str(total // batch), "-f", file.name, dsn]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    return {"claim_per_s": float(line.split()[2]) * batch}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load before": os.getloadavg(),
        "jobs": options.jobs,
        "rounds": {},
    }
    for batch in map(int, options.batches.split(",")):
        total = max(batch, min(options.jobs, batch * 200))
        total -= total % 1000 if total > 1000 else 0
        rounds = []
        for _ in range(options.rounds):
            one: dict[str, dict[str, float]] = {
                "ferroq": await ferroq(options.dsn, total, batch, None),
                "ferroq, not kept": await ferroq(options.dsn, total, batch, 0),
                "pgqueuer": await pgqueuer(options.dsn, total, batch),
            }
            if options.graphile:
                one["graphile-worker"] = await graphile(options.dsn, total, batch, options.graphile)
            if options.pgbench:
                one["pgbench, our claim"] = await pgbench(options.dsn, total, batch, options.pgbench)
            rounds.append(one)
        found["rounds"][batch] = rounds
        print(f"batch {batch}, {total} jobs, load {os.getloadavg()[0]:.1f}")
        for name in rounds[0]:
            medians = {k: statistics.median(r[name][k] for r in rounds) for k in rounds[0][name]}
            ratio = {
                k: statistics.median(r["ferroq"][k] / r[name][k] for r in rounds) for k in medians if name != "ferroq"
            }
            shown = ", ".join(
                f"{k.removesuffix('_per_s')} {v / 1000:.1f}k" + (f" ({ratio[k]:.2f}x)" if k in ratio else "")
                for k, v in medians.items()
            )
            print(f"  {name:20} {shown}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--batches", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--graphile", help="a folder with node_modules/graphile-worker")
    parser.add_argument("--pgbench", help="the program")
    parser.add_argument("--json")
    options = parser.parse_args()
    found = asyncio.run(run(options))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
