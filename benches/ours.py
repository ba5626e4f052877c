"""The memory backend as a user calls it, and the yardstick by the same calls."""

from __future__ import annotations

from typing import Any

from ferroq import Job, JobState, JobStateKind, MemoryStorage

from . import pure
from .contender import BATCH, METHOD, WORKER, Contender


class Memory(Contender):
    """`MemoryStorage`, awaited."""

    name = "ferroq memory"
    group = "ours"
    distribution = "ferroq"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.store = MemoryStorage()

    async def singles(self, lives: int) -> None:
        arguments, store, succeeded = self.arguments, self.store, JobState.succeeded
        for _ in range(lives):
            await store.enqueue(Job(METHOD, arguments))
            job = await store.fetch_and_lock_job(WORKER)
            assert job is not None
            job.set_state(succeeded(5))
            await store.update(job)

    async def batches(self, lives: int) -> None:
        arguments, store, succeeded = self.arguments, self.store, JobState.succeeded
        for _ in range(lives // BATCH):
            await store.enqueue_many([Job(METHOD, arguments) for _ in range(BATCH)])
            jobs = await store.fetch_available_jobs_atomic(WORKER, BATCH)
            for job in jobs:
                job.set_state(succeeded(5))
            await store.update_many(jobs)

    async def finished(self) -> int:
        return (await self.store.get_job_counts())[JobStateKind.SUCCEEDED]


class Nowait(Memory):
    """The synchronous twins: what is left without the event loop's share."""

    name = "ferroq memory, nowait"
    group = "twin"

    async def singles(self, lives: int) -> None:
        arguments, store, succeeded = self.arguments, self.store, JobState.succeeded
        for _ in range(lives):
            store.enqueue_nowait(Job(METHOD, arguments))
            job = store.fetch_and_lock_job_nowait(WORKER)
            assert job is not None
            job.set_state(succeeded(5))
            store.update_nowait(job)

    async def batches(self, lives: int) -> None:
        arguments, store, succeeded = self.arguments, self.store, JobState.succeeded
        for _ in range(lives // BATCH):
            store.enqueue_many_nowait([Job(METHOD, arguments) for _ in range(BATCH)])
            jobs = store.fetch_available_jobs_atomic_nowait(WORKER, BATCH)
            for job in jobs:
                job.set_state(succeeded(5))
            store.update_many_nowait(jobs)


class Pure(Contender):
    """The yardstick."""

    name = "pure Python store"
    group = "yardstick"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.store = pure.PureStore()

    async def singles(self, lives: int) -> None:
        arguments, store = self.arguments, self.store
        job_class, succeeded = pure.Job, pure.JobState.succeeded
        for _ in range(lives):
            await store.enqueue(job_class(METHOD, arguments))
            job = await store.fetch_and_lock_job(WORKER)
            assert job is not None
            job.set_state(succeeded(5))
            await store.update(job)

    async def batches(self, lives: int) -> None:
        arguments, store = self.arguments, self.store
        job_class, succeeded = pure.Job, pure.JobState.succeeded
        for _ in range(lives // BATCH):
            await store.enqueue_many([job_class(METHOD, arguments) for _ in range(BATCH)])
            jobs = await store.fetch_available_jobs_atomic(WORKER, BATCH)
            for job in jobs:
                job.set_state(succeeded(5))
            await store.update_many(jobs)

    async def finished(self) -> int:
        return (await self.store.get_job_counts())[JobStateKind.SUCCEEDED]
