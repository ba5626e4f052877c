"""No Python code runs under the store's lock [E1, J3].

Each test lets Python code that calls the store run at the worst moments: collections, destructors, signal handlers,
iterators, methods of subclasses. If the lock were held at one of them, the call would wait for itself for ever, so each
test runs in a child that is killed when it hangs.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind, ManualClock, MemoryConfig, MemoryStorage
from ferroq.errors import InvalidJobDataError, StorageError
from ferroq.testing.contract import promises

from .children import in_child

pytestmark = pytest.mark.scope("memory")


def everything(storage: MemoryStorage, clock: ManualClock, tag: object, metadata: Callable[[], dict[str, str]]) -> None:
    """Each operation at least once, with all that it makes and drops."""
    one = Job("work", [{"a": [1, "x"]}], id=f"{tag}-one", metadata=metadata())
    many = [Job("work", ["y"], id=f"{tag}-{index}", queue=f"q{index % 3}", metadata=metadata()) for index in range(8)]
    storage.enqueue_nowait(one)
    storage.enqueue_many_nowait(many)
    with pytest.raises(StorageError):
        storage.enqueue_nowait(one)
    with pytest.raises(StorageError):
        storage.enqueue_many_nowait(many)
    storage.list_nowait(JobStateKind.ENQUEUED, 50)
    storage.list_nowait(queue="q1")
    storage.get_available_jobs_nowait(50)
    storage.get_job_counts_nowait()
    storage.try_acquire_job_lock_nowait(f"{tag}-7", "w", 5)
    first = storage.fetch_and_lock_job_nowait("w", ["q0", "q1", "q2", "default"], lock_timeout=10)
    jobs = storage.fetch_available_jobs_atomic_nowait("w", 6, lock_timeout=10)
    assert first is not None
    jobs.append(first)
    storage.extend_job_locks_nowait(jobs, 20)
    jobs[0].metadata.update(metadata())
    jobs[0].set_state(JobState.succeeded(1, ["result"]))
    jobs[1].set_state(JobState.failed("no"))
    storage.update_nowait(jobs[0])
    storage.update_many_nowait(jobs[1:3])
    storage.release_jobs_nowait(jobs[2:4], delay=1)
    storage.release_job_lock_nowait(jobs[4].id, "w")
    clock.advance(30)
    jobs = storage.fetch_available_jobs_atomic_nowait("v", 100)
    for job in jobs[::2]:
        storage.delete_nowait(job.id)
    for job in jobs[1::2]:
        job.set_state(JobState.deleted())
    storage.update_many_nowait(jobs[1::2])
    storage.purge_nowait(["succeeded", "deleted", "failed"], 0)
    assert storage.verify_nowait() == []
    for job in storage.list_nowait():
        storage.delete_nowait(job.id)


def texts() -> dict[str, str]:
    return {"key": "value"}


class Reentrant:
    """Calls the store, as deep as once."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.calls = 0
        self.inside = False

    def __call__(self) -> None:
        if self.inside:
            return
        self.inside = True
        self.calls += 1
        job = Job("other", id=f"again-{self.calls}")
        self.storage.enqueue_nowait(job)
        self.storage.get_nowait(job.id)
        self.storage.get_job_counts_nowait()
        self.storage.list_nowait(limit=2)
        self.storage.delete_nowait(job.id)
        self.inside = False


def setting(**options: Any) -> tuple[MemoryStorage, ManualClock, Reentrant]:
    clock = ManualClock()
    storage = MemoryStorage(MemoryConfig(**options), clock=clock)
    return storage, clock, Reentrant(storage)


@promises("E1")
@pytest.mark.parametrize(
    "options", [{}, {"keep_succeeded": 0, "keep_deleted": 0}, {"max_jobs": 50, "auto_cleanup": True}]
)
def test_a_collection_at_every_allocation(options: dict[str, Any]) -> None:
    def body() -> None:
        storage, clock, again = setting(**options)

        def collected(phase: str, info: dict[str, int]) -> None:
            again()

        gc.callbacks.append(collected)
        before = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            for tag in range(10):
                everything(storage, clock, tag, texts)
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(collected)
        assert again.calls > 100

    in_child(body)


@promises("E1", "J7")
def test_destructors_that_call_the_store() -> None:
    def body() -> None:
        storage, clock, again = setting()

        class Text(str):
            def __del__(self) -> None:
                again()

        def cyclic() -> dict[str, str]:
            # Some die at once, others in a collection, wherever that happens.
            text = Text("value")
            text.self = text  # type: ignore[attr-defined]
            return {"key": Text("now"), "later": text}

        gc.set_threshold(5, 1, 1)
        for tag in range(20):
            everything(storage, clock, tag, cyclic)
        gc.collect()
        assert again.calls > 100

    in_child(body)


@promises("E1")
def test_signal_handlers_that_call_the_store() -> None:
    def body() -> None:
        storage, clock, again = setting()
        signal.signal(signal.SIGPROF, lambda number, frame: again())
        signal.setitimer(signal.ITIMER_PROF, 0.0005, 0.0005)
        try:
            deadline = time.monotonic() + 20
            tag = 0
            while again.calls < 200:
                assert time.monotonic() < deadline, "hardly a signal arrived"
                everything(storage, clock, tag, texts)
                tag += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    in_child(body)


@promises("E1", "Q12", "Q13")
def test_iterators_that_call_the_store() -> None:
    def body() -> None:
        storage, _, again = setting()

        def these(jobs: list[Job]) -> Iterator[Job]:
            for job in jobs:
                again()
                yield job
                again()

        jobs = [Job("work", id=f"x{index}") for index in range(5)]
        assert storage.enqueue_many_nowait(these(jobs)) == [True] * 5
        claimed = storage.fetch_available_jobs_atomic_nowait("w", 5)
        assert storage.extend_job_locks_nowait(these(claimed), 5) == [True] * 5
        assert storage.release_jobs_nowait(these(claimed[:2])) == [True] * 2
        assert storage.update_many_nowait(these(claimed[2:])) == [None] * 3
        assert again.calls >= 30

        def kinds() -> Iterator[str]:
            again()
            yield "failed"

        assert storage.purge_nowait(kinds(), 0) == 0

        # The jobs of a call that is under way may be changed by its own iterator.
        def changing() -> Iterator[Job]:
            job = Job("work", id="changed")
            yield job
            job.priority = 5
            storage.enqueue_nowait(job)

        with pytest.raises(StorageError):
            storage.enqueue_many_nowait(changing())
        assert storage.verify_nowait() == []

    in_child(body)


@promises("E1", "J3")
def test_methods_of_subclasses_that_call_the_store() -> None:
    def body() -> None:
        storage, _, again = setting()

        def calling(*args: Any, **kwargs: Any) -> Any:
            again()
            raise RuntimeError("a method of an argument failed")

        class Text(str):
            __eq__ = __str__ = __repr__ = __len__ = __iter__ = encode = calling
            __hash__ = str.__hash__

        class Number(int):
            __eq__ = __int__ = __index__ = __float__ = __repr__ = __lt__ = __gt__ = calling
            __hash__ = int.__hash__

        class Real(float):
            __eq__ = __int__ = __float__ = __repr__ = __lt__ = __gt__ = calling
            __hash__ = float.__hash__

        class Names(list[str]):
            def __iter__(self) -> Iterator[str]:
                again()
                return super().__iter__()

            def __len__(self) -> int:
                again()
                return super().__len__()

            def __getitem__(self, index: Any) -> Any:
                again()
                return super().__getitem__(index)

        job = Job(Text("work"), [Text("a"), Number(3)], id=Text("x"), queue=Text("q"), metadata={Text("k"): Text("v")})
        storage.enqueue_nowait(job)
        assert storage.get_nowait(Text("x")) == job
        assert storage.list_nowait(Text("enqueued"), Number(5), Number(0), queue=Text("q"), after=Number(99)) == [job]
        claimed = storage.fetch_and_lock_job_nowait(Text("w"), Names([Text("q"), "other"]), lock_timeout=Real(5))
        assert claimed is not None
        assert claimed.id == "x"
        assert storage.extend_job_locks_nowait([claimed], Number(7)) == [True]
        assert storage.release_jobs_nowait([claimed], delay=Real(0.5)) == [True]
        assert storage.try_acquire_job_lock_nowait(Text("x"), Text("w"), Number(5)) is True
        assert storage.release_job_lock_nowait(Text("x"), Text("w")) is True
        assert storage.delete_nowait(Text("x")) is True
        assert storage.verify_nowait() == []

    in_child(body)


@promises("E1", "J7")
def test_metadata_that_changes_while_it_is_read() -> None:
    def body() -> None:
        storage, _, _ = setting()
        job = Job("work", id="x", metadata={f"k{index}": "v" for index in range(50)})

        class Restless:
            def __del__(self) -> None:
                job.metadata[f"more{len(job.metadata)}"] = "v"
                if len(job.metadata) > 120:
                    job.metadata.clear()

        def churn(phase: str, info: dict[str, int]) -> None:
            Restless()

        gc.callbacks.append(churn)
        gc.set_threshold(1, 1, 1)
        try:
            storage.enqueue_nowait(job)
            for _ in range(200):
                try:
                    storage.update_nowait(job)
                except InvalidJobDataError as error:
                    raise AssertionError from error
                _ = job.to_json(), repr(job), job == storage.get_nowait("x")
        finally:
            gc.callbacks.remove(churn)

    in_child(body)
