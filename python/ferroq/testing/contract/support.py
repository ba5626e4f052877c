"""Words that the suite's tests are written in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import pytest

from ferroq import Job, JobLock, JobState, JobStateKind
from ferroq.errors import StorageError
from ferroq.storage import Storage

from .backend import ContractBackend

A: Final = "worker-a"
B: Final = "worker-b"

LONG: Final = 3600.0
"""A lock that outlives every test, seconds."""

SHORT: Final = 30.0
"""A lock that a test lets lapse, seconds; far above what a test takes in real time on a clock that runs by itself."""

BOUND: Final = 10.0
"""Real seconds after which a call that should have come back has hung."""

MILLISECOND: Final = timedelta(milliseconds=1)

Error = TypeVar("Error", bound=BaseException)


def names(jobs: Iterable[Job]) -> list[str]:
    """The ids, in order."""
    return [job.id for job in jobs]


def held(job: Job | None) -> JobLock:
    """The claim that an object holds."""
    assert job is not None, "no job"
    assert job.lock is not None, f"{job!r} holds no claim"
    return job.lock


def kind(job: Job | None) -> JobStateKind:
    """The kind of a job's state."""
    assert job is not None, "no job"
    return job.state.kind


def every_state(now: datetime) -> dict[JobStateKind, JobState]:
    """One state of each kind; the two with a due time have it an hour ahead."""
    later = now + timedelta(hours=1)
    return {
        JobStateKind.ENQUEUED: JobState.enqueued("default"),
        JobStateKind.PROCESSING: JobState.processing(A, "server-a"),
        JobStateKind.SUCCEEDED: JobState.succeeded(12, {"rows": [1, 2.5, None]}),
        JobStateKind.FAILED: JobState.failed("ValueError: no", "Traceback …", 4),
        JobStateKind.DELETED: JobState.deleted("asked for"),
        JobStateKind.SCHEDULED: JobState.scheduled(later, "at night"),
        JobStateKind.AWAITING_RETRY: JobState.awaiting_retry(later, 2, "ValueError: no"),
    }


def utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0
) -> datetime:
    """An aware UTC datetime."""
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)


async def put(storage: Storage, *ids: str, **fields: Any) -> list[Job]:
    """Enqueues jobs of these ids one after the other."""
    jobs = [Job("work", id=id_, **fields) for id_ in ids]
    for job in jobs:
        await storage.enqueue(job)
    return jobs


async def put_many(storage: Storage, ids: Iterable[str], **fields: Any) -> list[Job]:
    """Enqueues jobs of these ids in one call."""
    jobs = [Job("work", id=id_, **fields) for id_ in ids]
    assert await storage.enqueue_many(jobs) == [True] * len(jobs)
    return jobs


async def stored(storage: Storage, job_id: str) -> Job:
    """The record of a job that must exist."""
    job = await storage.get(job_id)
    assert job is not None, f"{job_id} is not stored"
    return job


async def claim(storage: Storage, worker: str = A, lock_timeout: float = LONG, queues: list[str] | None = None) -> Job:
    """Claims the first available job; there must be one."""
    job = await storage.fetch_and_lock_job(worker, queues, lock_timeout=lock_timeout)
    assert job is not None, "a claim found nothing"
    return job


async def put_claimed(storage: Storage, job_id: str = "x", worker: str = A, lock_timeout: float = LONG) -> Job:
    """A fresh job under a fresh claim; nothing else may be available."""
    await put(storage, job_id)
    job = await claim(storage, worker, lock_timeout)
    assert job.id == job_id
    return job


async def settle(storage: Storage, job: Job, state: JobState | None = None) -> None:
    """Ends a claim, with success if nothing else is said."""
    job.set_state(state if state is not None else JobState.succeeded(1))
    await storage.update(job)


async def drain(storage: Storage, worker: str = A, limit: int = 100) -> list[Job]:
    """Claims until a claim comes back empty."""
    claimed: list[Job] = []
    while batch := await storage.fetch_available_jobs_atomic(worker, limit, lock_timeout=LONG):
        claimed += batch
    return claimed


async def picture(storage: Storage) -> tuple[dict[JobStateKind, int], list[Job], list[str]]:
    """All that a caller can see of a store: counts, every record, and what is available, in order."""
    return await storage.get_job_counts(), await storage.list(), names(await storage.get_available_jobs())


@asynccontextmanager
async def unchanged(storage: Storage) -> AsyncIterator[None]:
    """What happens inside leaves the store as it was, and sound."""
    before = await picture(storage)
    yield
    assert await picture(storage) == before
    assert await storage.verify() == []


async def refused(
    backend: ContractBackend, storage: Storage, error: type[Error], operation: str, *args: Any, **kwargs: Any
) -> Error:
    """A call that has to fail: with exactly this error, which says where it comes from, and with nothing changed."""
    async with unchanged(storage):
        with pytest.raises(error) as caught:
            await getattr(storage, operation)(*args, **kwargs)
    assert type(caught.value) is error
    if isinstance(caught.value, StorageError):
        said(caught.value, backend, operation)
    return caught.value


def said(error: StorageError, backend: ContractBackend, *operations: str) -> None:
    """What every error of a call that changed nothing carries."""
    assert error.backend == backend.name
    assert error.operation in operations
    assert error.outcome == "not_applied"
    assert error.retryable is False
    assert str(error)


async def soon(call: Awaitable[Any], seconds: float = BOUND) -> Any:
    """The result of a call that must not hang."""
    async with asyncio.timeout(seconds):
        return await call


def same(left: object, right: object) -> bool:
    """Equal type for type, in the order of keys, and down to the sign of zero."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float) and isinstance(right, float):
        return left.hex() == right.hex()
    return left == right
