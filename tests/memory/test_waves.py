"""A hundred thousand jobs due at once [Q26]."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind, ManualClock, MemoryConfig, MemoryStorage
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("memory")

WAVE = 100_000
SLOWEST = 0.05
"""Seconds a claim may take: one that took the whole wave over at once takes several times that."""


def take_over(storage: MemoryStorage, limit: int) -> tuple[list[Job], float]:
    """Claims until nothing is left: the jobs, and time of the slowest claim but three, which may be the machine’s."""
    jobs: list[Job] = []
    times: list[float] = []
    while True:
        start = time.perf_counter()
        batch = storage.fetch_available_jobs_atomic_nowait("w", limit, lock_timeout=10)
        times.append(time.perf_counter() - start)
        if not batch:
            return jobs, sorted(times)[-4]
        jobs += batch


@promises("Q26", "Q24")
@pytest.mark.parametrize("kind", ["scheduled", "awaiting_retry"])
def test_all_come_due_at_once(kind: str) -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    now = clock.now()

    def state(index: int) -> JobState:
        due = now + timedelta(seconds=10, milliseconds=index * 7919 % WAVE)
        return JobState.scheduled(due) if kind == "scheduled" else JobState.awaiting_retry(due, 1, "no")

    storage.enqueue_many_nowait(Job("work", id=f"{index}", state=state(index)) for index in range(WAVE))
    clock.advance(1000)
    # One claim of ten takes over a bounded part: what is available behind it is no multiple of it.
    first = storage.fetch_available_jobs_atomic_nowait("w", 10, lock_timeout=10)
    assert len(first) == 10
    assert len(storage.get_available_jobs_nowait()) <= WAVE // 20
    rest, slowest = take_over(storage, 100)
    assert slowest < SLOWEST
    taken = [int(job.id) for job in (*first, *rest)]
    assert taken == sorted(range(WAVE), key=lambda index: index * 7919 % WAVE), "in order of their times"


@promises("Q26", "L4")
def test_all_lapse_at_once() -> None:
    clock = ManualClock()
    storage = MemoryStorage(MemoryConfig(max_crashes=2), clock=clock)
    storage.enqueue_many_nowait(Job("work") for _ in range(WAVE))
    jobs, _ = take_over(storage, 1000)
    assert len(jobs) == WAVE
    clock.advance(11)
    again, slowest = take_over(storage, 100)
    assert slowest < SLOWEST
    assert len(again) == WAVE
    assert {(job.attempt, job.crash_count) for job in again} == {(2, 1)}
    clock.advance(11)
    # Now each has crashed too often: claims come back empty while they fail a bounded part each.
    calls = 0
    while storage.get_job_counts_nowait()[JobStateKind.PROCESSING]:
        start = time.perf_counter()
        assert storage.fetch_available_jobs_atomic_nowait("v", 100) == []
        if time.perf_counter() - start >= SLOWEST:
            calls += 1
    assert calls <= 3
    assert storage.get_job_counts_nowait()[JobStateKind.FAILED] == WAVE
    assert storage.verify_nowait() == []
