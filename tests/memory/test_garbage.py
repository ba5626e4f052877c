"""What the native classes keep alive, and what they let go [E1, J15]."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from ferroq import Job, JobState, ManualClock, MemoryConfig, MemoryStorage
from ferroq.errors import StorageError
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("memory")


class Thing:
    """Something that can be watched dying."""


@promises("E1", "J7")
def test_a_cycle_through_a_jobs_metadata_is_collected() -> None:
    job, thing = Job("work"), Thing()
    thing.job = job  # type: ignore[attr-defined]
    job.metadata["thing"] = thing  # type: ignore[assignment]
    watched = weakref.ref(thing)
    del job, thing
    gc.collect()
    assert watched() is None


@promises("E1", "J15")
def test_the_store_keeps_none_of_a_callers_objects() -> None:
    storage = MemoryStorage(clock=ManualClock())
    argument, text, worker = ["an argument " * 3], "some text " * 3, "worker " * 3
    objects: list[object] = [argument, text, worker, argument[0]]
    before = [sys.getrefcount(each) for each in objects]
    for index in range(50):
        storage.enqueue_nowait(Job(text, [argument], id=f"x{index}", queue=text, metadata={"key": text}, job_type=text))
    storage.enqueue_many_nowait(Job(text, [argument], metadata={"key": text}) for _ in range(50))
    jobs = storage.fetch_available_jobs_atomic_nowait(worker, 20, [text])
    for job in jobs:
        job.set_state(JobState.succeeded(1, [text]))
    storage.update_many_nowait(jobs)
    storage.try_acquire_job_lock_nowait("x49", worker, 5)
    del jobs, job
    gc.collect()
    assert [sys.getrefcount(each) for each in objects] == before


@promises("E1")
@pytest.mark.parametrize("fails", [False, True])
def test_every_call_gives_back_what_it_took(fails: bool) -> None:
    storage = MemoryStorage(clock=ManualClock())
    storage.enqueue_nowait(Job("work", id="x"))

    def good() -> None:
        job = storage.get_nowait("x")
        assert job is not None
        _ = (job.id, job.arguments, job.metadata, job.state, job.created_at, repr(job), job.to_json(), job.lock)
        job.priority = 3
        storage.update_nowait(job)
        storage.list_nowait()
        storage.get_job_counts_nowait()
        claimed = storage.fetch_and_lock_job_nowait("w", ["default"])
        assert claimed is not None
        assert claimed.lock is not None
        _ = (claimed.lock.expires_at, claimed.lock.worker_id)
        storage.release_jobs_nowait([claimed])

    def bad() -> None:
        job = Job("work", id="x")
        for call in (
            lambda: storage.enqueue_nowait(job),
            lambda: storage.enqueue_many_nowait([job]),
            lambda: storage.update_nowait(job),
            lambda: storage.get_nowait(""),
            lambda: storage.get_nowait(5),  # type: ignore[arg-type]
            lambda: storage.fetch_and_lock_job_nowait("w", []),
            lambda: storage.list_nowait("nonsense"),
            lambda: Job("work", [object()]),
            lambda: Job("work", metadata={"": "x"}),
            lambda: job.set_state(JobState.succeeded(1)),
            lambda: JobState.failed(5),  # type: ignore[arg-type]
        ):
            with pytest.raises((StorageError, TypeError)):
                call()
        assert storage.update_many_nowait([job]) != [None]

    assert leaks(bad if fails else good) == 0


def leaks(body: Callable[[], None], rounds: int = 200) -> int:
    """Blocks of memory that a body leaves behind a round, as whole blocks.

    The interpreter's caches take some dozens of blocks, in one pass or another and then no more; a leak shows in each.
    """

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(rounds):
            body()
        gc.collect()
        return sys.getallocatedblocks() - before

    body()
    return max(0, round(min(growth() for _ in range(4)) / rounds))


def test_a_leak_of_one_block_a_round_is_seen() -> None:
    kept: list[bytearray] = []
    assert leaks(lambda: kept.append(bytearray())) >= 1
    assert leaks(lambda: None) == 0


@promises("E1", "Q16")
def test_a_waiter_that_is_gone_is_forgotten() -> None:
    storage = MemoryStorage()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    futures: list[weakref.ref[asyncio.Task[bool]]] = []

    async def wait() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert await storage.wait_for_jobs(timeout=0.01) is False
        task = asyncio.ensure_future(storage.wait_for_jobs(["a", "b"]))
        futures.append(weakref.ref(task))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        woken = asyncio.ensure_future(storage.wait_for_jobs(["c"]))
        futures.append(weakref.ref(woken))
        await asyncio.sleep(0)
        await storage.enqueue(Job("work", queue="c"))
        assert await woken is True
        assert await storage.delete((await storage.list())[0].id)

    for _ in range(3):
        asyncio.run(wait())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3
    assert [future() for future in futures] == [None] * 6


@promises("E1", "T1")
def test_storages_and_clocks_die() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    storage.enqueue_nowait(Job("work"))
    watched = weakref.ref(storage)
    clone = storage.clone()
    del storage
    gc.collect()
    assert watched() is None
    assert len(clone) == 1
    clock.advance(1)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@promises("E1", "C1")
def test_memory_does_not_grow_with_jobs_that_are_gone() -> None:
    storage = MemoryStorage(MemoryConfig(keep_succeeded=0), clock=ManualClock())
    text = "x" * 200

    def pass_through(count: int) -> None:
        for start in range(0, count, 500):
            storage.enqueue_many_nowait([Job("work", [text], id=f"x{start}-{index}") for index in range(500)])
            jobs = storage.fetch_available_jobs_atomic_nowait("w", 500)
            for job in jobs:
                job.set_state(JobState.succeeded(1))
            storage.update_many_nowait(jobs)
        for index in range(200):
            storage.try_acquire_job_lock_nowait(f"lock{index}", "w", 60)
            storage.release_job_lock_nowait(f"lock{index}", "w")

    pass_through(20_000)
    gc.collect()
    before = resident()
    pass_through(100_000)
    gc.collect()
    # A hundred thousand jobs of two hundred bytes are twenty megabytes and more, if anything of them stayed.
    assert resident() - before < 6_000_000
    assert len(storage) == 0


@promises("E1", "Q22", "Q4")
def test_memory_does_not_grow_with_names_that_are_gone() -> None:
    # Queues, ids and workers that never come back: what the store knows of them has to go with the jobs.
    storage = MemoryStorage(clock=ManualClock())

    def pass_through(start: int, count: int) -> None:
        for number in range(start, start + count):
            storage.enqueue_nowait(Job("work", id=f"x{number}", queue=f"queue {number} {'q' * 100}"))
            job = storage.fetch_and_lock_job_nowait(f"worker {number}")
            assert job is not None
            storage.release_jobs_nowait([job])
            storage.delete_nowait(job.id)

    pass_through(0, 10_000)
    gc.collect()
    before = resident()
    pass_through(10_000, 80_000)
    gc.collect()
    assert resident() - before < 4_000_000
    assert storage.verify_nowait() == []
