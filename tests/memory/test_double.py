"""The test double: a clock that stands still, length, clearing [T1, L2, Q23, Q24, Q28]."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from ferroq import Job, JobState, JobStateKind, ManualClock, MemoryConfig, MemoryStorage
from ferroq.errors import LockLostError, StorageClosedError
from ferroq.testing.contract import promises

pytestmark = [pytest.mark.scope("memory"), pytest.mark.anyio]

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock)


# ---------------------------------------------------------------- the clock


@promises("T1", "Q28")
def test_the_clock_starts_at_the_real_time_and_stands_still() -> None:
    before = datetime.now(UTC)
    clock = ManualClock()
    after = datetime.now(UTC)
    start = clock.now()
    assert before - timedelta(milliseconds=1) <= start <= after + timedelta(milliseconds=1)
    assert start.utcoffset() == timedelta(0)
    deadline = time.monotonic() + 0.02
    while time.monotonic() < deadline:
        assert clock.now() == start


@promises("T1")
def test_the_clock_moves_by_advance_only() -> None:
    clock = ManualClock()
    start = clock.now()
    for seconds, total in [(1, 1.0), (0.5, 1.5), (0.000001, 1.500001), (0, 1.500001), (86_400, 86_401.500001)]:
        clock.advance(seconds)
        assert clock.now() - start == timedelta(seconds=total)


@promises("T1", "E2")
def test_the_clock_takes_seconds() -> None:
    clock = ManualClock()
    start = clock.now()
    for wrong in (None, "1", b"1", [1], object()):
        with pytest.raises(TypeError, match="seconds"):
            clock.advance(wrong)  # type: ignore[arg-type]
    for bad in (float("nan"), float("inf"), True, 1e20):
        with pytest.raises(ValueError, match="seconds"):
            clock.advance(bad)
    assert clock.now() == start


@promises("T1")
def test_two_storages_may_share_a_clock(clock: ManualClock) -> None:
    stores = [MemoryStorage(clock=clock), MemoryStorage(clock=clock)]
    for storage in stores:
        storage.enqueue_nowait(Job("work", id="x"))
        assert storage.fetch_and_lock_job_nowait("w", lock_timeout=10) is not None
    clock.advance(10)
    for storage in stores:
        assert storage.fetch_and_lock_job_nowait("w") is not None


@promises("T1", "Q28")
def test_without_one_the_machines_clock_runs() -> None:
    storage = MemoryStorage()
    before = datetime.now(UTC)
    storage.enqueue_nowait(Job("work", id="x"))
    job = storage.fetch_and_lock_job_nowait("w", lock_timeout=0.05)
    after = datetime.now(UTC)
    assert job is not None
    assert job.lock is not None
    slack = timedelta(seconds=1)
    assert before - slack <= job.lock.expires_at - timedelta(seconds=0.05) <= after + slack
    deadline = time.monotonic() + 10
    again = None
    while again is None:
        assert time.monotonic() < deadline
        again = storage.fetch_and_lock_job_nowait("w")
    assert again.crash_count == 1


# ---------------------------------------------------------------- what only a clock that stands still can show


@promises("Q23", "L1", "T1")
def test_a_claim_is_live_before_it_expires_and_not_at_that_time(storage: MemoryStorage, clock: ManualClock) -> None:
    storage.enqueue_nowait(Job("work", id="x"))
    job = storage.fetch_and_lock_job_nowait("w", lock_timeout=10)
    assert job is not None
    assert job.lock is not None
    assert job.lock.expires_at == clock.now() + timedelta(seconds=10)
    clock.advance(9.999999)
    assert storage.fetch_and_lock_job_nowait("v") is None
    assert storage.release_job_lock_nowait("x", "v") is False
    clock.advance(0.000001)
    assert clock.now() == job.lock.expires_at
    assert storage.release_job_lock_nowait("x", "w") is False
    assert storage.fetch_and_lock_job_nowait("v") is not None


@promises("Q23", "L5", "T1")
def test_an_explicit_lock_is_live_before_it_expires_and_not_at_that_time(
    storage: MemoryStorage, clock: ManualClock
) -> None:
    storage.enqueue_nowait(Job("work", id="x"))
    assert storage.try_acquire_job_lock_nowait("x", "w", 10)
    clock.advance(9.999999)
    assert storage.fetch_and_lock_job_nowait("v") is None
    assert storage.try_acquire_job_lock_nowait("x", "v", 10) is False
    clock.advance(0.000001)
    assert storage.release_job_lock_nowait("x", "w") is False
    assert storage.get_available_jobs_nowait() != []
    assert storage.try_acquire_job_lock_nowait("x", "v", 10) is True


@promises("Q23", "T1")
@pytest.mark.parametrize("kind", ["scheduled", "awaiting_retry"])
def test_a_job_is_due_at_its_time_and_not_before(storage: MemoryStorage, clock: ManualClock, kind: str) -> None:
    due = clock.now() + timedelta(seconds=10)
    state = JobState.scheduled(due) if kind == "scheduled" else JobState.awaiting_retry(due, 1, "no")
    storage.enqueue_nowait(Job("work", id="x", state=state))
    storage.enqueue_nowait(Job("work", id="now", state=JobState.scheduled(clock.now())))
    assert [job.id for job in storage.get_available_jobs_nowait()] == ["now"]
    clock.advance(9.999999)
    assert [job.id for job in storage.get_available_jobs_nowait()] == ["now"]
    clock.advance(0.000001)
    assert [job.id for job in storage.get_available_jobs_nowait()] == ["now", "x"]


@promises("Q24", "Q12", "T1")
def test_jobs_of_one_instant_go_by_sequence(storage: MemoryStorage, clock: ManualClock) -> None:
    for name in ("c", "a"):
        storage.enqueue_nowait(Job("work", id=name))
    storage.enqueue_many_nowait([Job("work", id=name) for name in ("d", "b")])
    storage.enqueue_nowait(Job("work", id="s", state=JobState.scheduled(clock.now())))
    storage.enqueue_nowait(Job("work", id="e"))
    storage.enqueue_nowait(Job("work", id="before", state=JobState.scheduled(clock.now() - MICROSECOND)))
    storage.enqueue_nowait(Job("work", id="after", state=JobState.scheduled(clock.now() + MICROSECOND)))
    clock.advance(1)
    jobs = storage.fetch_available_jobs_atomic_nowait("w", 20)
    assert [job.id for job in jobs] == ["before", "c", "a", "d", "b", "s", "e", "after"]


@promises("L2", "L3", "T1")
def test_tokens_grow_while_the_clock_stands_still(storage: MemoryStorage) -> None:
    tokens = []
    holders = []
    for _ in range(5):
        storage.enqueue_nowait(Job("work", id="x"))
        job = storage.fetch_and_lock_job_nowait("w")
        assert job is not None
        assert job.lock is not None
        tokens.append(job.lock.token)
        holders.append(job)
        storage.delete_nowait("x")
    storage.enqueue_nowait(Job("work", id="x"))
    last = storage.fetch_and_lock_job_nowait("w")
    assert last is not None
    assert last.lock is not None
    tokens.append(last.lock.token)
    assert tokens == sorted(set(tokens))
    for job in holders:
        job.set_state(JobState.succeeded(1))
        with pytest.raises(LockLostError):
            storage.update_nowait(job)
    last.set_state(JobState.succeeded(1))
    storage.update_nowait(last)


@promises("Q17", "T1")
def test_age_counts_to_the_microsecond(storage: MemoryStorage, clock: ManualClock) -> None:
    storage.enqueue_nowait(Job("work", id="x", state=JobState.failed("no")))
    clock.advance(9.999999)
    assert storage.purge_nowait("failed", 10) == 0
    clock.advance(0.000001)
    assert storage.purge_nowait("failed", 10) == 1


# ---------------------------------------------------------------- advance wakes waiters


@promises("T1", "Q16")
async def test_advance_wakes_waiters_from_any_thread(storage: MemoryStorage, clock: ManualClock) -> None:
    storage.enqueue_nowait(Job("work", id="x", state=JobState.scheduled(clock.now() + timedelta(days=30))))
    waiter = asyncio.ensure_future(storage.wait_for_jobs())
    await asyncio.sleep(0)
    threading.Thread(target=clock.advance, args=(30 * 86_400,)).start()
    async with asyncio.timeout(2):
        assert await waiter is True


@promises("T1", "Q16")
async def test_time_outs_of_waiters_are_real_time(storage: MemoryStorage, clock: ManualClock) -> None:
    start = time.monotonic()
    waiter = asyncio.ensure_future(storage.wait_for_jobs(timeout=0.2))
    await asyncio.sleep(0)
    clock.advance(3600)
    async with asyncio.timeout(5):
        while await waiter:
            waiter = asyncio.ensure_future(storage.wait_for_jobs(timeout=0.2))
    assert time.monotonic() - start >= 0.15


# ---------------------------------------------------------------- length, clearing


@promises("T1")
def test_length_counts_every_job(storage: MemoryStorage) -> None:
    assert len(storage) == 0
    assert storage, "an empty store is a store"
    storage.enqueue_nowait(Job("work", id="x"))
    storage.enqueue_nowait(Job("work", id="y", state=JobState.deleted()))
    assert len(storage) == 2
    job = storage.fetch_and_lock_job_nowait("w")
    assert job is not None
    assert len(storage) == 2
    storage.delete_nowait("x")
    assert len(storage) == 1
    assert len(storage.clone()) == 1


@promises("T1", "L2", "Q18")
def test_clear_leaves_nothing_behind(storage: MemoryStorage, clock: ManualClock) -> None:
    for index in range(10):
        storage.enqueue_nowait(Job("work", id=f"x{index}", queue=f"q{index % 3}"))
    storage.enqueue_nowait(Job("work", id="later", state=JobState.scheduled(clock.now() + timedelta(days=1))))
    claimed = storage.fetch_and_lock_job_nowait("w", lock_timeout=10)
    assert claimed is not None
    assert claimed.lock is not None
    token = claimed.lock.token
    assert storage.try_acquire_job_lock_nowait("locked", "w", 10)
    storage.clear()
    assert len(storage) == 0
    assert storage.list_nowait() == []
    assert set(storage.get_job_counts_nowait().values()) == {0}
    assert storage.verify_nowait() == []
    clock.advance(2 * 86_400)
    assert storage.get_available_jobs_nowait() == []
    assert storage.try_acquire_job_lock_nowait("locked", "v", 10) is True
    storage.enqueue_nowait(Job("work", id="x0"))
    again = storage.fetch_and_lock_job_nowait("w")
    assert again is not None
    assert again.lock is not None
    assert again.lock.token > token
    claimed.set_state(JobState.succeeded(1))
    with pytest.raises(LockLostError):
        storage.update_nowait(claimed)


@promises("T1", "Q20")
async def test_a_closed_storage_is_not_cleared(clock: ManualClock) -> None:
    storage = MemoryStorage(clock=clock)
    await storage.enqueue(Job("work", id="x"))
    clone = storage.clone()
    await storage.close()
    with pytest.raises(StorageClosedError):
        storage.clear()
    assert len(clone) == 1


@promises("T1")
def test_the_store_ends_with_its_last_storage() -> None:
    storage = MemoryStorage(MemoryConfig(max_jobs=1))
    storage.enqueue_nowait(Job("work", id="x"))
    clone = storage.clone()
    del storage
    assert clone.get_nowait("x") is not None
    assert clone.get_job_counts_nowait()[JobStateKind.ENQUEUED] == 1
