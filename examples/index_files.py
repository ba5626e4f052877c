"""Indexes a folder: one job per file, several workers, and one of them dies in the middle.

    python examples/index_files.py [FOLDER] [--storage URL] [--workers N]

Each file becomes a job. The workers claim jobs in batches, hash the files and count their lines in threads, renew their
claims meanwhile, and settle a batch in one call. Worker 1 settles half of its batch and dies with the rest. Nobody is
told: its claims lapse after `--lock-timeout` seconds, and the next worker that asks for work is given its jobs.

At the end every file must have exactly one accepted result. Exit code: 0, or 1 if not, or 2 if it could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import sysconfig
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ferroq import Job, JobState, Storage, StorageError, StorageInstance

DEFAULT_FOLDER = Path(sysconfig.get_path("stdlib"))

# ---------------------------------------------------------------- the work: plain, blocking Python


def index(path: str) -> dict[str, Any]:
    """Hash and number of lines of one file."""
    digest, lines = hashlib.sha256(), 0
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            lines += block.count(b"\n")
    return {"sha256": digest.hexdigest(), "lines": lines}


def attempt(job: Job) -> JobState:
    """Does what the job says, and gives the state that follows from it."""
    started = time.perf_counter()
    try:
        result = index(job.arguments[0])
    except OSError as error:  # not readable, or gone: a result too
        return JobState.failed(str(error))
    return JobState.succeeded(round((time.perf_counter() - started) * 1000), result)


# ---------------------------------------------------------------- a worker: claim, work, settle


class Orders(NamedTuple):
    """What every worker is told."""

    queues: list[str]
    batch: int
    lock_timeout: float


async def claim(storage: Storage, name: str, orders: Orders) -> list[Job]:
    return await storage.fetch_available_jobs_atomic(
        name, orders.batch, orders.queues, lock_timeout=orders.lock_timeout
    )


@asynccontextmanager
async def renewed(storage: Storage, jobs: list[Job], lock_timeout: float) -> AsyncIterator[None]:
    """Keeps the claims from lapsing for as long as the body works."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lock_timeout / 3)
            await storage.extend_job_locks(jobs, lock_timeout)

    async with asyncio.TaskGroup() as group:
        renewal = group.create_task(renew())
        yield
        renewal.cancel()


async def process(storage: Storage, jobs: list[Job], lock_timeout: float) -> list[str]:
    """Works off claimed jobs and settles them; gives the ids of those whose result the store accepted."""
    async with renewed(storage, jobs, lock_timeout):
        # In a thread: the event loop stays free for the renewals, and for the other workers.
        states = await asyncio.to_thread(lambda: [attempt(job) for job in jobs])
    for job, state in zip(jobs, states, strict=True):
        job.set_state(state)
    # One verdict a job: whoever was too slow and lost its claim gets LockLostError, and its result does not count.
    verdicts = await storage.update_many(jobs)
    return [job.id for job, error in zip(jobs, verdicts, strict=True) if error is None]


async def worker(storage: Storage, name: str, orders: Orders, accepted: Counter[str]) -> None:
    """A worker's life."""
    while True:
        if jobs := await claim(storage, name, orders):
            accepted.update(await process(storage, jobs, orders.lock_timeout))
        else:
            await storage.wait_for_jobs(orders.queues, timeout=1)  # sleeps until there may be something to claim


# ---------------------------------------------------------------- the accident


class Halfway(NamedTuple):
    """What the doomed worker has done, and how many jobs it still holds."""

    accepted: list[str]
    held: int


class Doomed(NamedTuple):
    """The doomed worker as the others see it."""

    halfway: Halfway
    kill: Callable[[], object]
    end: str


async def doomed_worker(storage: Storage, orders: Orders, report: Callable[[Halfway], object]) -> None:
    """Claims like any other and settles the first half; then it keeps the rest claimed until it is killed."""
    jobs = await claim(storage, "worker-1", orders)
    half = len(jobs) // 2
    async with renewed(storage, jobs[half:], orders.lock_timeout):
        accepted = await process(storage, jobs[:half], orders.lock_timeout)
        report(Halfway(accepted, len(jobs) - half))
        await asyncio.Event().wait()


@asynccontextmanager
async def doomed_task(storage: Storage, orders: Orders) -> AsyncIterator[Doomed]:
    """In memory the worker is a task of this process, dropped together with its claims."""
    halfway: asyncio.Future[Halfway] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(doomed_worker(storage, orders, halfway.set_result))
    try:
        either: list[asyncio.Future[Any]] = [task, halfway]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task  # raises what went wrong
        yield Doomed(await halfway, task.cancel, "its task is dropped")
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def doomed_process(url: str, orders: Orders) -> AsyncIterator[Doomed]:
    """On a server it is a process, killed by SIGKILL."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-P", __file__, "--doomed", stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        # Through a pipe: an argument would show the URL's password to everybody on the machine.
        child.stdin.write(json.dumps([url, orders]).encode() + b"\n")
        line = await child.stdout.readline()
        if not line:
            raise ChildProcessError("the worker's process ended before it could be killed")
        yield Doomed(Halfway(*json.loads(line)), child.kill, "its process is killed")
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def be_the_doomed_process() -> None:
    """What that process does."""
    url, orders = json.loads(await asyncio.to_thread(sys.stdin.readline))
    async with await StorageInstance.connect(url) as storage:
        await doomed_worker(storage, Orders(*orders), lambda halfway: print(json.dumps(halfway), flush=True))


# ---------------------------------------------------------------- before and after


def files_of(folder: Path) -> Iterator[str]:
    """The regular files of a folder and its subfolders, without installed packages."""
    for directory, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in ("site-packages", "dist-packages"))
        for path in (Path(directory, file) for file in sorted(files)):
            # A job carries text: a name that is not UTF-8 cannot be one of its arguments.
            if path.is_file() and not path.is_symlink() and not any("\ud800" <= c <= "\udfff" for c in str(path)):
                yield str(path.absolute())


def jobs_for(files: list[str], prefix: str) -> list[Job]:
    """One job a file, in a queue for each of the four most common suffixes and one for the rest."""
    suffixes = Counter(suffix for file in files if (suffix := Path(file).suffix[1:]).isalnum())
    common = {suffix for suffix, _ in suffixes.most_common(4)}

    def queue(file: str) -> str:
        suffix = Path(file).suffix[1:]
        return prefix + (suffix if suffix in common else "other")

    return [Job("index_file", [file], queue=queue(file)) for file in files]


async def stored_since(storage: Storage, first: Job) -> AsyncIterator[Job]:
    """What the store holds, newest first, page by page, back to the first job of this run."""
    page = await storage.list(limit=1000)
    while page:
        for job in page:
            if job.sequence < first.sequence:
                return
            yield job
        page = await storage.list(limit=1000, after=page[-1])


def table(jobs: list[Job], prefix: str) -> str:
    """How many jobs are in which queue and state."""
    cells = Counter((job.queue.removeprefix(prefix), str(job.state.kind)) for job in jobs)
    cells.update(("total", str(job.state.kind)) for job in jobs)
    kinds = sorted({kind for _, kind in cells}, reverse=True)
    queues = [*sorted({queue for queue, _ in cells} - {"total"}), "total"]
    head = f"{'queue':<12}" + "".join(f"{kind:>12}" for kind in kinds)
    return "\n".join([head, *(f"{queue:<12}" + "".join(f"{cells[queue, k]:>12,}" for k in kinds) for queue in queues)])


def problems_of(jobs: list[Job], stored: list[Job], accepted: Counter[str], held: int) -> list[str]:
    """What is wrong: nothing, if every file has exactly one accepted result and the dead worker's jobs went on."""
    records = {job.id: job for job in stored}
    problems = []
    for job in jobs:
        record = records.get(job.id)
        if accepted[job.id] != 1:
            problems.append(f"{job.arguments[0]}: {accepted[job.id]} accepted results")
        elif record is None or not record.state.is_final:
            problems.append(f"{job.arguments[0]}: the accepted result is not in the store")
    if (taken_over := sum(job.crash_count > 0 for job in stored)) < held:
        problems.append(f"the dead worker held {held} jobs, {taken_over} were taken over")
    return problems


# ---------------------------------------------------------------- the run


class Outcome(NamedTuple):
    """How a run went."""

    accepted: Counter[str]
    """How many results were accepted, by job."""
    rate: float
    """Jobs a second, without the wait for the dead worker's claims to lapse."""
    seconds: float


def show(line: str, *, last: bool = False) -> None:
    """One line that changes in place on a terminal; a line of its own elsewhere."""
    terminal = sys.stdout.isatty()
    print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal and not last else "\n", flush=True)


async def work_off(storage: Storage, orders: Orders, total: int, workers: int, doomed: Doomed) -> Outcome:
    """Runs the other workers until every job has a result, and kills the doomed one on the way."""
    halfway, alive = doomed.halfway, True
    accepted, rate, seconds, printed = Counter(halfway.accepted), 0.0, 0.0, 0.0
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        names = [f"worker-{number}" for number in range(2, workers + 1)]
        crew = [group.create_task(worker(storage, name, orders, accepted)) for name in names]
        while (done := len(accepted)) < total or alive:
            if alive and done >= total // 3:
                doomed.kill()
                alive = False
                show(f"worker-1 dies with {halfway.held} claimed jobs: {doomed.end}", last=True)
            await asyncio.sleep(0.05)
            now, seconds = len(accepted), time.monotonic() - started
            if done < now <= total - halfway.held:
                rate = (now - len(halfway.accepted)) / seconds
            if sys.stdout.isatty() or seconds - printed >= 0.5:
                lapse = ", waiting for the dead worker's claims to lapse" if now == total - halfway.held else ""
                show(f"{now:,} of {total:,} files, {rate:,.0f} jobs/s{lapse}")
                printed = seconds
        for task in crew:
            task.cancel()
    show(f"{len(accepted):,} of {total:,} files, {rate:,.0f} jobs/s", last=True)
    return Outcome(accepted, rate, seconds)


async def run(files: list[str], url: str, workers: int, lock_timeout: float, keep: bool) -> bool:
    """The whole demonstration; True if all is well at its end."""
    # Queues of its own: the store may be one that others use as well.
    prefix = f"index-{uuid.uuid4().hex[:8]}-"
    jobs = jobs_for(files, prefix)
    # At least two batches a worker, so that a small folder is shared too; large enough to save round trips.
    batch = max(2, min(50, len(jobs) // (2 * workers)))
    orders = Orders(sorted({job.queue for job in jobs}), batch, lock_timeout)

    async with await StorageInstance.connect(url) as storage:
        try:
            await storage.enqueue_many(jobs)
            print(f"{len(jobs):,} jobs, {workers} workers, {url.partition('://')[0]}://", flush=True)
            in_memory = url.lower().startswith("memory:")
            async with doomed_task(storage, orders) if in_memory else doomed_process(url, orders) as doomed:
                outcome = await work_off(storage, orders, len(jobs), workers, doomed)
            ids = {job.id for job in jobs}
            stored = [job async for job in stored_since(storage, jobs[0]) if job.id in ids]
        finally:
            for start in range(0, 0 if keep else len(jobs), 32):
                await asyncio.gather(*(storage.delete(job.id) for job in jobs[start : start + 32]))

    print(f"\n{table(stored, prefix)}\n")
    print(f"{outcome.rate:,.0f} jobs/s; {outcome.seconds:.1f} s with the wait for the dead worker's claims to lapse")
    print(f"{sum(job.crash_count > 0 for job in stored)} jobs lapsed and were taken over")
    problems = problems_of(jobs, stored, outcome.accepted, doomed.halfway.held)
    for problem in problems[:20]:
        print(f"WRONG  {problem}")
    print(f"{len(problems)} problems" if problems else "each file has exactly one accepted result")
    return not problems


def demonstrate(folder: Path, url: str, workers: int, lock_timeout: float, keep: bool) -> int:
    """Runs it, and gives the exit code."""
    files = list(files_of(folder))
    failure: BaseException | None = None if files else FileNotFoundError(f"no files in {folder}")
    well = False
    if files:
        try:
            well = asyncio.run(run(files, url, workers, lock_timeout, keep))
        except* (StorageError, OSError) as failures:
            failure = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    return 0 if well else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Indexes a folder by jobs, while one of the workers dies.")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER, help="default: the standard library")
    parser.add_argument("--storage", metavar="URL", default="memory://", help="default: memory://")
    parser.add_argument("--workers", metavar="N", type=int, default=4, help="2 or more, one of which dies; default: 4")
    parser.add_argument("--lock-timeout", metavar="SECONDS", type=float, default=2.0, help="default: 2")
    parser.add_argument("--keep", action="store_true", help="leave the jobs in the store")
    parser.add_argument("--doomed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.doomed:
        asyncio.run(be_the_doomed_process())
    if options.workers < 2:
        parser.error("--workers must be 2 or more: one of them dies")
    return demonstrate(options.folder, options.storage, options.workers, options.lock_timeout, options.keep)


if __name__ == "__main__":
    sys.exit(main())
