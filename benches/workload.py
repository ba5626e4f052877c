"""One section for each hot call from Python, told apart by a marker, for `python -m benches.instructions`.

Callgrind writes its counters down before every call of the C library's `getloadavg`, which nothing else here calls: one
run of the interpreter measures all sections, and neither its start nor the preparations are counted. The names of the
sections go to standard output, in order. Without callgrind this is a quick check that every section runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ferroq import Job, JobState, MemoryStorage

from .contender import BATCH, METHOD, SMALL, WORKER

TIMES = 1_000
STORED = 10_000


class Stage:
    """What a section finds: a store with finished jobs, claims, jobs ready for more, and fresh objects."""

    def __init__(self) -> None:
        self.store = MemoryStorage()
        for kind in (JobState.succeeded(5), None):
            count = STORED if kind else 2 * TIMES
            self.store.enqueue_many_nowait([Job(METHOD, SMALL, state=kind) for _ in range(count)])
        self.claimed = self.store.fetch_available_jobs_atomic_nowait(WORKER, TIMES)
        self.ready = [job.id for job in self.store.list_nowait("enqueued")]
        self.fresh = [Job(METHOD, SMALL) for _ in range(TIMES)]
        self.settled = JobState.succeeded(5)

    def batches(self, jobs: list[Job]) -> list[list[Job]]:
        return [jobs[start : start + BATCH] for start in range(0, TIMES, BATCH)]

    def settle(self) -> None:
        """Brings the claimed objects to success, off the count."""
        for job in self.claimed:
            job.set_state(self.settled)


Section: TypeAlias = Callable[[Stage], Awaitable[None]]
SECTIONS: dict[str, tuple[Section, Callable[[Stage], Any] | None]] = {}


def section(title: str, prepare: Callable[[Stage], Any] | None = None) -> Callable[[Section], Section]:
    def add(body: Section) -> Section:
        SECTIONS[title] = (body, prepare)
        return body

    return add


@section("Job()")
async def _(stage: Stage) -> None:
    for _ in range(TIMES):
        Job(METHOD, SMALL)


@section("JobState.succeeded()")
async def _(stage: Stage) -> None:
    succeeded = JobState.succeeded
    for _ in range(TIMES):
        succeeded(5)


@section("Job.set_state()")
async def _(stage: Stage) -> None:
    state = stage.settled
    for job in stage.claimed:
        job.set_state(state)


@section("Job.arguments")
async def _(stage: Stage) -> None:
    for job in stage.claimed:
        job.arguments  # noqa: B018


@section("enqueue")
async def _(stage: Stage) -> None:
    store = stage.store
    for job in stage.fresh:
        await store.enqueue(job)


@section("fetch_and_lock_job")
async def _(stage: Stage) -> None:
    store = stage.store
    for _ in range(TIMES):
        await store.fetch_and_lock_job(WORKER)


@section("update", Stage.settle)
async def _(stage: Stage) -> None:
    store = stage.store
    for job in stage.claimed:
        await store.update(job)


@section("get")
async def _(stage: Stage) -> None:
    store = stage.store
    for job_id in stage.ready:
        await store.get(job_id)


@section("get_job_counts")
async def _(stage: Stage) -> None:
    store = stage.store
    for _ in range(TIMES):
        await store.get_job_counts()


@section("delete")
async def _(stage: Stage) -> None:
    store = stage.store
    for job_id in stage.ready:
        await store.delete(job_id)


@section("try_acquire_job_lock and release_job_lock")
async def _(stage: Stage) -> None:
    store = stage.store
    for job_id in stage.ready:
        await store.try_acquire_job_lock(job_id, WORKER, 60)
        await store.release_job_lock(job_id, WORKER)


@section("enqueue_many, a job of 100")
async def _(stage: Stage) -> None:
    store = stage.store
    for jobs in stage.batches(stage.fresh):
        await store.enqueue_many(jobs)


@section("fetch_available_jobs_atomic, a job of 100")
async def _(stage: Stage) -> None:
    store = stage.store
    for _ in range(TIMES // BATCH):
        await store.fetch_available_jobs_atomic(WORKER, BATCH)


@section("update_many, a job of 100", Stage.settle)
async def _(stage: Stage) -> None:
    store = stage.store
    for jobs in stage.batches(stage.claimed):
        await store.update_many(jobs)


@section("extend_job_locks, a job of 100")
async def _(stage: Stage) -> None:
    store = stage.store
    for jobs in stage.batches(stage.claimed):
        await store.extend_job_locks(jobs, 60)


@section("release_jobs, a job of 100")
async def _(stage: Stage) -> None:
    store = stage.store
    for jobs in stage.batches(stage.claimed):
        await store.release_jobs(jobs)


@section("list, a job of 100")
async def _(stage: Stage) -> None:
    store = stage.store
    for _ in range(TIMES // BATCH):
        await store.list("enqueued", BATCH)


@section("life")
async def _(stage: Stage) -> None:
    store, succeeded = stage.store, JobState.succeeded
    for _ in range(TIMES):
        await store.enqueue(Job(METHOD, SMALL))
        job = await store.fetch_and_lock_job(WORKER)
        assert job is not None
        job.set_state(succeeded(5))
        await store.update(job)


@section("life in batches of 100")
async def _(stage: Stage) -> None:
    store, succeeded = stage.store, JobState.succeeded
    for _ in range(TIMES // BATCH):
        await store.enqueue_many([Job(METHOD, SMALL) for _ in range(BATCH)])
        jobs = await store.fetch_available_jobs_atomic(WORKER, BATCH)
        for job in jobs:
            job.set_state(succeeded(5))
        await store.update_many(jobs)


async def main() -> None:
    print(f"times {TIMES}")
    for title, (body, prepare) in SECTIONS.items():
        stage = Stage()
        if prepare is not None:
            prepare(stage)
        os.getloadavg()
        await body(stage)
        os.getloadavg()
        print(f"section {title}")


if __name__ == "__main__":
    asyncio.run(main())
