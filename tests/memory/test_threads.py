"""One store, many threads and many event loops [E1, Q16, Q25]."""

from __future__ import annotations

import asyncio
import copy
import itertools
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from ferroq import Job, JobState, JobStateKind, ManualClock, MemoryStorage
from ferroq.errors import ConcurrentModificationError, ConflictError, StorageClosedError
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("memory")

THREADS = 16
OPERATIONS = 200_000


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns after a microsecond, so that every gap between two steps is met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run(*bodies: Callable[[], None], seconds: float = 100) -> None:
    """Runs each body in a thread of its own; the first failure is this one's failure."""
    failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    start = threading.Barrier(len(bodies))

    def guarded(body: Callable[[], None]) -> None:
        try:
            start.wait(10)
            body()
        except BaseException as error:
            failures.put(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "a thread hangs"
    if not failures.empty():
        raise failures.get()


@promises("E1", "Q25", "Q12", "Q13", "Q15", "L2")
def test_no_job_is_claimed_twice_and_none_is_lost(hasty: None) -> None:
    # Every thread does everything: it enqueues, claims, renews, gives back, settles, one at a time and in batches of
    # fifty, and reads in between. What is counted, and asserted at the end, are calls: a batch is one.
    storage = MemoryStorage(clock=ManualClock())
    tokens: queue.SimpleQueue[int] = queue.SimpleQueue()
    settled: queue.SimpleQueue[str] = queue.SimpleQueue()
    released: queue.SimpleQueue[str] = queue.SimpleQueue()
    operations: queue.SimpleQueue[int] = queue.SimpleQueue()
    alone, batches, size = 4_500, 60, 50

    def note(job: Job) -> None:
        assert job.lock is not None
        assert job.state.kind is JobStateKind.PROCESSING
        tokens.put(job.lock.token)

    def settle_some(jobs: list[Job], number: int) -> int:
        for job in jobs:
            note(job)
        back = [job for index, job in enumerate(jobs) if job.attempt == 1 and (index + number) % 11 == 0]
        if back:
            assert storage.release_jobs_nowait(back) == [True] * len(back)
            for job in back:
                released.put(job.id)
        done = [job for job in jobs if job.lock is not None]
        for job in done:
            job.set_state(JobState.succeeded(1))
        assert storage.update_many_nowait(done) == [None] * len(done)
        for job in done:
            settled.put(job.id)
        return 1 + bool(back)

    def body(number: int) -> Callable[[], None]:
        worker = f"w{number}"

        def work() -> None:
            count = 0
            for step in range(alone):
                storage.enqueue_nowait(Job("work", [number, step], id=f"a{number}-{step}", priority=step % 3))
                job = storage.fetch_and_lock_job_nowait(worker)
                count += 2
                if job is not None:
                    note(job)
                    if step % 7 == 0:
                        assert storage.extend_job_locks_nowait([job], 60) == [True]
                        count += 1
                    job.set_state(JobState.succeeded(1))
                    storage.update_nowait(job)
                    settled.put(job.id)
                    count += 1
                if step % (alone // batches) == 0:
                    names = [f"b{number}-{step}-{index}" for index in range(size)]
                    stored = storage.enqueue_many_nowait([Job("work", id=name, priority=1) for name in names])
                    assert stored == [True] * size
                    jobs = storage.fetch_available_jobs_atomic_nowait(worker, size)
                    count += 2 + settle_some(jobs, step)
                if step % 50 == 0:
                    counts = storage.get_job_counts_nowait()
                    assert sum(counts.values()) > step
                    assert len(storage.list_nowait(limit=20)) == 20
                    assert len(storage.get_available_jobs_nowait(20)) <= 20
                    count += 3
            operations.put(count)

        return work

    run(*(body(number) for number in range(THREADS)))
    rest = 0
    while jobs := storage.fetch_available_jobs_atomic_nowait("last", 1000):
        rest += 1 + settle_some(jobs, 5)

    def content(of: queue.SimpleQueue[str]) -> Counter[str]:
        return Counter(of.get() for _ in range(of.qsize()))

    total = len(storage)
    assert total == THREADS * (alone + size * len(range(0, alone, alone // batches)))
    done, back = content(settled), content(released)
    assert len(done) == total
    assert set(done.values()) == {1}, "each job has exactly one accepted result"
    claimed = [tokens.get() for _ in range(tokens.qsize())]
    assert len(set(claimed)) == len(claimed) == total + sum(back.values())
    assert storage.get_job_counts_nowait()[JobStateKind.SUCCEEDED] == total
    assert {job.attempt for job in storage.list_nowait()} == {1}
    assert storage.verify_nowait() == []
    assert sum(operations.get() for _ in range(operations.qsize())) + rest >= OPERATIONS


@promises("E1", "L3", "J15")
def test_one_of_many_updates_of_a_version_wins(hasty: None) -> None:

    storage = MemoryStorage(clock=ManualClock())
    rounds = 200
    storage.enqueue_nowait(Job("work", id="x"))
    wins: queue.SimpleQueue[int] = queue.SimpleQueue()
    turn = threading.Barrier(8)

    def work() -> None:
        for number in range(rounds):
            turn.wait(30)
            job = storage.get_nowait("x")
            assert job is not None
            turn.wait(30)
            job.priority = number
            try:
                storage.update_nowait(job)
                wins.put(number)
            except ConcurrentModificationError:
                pass

    run(*[work] * 8)
    assert Counter(wins.get() for _ in range(wins.qsize())) == Counter(range(rounds))
    job = storage.get_nowait("x")
    assert job is not None
    assert job.version == rounds + 1


@promises("E1", "L5")
def test_one_of_many_gets_a_lock(hasty: None) -> None:
    storage = MemoryStorage(clock=ManualClock())
    wins: queue.SimpleQueue[int] = queue.SimpleQueue()

    def body(number: int) -> Callable[[], None]:
        def work() -> None:
            for round_ in range(500):
                if storage.try_acquire_job_lock_nowait(f"x{round_}", f"w{number}", 60):
                    wins.put(round_)

        return work

    run(*(body(number) for number in range(8)))
    assert Counter(wins.get() for _ in range(wins.qsize())) == Counter(range(500))


@promises("E1", "L3")
def test_a_settlement_and_a_cancellation_never_both_win(hasty: None) -> None:

    storage = MemoryStorage(clock=ManualClock())
    for round_ in range(300):
        storage.enqueue_nowait(Job("work", id=f"x{round_}"))
        job = storage.fetch_and_lock_job_nowait("w")
        operator = storage.get_nowait(f"x{round_}")
        assert job is not None
        assert operator is not None
        job.set_state(JobState.succeeded(1))
        operator.set_state(JobState.deleted())
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()

        def attempt(one: Job, name: str, answers: queue.SimpleQueue[str] = answers) -> Callable[[], None]:
            def work() -> None:
                try:
                    storage.update_nowait(one)
                    answers.put(name)
                except ConflictError:
                    pass

            return work

        run(attempt(job, "succeeded"), attempt(operator, "deleted"), attempt(copy.copy(job), "succeeded"))
        accepted = {answers.get() for _ in range(answers.qsize())}
        stored = storage.get_nowait(f"x{round_}")
        assert stored is not None
        assert accepted == {stored.state.kind.value}


@promises("E1", "Q16")
def test_waiters_on_many_loops_and_producers_on_many_threads() -> None:
    storage = MemoryStorage()
    jobs, consumers, producers = 600, 4, 3
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    left = itertools.count(1)
    over = threading.Event()

    async def consume(name: str) -> None:
        while not over.is_set():
            job = await storage.fetch_and_lock_job(name)
            if job is None:
                # Bounded only so that it ends: what has to be done wakes it.
                await storage.wait_for_jobs(timeout=5)
                continue
            job.set_state(JobState.succeeded(1))
            await storage.update(job)
            done.put(job.id)
            if next(left) == jobs:
                over.set()
                # Wakes the others out of their wait: they find it over.
                await storage.enqueue_many([Job("end", queue="end") for _ in range(2 * consumers)])

    async def two(name: str) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(consume(f"{name}a"), consume(f"{name}b"))

    def producer(number: int) -> Callable[[], None]:
        def work() -> None:
            for index in range(number, jobs, producers):
                storage.enqueue_nowait(Job("work", id=f"x{index}"))

        return work

    run(
        *((lambda name=f"c{number}": asyncio.run(two(name))) for number in range(consumers)),
        *(producer(number) for number in range(producers)),
    )
    finished = Counter(done.get() for _ in range(done.qsize()))
    finished = Counter({name: count for name, count in finished.items() if name.startswith("x")})
    assert len(finished) == jobs
    assert set(finished.values()) == {1}


@promises("E1", "Q16")
def test_a_waiter_whose_loop_ended_takes_no_wake_along() -> None:
    storage = MemoryStorage()

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(storage.wait_for_jobs())
        loop.run_until_complete(asyncio.sleep(0.01))
        # Not awaited, not cancelled: the loop ends under it.
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        kept.append(task)

    kept: list[object] = []
    abandon()
    abandon()

    async def work() -> str:
        async def consume() -> str:
            while True:
                job = await storage.fetch_and_lock_job("w")
                if job is not None:
                    return job.id
                await storage.wait_for_jobs()

        task = asyncio.ensure_future(consume())
        await asyncio.sleep(0.01)
        storage.enqueue_nowait(Job("work", id="x"))
        async with asyncio.timeout(1):
            return await task

    assert asyncio.run(work()) == "x"


@promises("E1", "Q20")
def test_closing_from_another_thread_wakes_waiters() -> None:

    storage = MemoryStorage()
    waiting = threading.Event()

    def waiter() -> None:
        async def wait() -> None:
            task = asyncio.ensure_future(storage.wait_for_jobs())
            await asyncio.sleep(0)
            waiting.set()
            async with asyncio.timeout(10):
                with pytest.raises(StorageClosedError):
                    await task

        asyncio.run(wait())

    def closer() -> None:
        assert waiting.wait(10)
        asyncio.run(storage.close())

    run(waiter, closer)
