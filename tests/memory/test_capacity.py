"""A store that can be full [C2, Q1]."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind, ManualClock, MemoryConfig, MemoryStorage
from ferroq.errors import CapacityExceededError, JobAlreadyExistsError, PayloadTooLargeError
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("memory")


def store(max_jobs: int, **options: Any) -> tuple[MemoryStorage, ManualClock]:
    clock = ManualClock()
    return MemoryStorage(MemoryConfig(max_jobs=max_jobs, **options), clock=clock), clock


def put(storage: MemoryStorage, *ids: str, state: JobState | None = None) -> None:
    for id_ in ids:
        storage.enqueue_nowait(Job("work", id=id_, state=state))


def ids(storage: MemoryStorage) -> set[str]:
    return {job.id for job in storage.list_nowait()}


@promises("C2", "E4")
def test_one_job_too_many() -> None:
    storage, _ = store(2)
    put(storage, "a", "b")
    before = storage.list_nowait()
    job = Job("work", id="c")
    with pytest.raises(CapacityExceededError) as caught:
        storage.enqueue_nowait(job)
    error = caught.value
    assert not isinstance(error, PayloadTooLargeError)
    assert (error.backend, error.operation, error.outcome, error.stored) == ("memory", "enqueue", "not_applied", 0)
    assert error.retryable is False
    assert "max_jobs" in str(error)
    assert job.version == 0
    assert storage.list_nowait() == before
    assert storage.verify_nowait() == []
    storage.delete_nowait("a")
    assert storage.enqueue_nowait(job) is True
    assert ids(storage) == {"b", "c"}


@promises("C2", "Q1")
def test_an_id_that_exists_is_that_error_in_a_full_store_too() -> None:
    for auto_cleanup in (False, True):
        storage, _ = store(2, auto_cleanup=auto_cleanup)
        put(storage, "a")
        put(storage, "done", state=JobState.succeeded(1))
        with pytest.raises(JobAlreadyExistsError):
            storage.enqueue_nowait(Job("work", id="a"))
        assert storage.enqueue_nowait(Job("work", id="a"), if_exists="skip") is False
        assert storage.enqueue_many_nowait([Job("work", id="a")], if_exists="skip") == [False]
        assert ids(storage) == {"a", "done"}, "nothing made room for nothing"


@promises("C2", "Q12")
def test_a_chunk_fits_or_not() -> None:
    storage, _ = store(5)
    put(storage, "a", "b")
    with pytest.raises(CapacityExceededError) as caught:
        storage.enqueue_many_nowait([Job("work") for _ in range(4)])
    assert caught.value.operation == "enqueue_many"
    assert caught.value.stored == 0
    assert ids(storage) == {"a", "b"}
    assert storage.enqueue_many_nowait([Job("work", id=id_) for id_ in "abcde"], if_exists="skip") == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert len(storage) == 5


@promises("C2", "Q12")
def test_chunks_before_the_full_one_stay() -> None:
    storage, _ = store(1500)
    with pytest.raises(CapacityExceededError) as caught:
        storage.enqueue_many_nowait([Job("work") for _ in range(2100)])
    assert caught.value.stored == 1000
    assert len(storage) == 1000


@promises("C2")
def test_finished_jobs_count_unless_they_make_room() -> None:
    storage, _ = store(2)
    put(storage, "a", "b", state=JobState.succeeded(1))
    with pytest.raises(CapacityExceededError):
        put(storage, "c")
    assert ids(storage) == {"a", "b"}


@promises("C2")
def test_the_longest_finished_make_room() -> None:
    storage, clock = store(4, auto_cleanup=True)
    put(storage, "live", "c", "a", "b")
    for id_ in ("b", "a", "c"):
        job = storage.get_nowait(id_)
        assert job is not None
        job.set_state(JobState.failed("no") if id_ == "a" else JobState.deleted())
        storage.update_nowait(job)
        clock.advance(1)
    put(storage, "d")
    assert ids(storage) == {"live", "a", "c", "d"}, "by the time they finished, not by age or kind"
    storage.enqueue_many_nowait([Job("work", id="e"), Job("work", id="f")])
    assert ids(storage) == {"live", "d", "e", "f"}
    # Live ones never go.
    with pytest.raises(CapacityExceededError):
        put(storage, "g")
    assert ids(storage) == {"live", "d", "e", "f"}
    assert storage.verify_nowait() == []


@promises("C2")
def test_every_state_but_the_final_ones_is_live() -> None:
    storage, clock = store(4, auto_cleanup=True)
    put(storage, "enqueued")
    put(storage, "scheduled", state=JobState.scheduled(clock.now()))
    put(storage, "retry", state=JobState.awaiting_retry(clock.now(), 1, "no"))
    put(storage, "processing", state=JobState.processing("w", "s"))
    clock.advance(10_000)
    with pytest.raises(CapacityExceededError):
        put(storage, "more")
    assert len(storage) == 4


@promises("C2", "Q12")
def test_a_chunk_that_would_not_fit_anyway_evicts_nothing() -> None:
    storage, _ = store(3, auto_cleanup=True)
    put(storage, "live")
    put(storage, "done", state=JobState.succeeded(1))
    with pytest.raises(CapacityExceededError):
        storage.enqueue_many_nowait([Job("work") for _ in range(3)])
    assert ids(storage) == {"live", "done"}


@promises("C2")
def test_room_is_made_only_at_the_limit() -> None:
    storage, _ = store(3, auto_cleanup=True)
    put(storage, "a", "b", "c", state=JobState.succeeded(1))
    assert ids(storage) == {"a", "b", "c"}
    assert storage.get_job_counts_nowait()[JobStateKind.SUCCEEDED] == 3
    storage.delete_nowait("b")
    put(storage, "d")
    assert ids(storage) == {"a", "c", "d"}


@promises("C2", "E1")
def test_the_limit_holds_under_threads() -> None:
    storage, _ = store(500)
    outcome: list[bool] = []
    longest: list[int] = []

    def work(index: int) -> None:
        for step in range(100):
            try:
                if step % 10 == 0:
                    storage.enqueue_many_nowait([Job("work") for _ in range(3)])
                    outcome.extend([True] * 3)
                else:
                    storage.enqueue_nowait(Job("work"))
                    outcome.append(True)
            except CapacityExceededError:
                outcome.append(False)
            longest.append(len(storage))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(longest) <= 500
    assert outcome.count(True) == len(storage) == 500
    assert storage.verify_nowait() == []
