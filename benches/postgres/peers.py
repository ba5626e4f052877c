"""Side by side on one server: this backend, pgqueuer, graphile-worker, and pgbench running our own statements.

    make bench-postgres [ARGS="--jobs 20000 --batches 1,10,100,1000 --processes 1,4 --rounds 5"]

The server is one of its own, from the wheel, on disk, with fsync on; `--dsn` takes another. Interleaved: each round
runs every contender once, and ratios are taken within a round. All have the same server and settings, a payload of
about 100 bytes, and as many processes, each with one batch under way. A finished job is kept by `ferroq`, and deleted
by `ferroq, not kept`, pgqueuer (which writes a log row) and graphile-worker. A phase ends with the last
acknowledgement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benches.postgres.contenders import SCHEMA
from ferroq.postgres import migrate
from ferroq.postgres.connection import PLANS
from ferroq.postgres.queries import Queries
from tests.servers import PostgresServer

SETTINGS = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers", "max_wal_size",
)  # fmt: skip
Rates = dict[str, float]


class Crew:
    """Processes of one contender that go through a phase together."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def phase(self, name: str) -> float:
        """Seconds from the start to the last one's end."""
        start = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{name}\n".encode())
        await self.answers("done")
        return time.perf_counter() - start

    async def answers(self, word: str) -> None:
        for process in self._processes:
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode().strip()
            assert line == word, f"{line!r} instead of {word!r}"


@asynccontextmanager
async def crew(count: int, *command: str) -> AsyncIterator[Crew]:
    pipe = asyncio.subprocess.PIPE
    processes = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(count)]
    try:
        made = Crew(processes)
        await made.answers("ready")
        yield made
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*(process.wait() for process in processes))


class Arena:
    """One server, a number of jobs, a batch, a number of processes."""

    def __init__(self, admin: asyncpg.Connection, dsn: str, total: int, batch: int, processes: int) -> None:
        self.admin, self.dsn, self.total, self.batch, self.processes = admin, dsn, total, batch, processes

    def command(self, name: str) -> tuple[str, ...]:
        share = str(self.total // self.processes)
        return sys.executable, "-m", "benches.postgres.contenders", name, self.dsn, share, str(self.batch)

    async def python(self, name: str) -> Rates:
        async with crew(self.processes, *self.command(name)) as workers:
            spent = {phase: await workers.phase(phase) for phase in ("enqueue", "claim", "settle")}
        return self.rates(spent)

    def rates(self, spent: dict[str, float]) -> Rates:
        drain = spent["drain"] if "drain" in spent else spent["claim"] + spent["settle"]
        spent = {**spent, "drain": drain, "life": spent["enqueue"] + drain}
        return {phase: self.total / seconds for phase, seconds in spent.items()}

    async def ferroq(self, name: str) -> Rates:
        await self.admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await migrate.apply(self.admin, SCHEMA)
        return await self.python(name)

    async def pgqueuer(self) -> Rates:
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries as Peer

        peer = Peer(AsyncpgDriver(self.admin))
        await peer.install()
        try:
            return await self.python("pgqueuer")
        finally:
            await peer.uninstall()

    async def graphile(self, folder: Path) -> Rates:
        await self.admin.execute("DROP SCHEMA IF EXISTS graphile_worker CASCADE")
        script = str(Path(__file__).with_name("graphile.mjs"))
        setup = await asyncio.create_subprocess_exec(
            folder / "node_modules" / ".bin" / "graphile-worker", "-c", self.dsn, "--schema-only",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await setup.wait()
        share = str(self.total // self.processes)
        async with crew(self.processes, "node", script, self.dsn, share, str(self.batch), str(folder)) as workers:
            enqueue = await workers.phase("enqueue")
            start = time.perf_counter()
            await workers.phase("drain")
            while await self.admin.fetchval("SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)"):
                await asyncio.sleep(0.005)
            await workers.phase("stop")
            return self.rates({"enqueue": enqueue, "drain": time.perf_counter() - start})

    async def pgbench(self, program: str) -> Rates:
        """Our own statements without Python: what the server gives."""
        await self.admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await migrate.apply(self.admin, SCHEMA)
        queries, batch = Queries(SCHEMA), self.batch
        ids = f"ARRAY (SELECT gen_random_uuid()::text FROM generate_series(1, {batch}))"
        when = f"array_fill(1::bigint, ARRAY[{batch}])"
        payload = json.dumps(["x" * 96])
        one = ("ARRAY['send_email']", f"ARRAY['{payload}']", "ARRAY['default']", "ARRAY[0]", "ARRAY[0]",
               "ARRAY[NULL]", "ARRAY[NULL]", "ARRAY[NULL]")  # fmt: skip
        # What a settlement needs to know of its claims was prepared in a table, a row a batch: looking it up four times
        # by primary key is all that is added. What is settled is kept, as by `ferroq`.
        keys = [f"(SELECT {name} FROM {SCHEMA}.bench_keys WHERE n = :client_id * 1000000 + :n)"
                for name in ("places", "seqs", "tokens", "ids")]  # fmt: skip
        state = """ARRAY['{"succeeded_at": 1790000000000000, "total_duration": 1, "result": null}']"""
        settle = ("0", "'{}'", *keys, "ARRAY[2]", state, "ARRAY[NULL]", "ARRAY[0]", "ARRAY['default']", "ARRAY[0]",
                  "ARRAY[0]", "ARRAY[NULL]", "ARRAY[NULL]", "ARRAY[NULL]")  # fmt: skip
        claim = ("0", str(batch), "'w'", "'s'", "1800000000", "1", "false", "'-2147483648'", "0", "0")
        rates = {
            "enqueue": await self.run_pgbench(program, filled(queries.enqueue_common, ("0", ids, when, when, *one))),
            "claim": await self.run_pgbench(program, filled(queries.claim_all(batch), claim)),
        }
        await self.admin.execute(
            f"""
            CREATE TABLE {SCHEMA}.bench_keys AS
            SELECT (b % {self.processes}) * 1000000 + b / {self.processes} + 1 AS n,
                   array_agg(i ORDER BY seq)::text AS places, array_agg(seq ORDER BY seq)::text AS seqs,
                   array_agg(token ORDER BY seq)::text AS tokens, array_agg(id ORDER BY seq)::text AS ids
              FROM (SELECT r / {batch} AS b, r % {batch} AS i, seq, token, id
                      FROM (SELECT row_number() OVER (ORDER BY l.seq) - 1 AS r, l.seq, l.token, j.id
                              FROM {SCHEMA}.lease l JOIN {SCHEMA}.job j ON j.seq = l.seq) x) y
             GROUP BY b;
            ALTER TABLE {SCHEMA}.bench_keys ADD PRIMARY KEY (n)
            """
        )
        rates["settle"] = await self.run_pgbench(program, filled(queries.settle, settle), r"\set n :n + 1")
        left = await self.admin.fetchval(f"SELECT count(*) FROM {SCHEMA}.lease")
        assert left == 0, f"pgbench left {left} claims"
        return rates

    async def run_pgbench(self, program: str, sql: str, before: str = "") -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(f"{before}\n{' '.join(sql.split())};\n")
            file.flush()
            plans = " ".join(
                f"-c {setting.strip().removeprefix('SET ').replace(' ', '')}" for setting in PLANS.split(";")
            )
            clients = str(self.processes)
            process = await asyncio.create_subprocess_exec(
                program, "-n", "-M", "prepared", "-D", "n=0", "-c", clients, "-j", clients, "-t",
                str(self.total // self.batch // self.processes), "-f", file.name, self.dsn,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PGOPTIONS": plans},
            )  # fmt: skip
            answer, errors = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(errors.decode())
        line = next(line for line in answer.decode().splitlines() if line.startswith("tps"))
        return float(line.split()[2]) * self.batch


def filled(sql: str, values: Sequence[str]) -> str:
    """The statement with its parameters written out."""
    for at in range(len(values), 0, -1):
        sql = sql.replace(f"${at}", f"({values[at - 1]})")
    return sql


async def run(options: argparse.Namespace, dsn: str) -> dict[str, Any]:
    admin = await asyncpg.connect(dsn)
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}",
        "load": os.getloadavg(),
        "settings": {name: await admin.fetchval(f"SHOW {name}") for name in SETTINGS},
        "payload_bytes": 96,
        "results": [],
    }
    print(f"{found['machine']}, load {found['load'][0]:.1f} at the start; {found['settings']}", flush=True)
    for processes in options.processes:
        for batch in options.batches:
            total = max(batch * processes, min(options.jobs, 400 * batch)) // processes * processes
            arena = Arena(admin, dsn, total, batch, processes)
            rounds: list[dict[str, Rates]] = []
            loads = []
            for _ in range(options.rounds):
                one = {name: await arena.ferroq(name) for name in ("ferroq", "ferroq, not kept")}
                one["pgqueuer"] = await arena.pgqueuer()
                if options.graphile.is_dir():
                    one["graphile-worker"] = await arena.graphile(options.graphile)
                if options.pgbench:
                    one["pgbench"] = await arena.pgbench(options.pgbench)
                rounds.append(one)
                loads.append(os.getloadavg()[0])
            found["results"].append(
                {"processes": processes, "batch": batch, "jobs": total, "loads": loads, "rounds": rounds}
            )
            print(f"\n{processes} process(es), batch {batch}, {total} jobs, {len(rounds)} rounds, load {loads[-1]:.1f}")
            report(rounds)
    await admin.close()
    return found


def report(rounds: list[dict[str, Rates]]) -> None:
    """Medians, and in brackets how ours compares: the median of the ratios within a round, and the worst."""
    for name in rounds[0]:
        parts = []
        for phase in rounds[0][name]:
            text = f"{phase} {statistics.median(one[name][phase] for one in rounds) / 1000:.1f}k"
            if not name.startswith("ferroq"):
                for ours in ("ferroq", "ferroq, not kept"):
                    ratios = [one[ours][phase] / one[name][phase] for one in rounds]
                    text += f" {statistics.median(ratios):.2f}x/{min(ratios):.2f}"
            parts.append(text)
        print(f"  {name:17} {'  '.join(parts)}", flush=True)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="another server")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--batches", type=numbers, default=[1, 10, 100, 1000])
    parser.add_argument("--processes", type=numbers, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--graphile", type=Path, default=Path("build/peers"), help="a folder with node_modules")
    parser.add_argument("--pgbench", default="/usr/bin/pgbench", help="the program; empty: left out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.graphile = (
        options.graphile if (options.graphile / "node_modules").is_dir() else Path("/nowhere")
    ).absolute()
    if options.dsn:
        found = asyncio.run(run(options, options.dsn))
    else:
        with PostgresServer(durable=True) as server:
            found = asyncio.run(run(options, server.dsn))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
