"""One job in many threads: nothing of the binding's ever shows [J15, E1]."""

from __future__ import annotations

import copy
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from ferroq import Job, JobState, MemoryStorage
from ferroq.errors import StorageError
from ferroq.testing.contract import promises

WHEN = datetime(2031, 1, 1, tzinfo=UTC)
ROUNDS = 3000


@pytest.fixture
def hasty() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*bodies: Callable[[int], object]) -> list[BaseException]:
    """Runs the bodies, each in a thread and many times; a job's own errors are what they may raise."""
    failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    start = threading.Barrier(len(bodies))

    def guarded(body: Callable[[int], object]) -> None:
        start.wait(10)
        for number in range(ROUNDS):
            try:
                body(number)
            except StorageError:
                pass
            except BaseException as error:
                failures.put(error)
                return

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    return [failures.get() for _ in range(failures.qsize())]


@promises("J15", "J6", "J12", "J13")
def test_everything_at_once_on_one_job(hasty: None) -> None:
    job = Job("work", [{"a": [1, 2, 3]}], metadata={"a": "b"})
    other = copy.deepcopy(job)

    def assign(number: int) -> None:
        job.priority = number
        job.queue = f"q{number % 5}"
        job.max_retries = number
        job.job_type = None if number % 2 else "t"
        job.timeout_seconds = number + 1

    def transit(number: int) -> None:
        job.set_state(JobState.scheduled(WHEN, str(number)))
        job.set_state(JobState.enqueued("q"))

    def read(number: int) -> None:
        assert job.arguments == [{"a": [1, 2, 3]}]
        _ = (job.state.kind, job.queue, job.priority, job.created_at, job.version, job.lock, job.id, job.metadata)

    def note(number: int) -> None:
        job.add_metadata(f"k{number % 20}", str(number))

    bodies: list[Callable[[int], object]] = [
        assign,
        transit,
        read,
        note,
        lambda number: Job.from_json(job.to_json()),
        lambda number: (repr(job), job == other, other == job),
        lambda number: pickle.loads(pickle.dumps(job)),
        lambda number: (copy.copy(job), copy.deepcopy(job), job.clone_with_new_id()),
    ]
    assert together(*bodies) == []


@promises("J15", "E1")
def test_one_job_handed_to_many_calls(hasty: None) -> None:
    storage = MemoryStorage()
    job = Job("work", id="x", metadata={"a": "b"})

    def life(number: int) -> None:
        storage.enqueue_nowait(job, if_exists="skip")
        job.priority = number % 7
        storage.update_nowait(job)

    def batches(number: int) -> None:
        storage.update_many_nowait([job, job])
        storage.enqueue_many_nowait([job, job], if_exists="skip")

    def claims(number: int) -> None:
        storage.extend_job_locks_nowait([job, job], 60)
        storage.release_jobs_nowait([job, job])
        storage.delete_nowait("x")

    def change(number: int) -> None:
        job.add_metadata(f"k{number % 20}", str(number))
        job.set_state(JobState.processing("w", "s") if number % 2 else JobState.succeeded(1))

    def settle(number: int) -> None:
        taken = storage.fetch_and_lock_job_nowait("w")
        if taken is not None:
            taken.set_state(JobState.awaiting_retry(WHEN, 1, "no"))
            storage.update_nowait(taken)

    assert together(life, life, batches, claims, change, settle) == []
    assert storage.verify_nowait() == []


@promises("J15", "S1")
def test_one_state_in_many_jobs_and_threads(hasty: None) -> None:
    state = JobState.succeeded(1, {"a": [1]})
    assert isinstance(state, JobState.Succeeded)

    def use(number: int) -> None:
        job = Job("work", state=state)
        assert job.state == state
        assert state.result == {"a": [1]}

    assert together(*[use] * 6) == []
