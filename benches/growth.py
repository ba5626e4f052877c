"""What a stored job costs: in time for the others, and in memory: `python -m benches.growth`.

For each kind of backlog and each size, in a process of its own: the life of one more job, a claim alone, and
`get_job_counts`, as seen from Python, in processor time. Nothing may cost more than twice as much beside 10^6 jobs as
beside 10^3. Bytes a job are the growth of the process's resident memory over 10^6 jobs, less the job's own text.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from ferroq import Job, JobState, ManualClock, MemoryConfig, MemoryStorage

from .contender import METHOD, SMALL, WORKER
from .measure import clean_heap, local_result, machine, machine_line, write_json

BACKLOGS = {
    "finished": "succeeded jobs",
    "ready": "jobs ready in the same queue, claimed first",
    "future": "jobs scheduled for tomorrow",
    "elsewhere": "jobs ready in another queue",
    "lapsed": "jobs whose claims have lapsed, all taken over",
    "wave": "jobs whose claims have just lapsed, none taken over",
}
SIZES = (1_000, 10_000, 100_000, 1_000_000)
COLUMNS = {"life": "life, µs", "claim": "claim, µs", "counts": "counts, ns"}
LIMIT = 2.0
BYTES = 350
CHUNK = 1_000

LIVES = 2_000
CLAIMS = 500
ROUNDS = 7


LOCKS = {"lapsed": 0.001, "wave": 3_600.0}  # seconds; a wave has to stand still until it is complete


async def fill(store: MemoryStorage, backlog: str, count: int) -> None:
    """Brings `count` jobs into the store, of a kind."""
    tomorrow = JobState.scheduled(datetime.now(UTC) + timedelta(days=1))
    state = {"finished": JobState.succeeded(5), "future": tomorrow}.get(backlog)
    queue = "elsewhere" if backlog == "elsewhere" else "default"
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        await store.enqueue_many([Job(METHOD, SMALL, queue=queue, state=state) for _ in range(size)])
        if backlog in LOCKS:
            await store.fetch_available_jobs_atomic(WORKER, size, lock_timeout=LOCKS[backlog])
    if backlog == "lapsed":
        time.sleep(0.01)  # the last lock lasts a millisecond
        # Asking for a thousand takes over a thousand.
        for _ in range(count // CHUNK + 1):
            await store.get_available_jobs(CHUNK)


async def measure(backlog: str, count: int) -> dict[str, float]:
    # By the real clock a wave would break while it is still being made, on a slow machine: then it is another one.
    clock = ManualClock() if backlog == "wave" else None
    store = MemoryStorage(MemoryConfig(max_crashes=1_000, lock_timeout=3_600), clock=clock)
    await fill(store, backlog, count)
    queues = ["default"] if backlog == "elsewhere" else None
    with clean_heap():
        if clock is not None:
            clock.advance(LOCKS["wave"])
            return {"claim": await claims_in_a_wave(store, count)}
        await lives(store, LIVES, queues)
        figures = {
            "life": median([await lives(store, LIVES, queues) for _ in range(ROUNDS)]),
            "claim": median([await claims(store, backlog, queues) for _ in range(ROUNDS)]),
            "counts": median([await counts(store) for _ in range(ROUNDS)]) * 1e3,
        }
    if findings := await store.verify():
        raise RuntimeError(f"the store is not sound: {findings[:3]}")
    return figures


async def lives(store: MemoryStorage, number: int, queues: list[str] | None) -> float:
    """µs a life: one job more comes in, and the first in order is led to its end."""
    succeeded = JobState.succeeded
    start = process_time()
    for _ in range(number):
        await store.enqueue(Job(METHOD, SMALL))
        job = await store.fetch_and_lock_job(WORKER, queues)
        assert job is not None
        job.set_state(succeeded(5))
        await store.update(job)
    return (process_time() - start) / number * 1e6


async def claims(store: MemoryStorage, backlog: str, queues: list[str] | None) -> float:
    """µs a claim; the jobs are given back, or leave where they came for this only."""
    brought = backlog not in ("ready", "lapsed")
    if brought:
        await store.enqueue_many([Job(METHOD, SMALL) for _ in range(CLAIMS)])
    start = process_time()
    taken = [await store.fetch_and_lock_job(WORKER, queues) for _ in range(CLAIMS)]
    micros = (process_time() - start) / CLAIMS * 1e6
    jobs = [job for job in taken if job is not None]
    if len(jobs) != CLAIMS:
        raise RuntimeError(f"{len(jobs)} of {CLAIMS} claims found a job")
    if brought:
        for job in jobs:
            await store.delete(job.id)
    else:
        await store.release_jobs(jobs)
    return micros


async def claims_in_a_wave(store: MemoryStorage, count: int) -> float:
    """µs a claim while each claim takes over its hundred jobs of the wave."""
    number = min(CLAIMS, count // 100 - 1)
    start = process_time()
    for _ in range(number):
        await store.fetch_and_lock_job(WORKER)
    return (process_time() - start) / number * 1e6


async def counts(store: MemoryStorage) -> float:
    """µs a call."""
    start = process_time()
    for _ in range(LIVES):
        await store.get_job_counts()
    return (process_time() - start) / LIVES * 1e6


# ---------------------------------------------------------------- memory


async def memory(kind: str, count: int) -> dict[str, float]:
    """Bytes a stored job beyond its text, as the growth of resident memory."""
    store = MemoryStorage()
    await store_jobs(store, kind, CHUNK)  # what the process needs once is there before it is weighed
    gc.collect()
    before = resident()
    await store_jobs(store, kind, count)
    gc.collect()
    grown = resident() - before
    [job] = await store.list(limit=1)
    text = sum(len(part.encode()) for part in (job.id, job.method, job.queue)) + len('["user@example.org",42]')
    return {"bytes": grown / count - text, "text": text, "all": grown / count}


async def store_jobs(store: MemoryStorage, kind: str, count: int) -> None:
    for _ in range(count // CHUNK):
        await store.enqueue_many([Job(METHOD, SMALL) for _ in range(CHUNK)])
        if kind == "finished":
            jobs = await store.fetch_available_jobs_atomic(WORKER, CHUNK)
            for job in jobs:
                job.set_state(JobState.succeeded(5))
            await store.update_many(jobs)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- the table


def child(*arguments: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benches.growth", "--child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def growth(figures: dict[int, dict[str, float]]) -> dict[str, float]:
    """How many times more it costs beside the most jobs than beside the fewest."""
    sizes = sorted(figures)
    return {column: figures[sizes[-1]][column] / figures[sizes[0]][column] for column in figures[sizes[0]]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.growth", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="up to 10^5 jobs, and half as strict")
    parser.add_argument("--huge", action="store_true", help="also 10^7 jobs: some 4 GB of memory, minutes")
    parser.add_argument("--only", choices=(*BACKLOGS, "memory"), default=None)
    parser.add_argument("--json", type=Path, default=None, help="where the report goes")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "KIND", "COUNT"), default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child is not None:
        what, kind, count = options.child
        print(json.dumps(asyncio.run((memory if what == "memory" else measure)(kind, int(count)))))
        return 0

    sizes = SIZES[:-1] if options.smoke else (*SIZES, 10_000_000) if options.huge else SIZES
    limit = LIMIT * 2 if options.smoke else LIMIT
    complaints = []
    report: dict[str, Any] = {"bench": "growth", "machine": machine(), "time": {}, "growth": {}, "memory": {}}
    print(machine_line())
    print(f"\n{'backlog':11}{'':12}" + "".join(f"{size:>12,}" for size in sizes) + f"{'growth':>9}")
    for backlog in BACKLOGS:
        if options.only not in (None, backlog):
            continue
        # A wave of a thousand is over after ten claims: there is nothing to compare it by.
        figures = {size: child("time", backlog, str(size)) for size in sizes if backlog != "wave" or size > 1_000}
        grown = growth(figures)
        report["time"][backlog], report["growth"][backlog] = figures, grown
        for column, times in grown.items():
            cells = "".join(f"{figures[size][column]:>12.2f}" if size in figures else f"{'':12}" for size in sizes)
            print(f"{backlog if column == next(iter(grown)) else '':11}{COLUMNS[column]:12}{cells}{times:>9.2f}")
            if times > limit:
                complaints.append(f"{backlog}: {column} grows {times:.2f} times, allowed {limit:.1f}")
    count = sizes[-1] if options.smoke else 1_000_000
    for kind in ("ready", "finished"):
        if options.only not in (None, "memory"):
            continue
        figure = child("memory", kind, str(count))
        report["memory"][kind] = {"jobs": count, **figure}
        print(
            f"memory, {kind}: {figure['bytes']:.0f} bytes a job beyond its text of {figure['text']:.0f}, {count:,} jobs"
        )
        if figure["bytes"] > BYTES:
            complaints.append(f"memory, {kind}: {figure['bytes']:.0f} bytes a job beyond its text, allowed {BYTES}")
    for backlog, words in BACKLOGS.items():
        print(f"  {backlog}: {words}")
    write_json(options.json or local_result("growth-smoke" if options.smoke else "growth"), report)
    for line in complaints:
        print(line, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
