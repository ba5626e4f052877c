"""Waiting for jobs [Q16].

A wake may be spurious, so none of these tests looks at one wake alone: a consumer claims, waits, and claims again, and
the tests bound the time until it has its job.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from ferroq import Job, JobState
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, names, put, put_claimed, settle, soon, stored

PUSHED = 0.75
"""Seconds within which a pushed wake must arrive, on a busy machine: well under the second of a poll."""

NOTICED = 2.0
"""Seconds within which a due job or a lapse must be noticed: the promised one, and one for a busy machine."""


async def consume(storage: Storage, worker: str, queues: list[str] | None = None) -> Job:
    """What a worker does: claim, else wait."""
    while True:
        job = await storage.fetch_and_lock_job(worker, queues, lock_timeout=LONG)
        if job is not None:
            return job
        assert await storage.wait_for_jobs(queues) is True


async def waiting(storage: Storage, worker: str = "waiter", queues: list[str] | None = None) -> asyncio.Task[Job]:
    """A consumer that found nothing and is waiting now (or very nearly: a wake in between must count as well)."""
    task = asyncio.ensure_future(consume(storage, worker, queues))
    await asyncio.wait([task], timeout=0.02)
    assert not task.done(), "it was to find nothing"
    return task


class WaitContract:
    """`wait_for_jobs`."""

    @promises("Q16")
    async def test_it_returns_at_once_when_a_job_is_there(self, storage: Storage) -> None:
        await put(storage, "x", queue="mail")
        for queues in (None, ["mail"], ["web", "mail"]):
            for timeout in (None, 60, 0):
                assert await soon(storage.wait_for_jobs(queues, timeout), PUSHED) is True

    @promises("Q16")
    async def test_it_gives_up_after_its_timeout(self, storage: Storage) -> None:
        await put(storage, "elsewhere", queue="other")
        job = await claim(storage, queues=["other"])
        assert job.id == "elsewhere"
        for timeout in (0, 0.0, 0.2):
            start = time.monotonic()
            # Spurious wakes are allowed, so ask until one time-out has really passed.
            answers: list[bool] = []
            while not answers or answers[-1]:
                answers.append(await soon(storage.wait_for_jobs(timeout=timeout)))
                assert len(answers) < 100, "it never sleeps"
            assert answers[-1] is False
            assert time.monotonic() - start >= timeout * 0.95

    @promises("Q16", "L5")
    @pytest.mark.parametrize(
        "way",
        [
            "enqueue",
            "enqueue_many",
            "enqueue of what is due already",
            "update to enqueued",
            "update to a due time in the past",
            "update of the queue",
            "release_jobs",
            "release of a claim",
            "release of an explicit lock",
            "delete of a locked id",
        ],
    )
    @pytest.mark.parametrize("queues", [None, ["mail"]])
    async def test_whatever_makes_a_job_available_wakes_a_waiter(
        self, backend: ContractBackend, storage: Storage, way: str, queues: list[str] | None
    ) -> None:
        other = await backend.reopen(storage)
        now = await backend.now()
        job = Job("work", id="x", queue="mail")
        if way.startswith("update"):
            job.set_state(JobState.scheduled(now + timedelta(days=1)))
            await other.enqueue(job)
            job.set_state(JobState.scheduled(now) if "due" in way else JobState.enqueued("mail"))
            if way == "update of the queue":
                await other.delete("x")
                job = Job("work", id="x", queue="web")
                await other.enqueue(job)
                job.queue = "mail"
                queues = ["mail"]
        elif way in ("release_jobs", "release of a claim"):
            await other.enqueue(job)
            job = await claim(other, B)
        elif way == "release of an explicit lock":
            await other.try_acquire_job_lock("x", B, LONG)
            await other.enqueue(job)
        elif way == "delete of a locked id":
            await other.try_acquire_job_lock("x", B, LONG)

        async def act() -> None:
            if way.startswith("enqueue of"):
                job.set_state(JobState.scheduled(now - timedelta(seconds=1)))
                await other.enqueue(job)
            elif way == "enqueue":
                await other.enqueue(job)
            elif way == "enqueue_many":
                await other.enqueue_many([job])
            elif way.startswith("update"):
                await other.update(job)
            elif way == "release_jobs":
                assert await other.release_jobs([job]) == [True]
            elif way == "delete of a locked id":
                await other.enqueue(job)
                await other.delete("x")
                await other.enqueue(Job("work", id="x", queue="mail"))
            else:
                assert await other.release_job_lock("x", B)

        task = await waiting(storage, A, queues)
        await act()
        assert (await soon(task, PUSHED)).id == "x"

    @promises("Q16")
    @pytest.mark.parametrize("at_once", [True, False])
    async def test_each_job_finds_its_own_waiter(
        self, backend: ContractBackend, storage: Storage, at_once: bool
    ) -> None:
        clients = [storage, await backend.reopen(storage)]
        tasks = [await waiting(clients[index % 2], f"w{index}", ["mail"]) for index in range(6)]
        jobs = [Job("work", id=f"x{index}", queue="mail") for index in range(6)]
        if at_once:
            await storage.enqueue_many(jobs)
        else:
            for job in jobs:
                await storage.enqueue(job)
        done = await soon(asyncio.gather(*tasks), 2 * PUSHED)
        assert sorted(names(done)) == names(jobs)

    @promises("Q16", "Q22")
    async def test_waiters_of_other_queues_do_not_swallow_a_wake(self, storage: Storage) -> None:
        before = [await waiting(storage, f"b{index}", ["web"]) for index in range(3)]
        mine = await waiting(storage, A, ["mail", "news"])
        after = [await waiting(storage, f"a{index}", ["web"]) for index in range(3)]
        await put(storage, "x", queue="news")
        assert (await soon(mine, PUSHED)).id == "x"
        everything = await waiting(storage, B)
        await put(storage, "y", queue="a queue that nobody named")
        assert (await soon(everything, PUSHED)).id == "y"
        # None of them was told of the others' jobs; which of them a job of theirs wakes is nobody's promise.
        web = {*before, *after}
        for index in range(len(web)):
            assert not any(task.done() for task in web)
            await put(storage, f"web{index}", queue="web")
            done, web = await asyncio.wait(web, timeout=PUSHED, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1

    @promises("Q16", "L7")
    @pytest.mark.parametrize("survivor", [0, 1, 2, 3])
    @pytest.mark.parametrize("cancel_first", [True, False])
    async def test_a_cancelled_waiter_does_not_swallow_a_wake(
        self, storage: Storage, survivor: int, cancel_first: bool
    ) -> None:
        # The others only wait; whoever of them was meant to get the wake is gone before it could act on it.
        tasks: list[asyncio.Task[Job] | asyncio.Task[bool]] = []
        for index in range(4):
            if index == survivor:
                tasks.append(await waiting(storage, A))
            else:
                tasks.append(asyncio.ensure_future(storage.wait_for_jobs()))
                await asyncio.wait(tasks[-1:], timeout=0.02)
        others = [task for index, task in enumerate(tasks) if index != survivor]
        if cancel_first:
            for task in others:
                task.cancel()
            await put(storage, "x")
        else:
            await put(storage, "x")
            for task in others:
                task.cancel()
        job = await soon(tasks[survivor], PUSHED)
        assert isinstance(job, Job)
        assert job.id == "x"
        await asyncio.wait(others, timeout=PUSHED)
        assert all(task.done() for task in others)

    @promises("Q16", "L7")
    async def test_a_waiter_that_times_out_takes_nothing_along(self, storage: Storage) -> None:
        for round_ in range(5):
            task = await waiting(storage, A)
            short = [asyncio.ensure_future(storage.wait_for_jobs(timeout=0.01 * index)) for index in range(4)]
            await asyncio.wait(short[:3], timeout=0.02)
            await put(storage, f"x{round_}")
            assert (await soon(task, PUSHED)).id == f"x{round_}"
            await soon(asyncio.gather(*short), PUSHED)

    @promises("Q16", "Q23")
    @pytest.mark.parametrize("way", ["scheduled", "awaiting_retry", "lapse", "released with a delay", "explicit lock"])
    async def test_what_comes_due_or_lapses_is_noticed(
        self, backend: ContractBackend, storage: Storage, way: str
    ) -> None:
        due = await backend.now() + timedelta(seconds=SHORT)
        if way == "lapse":
            await put_claimed(storage, lock_timeout=SHORT)
        elif way == "released with a delay":
            await storage.release_jobs([await put_claimed(storage)], delay=SHORT)
        elif way == "explicit lock":
            await storage.try_acquire_job_lock("x", B, SHORT)
            await put(storage, "x")
        else:
            state = JobState.scheduled(due) if way == "scheduled" else JobState.awaiting_retry(due, 1, "no")
            await storage.enqueue(Job("work", id="x", state=state))
        task = await waiting(storage)
        await backend.advance(SHORT - 10)
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        await backend.advance(11)
        assert (await soon(task, NOTICED)).id == "x"

    @promises("Q16", "Q23")
    async def test_a_due_time_on_the_running_clock(self, backend: ContractBackend, storage: Storage) -> None:
        # No advance before the wait: what is due already, or lapsed already, must be seen at once.
        await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        assert await soon(storage.wait_for_jobs(timeout=60), NOTICED) is True
        await settle(storage, await claim(storage))
        state = JobState.scheduled(await backend.now() - timedelta(seconds=1))
        await storage.enqueue(Job("work", id="y", state=state))
        assert await soon(storage.wait_for_jobs(timeout=60), NOTICED) is True

    @promises("Q16")
    async def test_an_earlier_due_time_moves_the_alarm(self, backend: ContractBackend, storage: Storage) -> None:
        now = await backend.now()
        [far, near] = [
            Job("work", id=id_, state=JobState.scheduled(now + timedelta(seconds=seconds)))
            for id_, seconds in [("far", 5000), ("near", 4000)]
        ]
        await storage.enqueue(far)
        task = await waiting(storage)
        await storage.enqueue(near)
        far.set_state(JobState.scheduled(now + timedelta(seconds=100)))
        await storage.update(far)
        await backend.advance(101)
        assert (await soon(task, NOTICED)).id == "far"

    @promises("Q16", "L1")
    async def test_a_shortened_claim_moves_the_alarm(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=LONG)
        task = await waiting(storage, B)
        assert await storage.extend_job_locks([job], SHORT) == [True]
        await backend.advance(SHORT + 1)
        assert (await soon(task, NOTICED)).crash_count == 1

    @promises("Q16", "Q19")
    async def test_waiters_of_every_client_are_woken(self, backend: ContractBackend, storage: Storage) -> None:
        other, third = await backend.reopen(storage), storage.clone()
        async with third:
            wait_and_wake: list[tuple[Storage, Storage]] = [(storage, other), (other, third), (third, storage)]
            for index, (waiter, waker) in enumerate(wait_and_wake):
                task = await waiting(waiter)
                await put(waker, f"x{index}")
                assert (await soon(task, PUSHED)).id == f"x{index}"

    @promises("Q16", "L7")
    async def test_a_cancelled_wait_harms_nothing(self, storage: Storage) -> None:
        for _ in range(3):
            task = asyncio.ensure_future(storage.wait_for_jobs())
            await asyncio.wait([task], timeout=0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(task, 2.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await storage.wait_for_jobs()
        await put(storage, "x")
        assert await soon(storage.wait_for_jobs(timeout=1), PUSHED) is True
        assert (await claim(storage)).id == "x"

    @promises("Q16")
    async def test_a_producer_and_consumers_lose_nothing(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        done: list[str] = []

        async def worker(name: str, client: Storage) -> None:
            while True:
                job = await consume(client, name)
                await settle(client, job)
                done.append(job.id)

        async def all_done() -> None:
            while len(done) < 60:
                await asyncio.sleep(0.005)

        workers = [asyncio.ensure_future(worker(f"w{index}", (storage, other)[index % 2])) for index in range(4)]
        try:
            for index in range(60):
                await put(storage, f"x{index}")
                if index % 7 == 0:
                    await asyncio.sleep(0.001)
            await soon(all_done())
        finally:
            for task in workers:
                task.cancel()
            await asyncio.wait(workers, timeout=2.0)
        assert sorted(done) == sorted(f"x{index}" for index in range(60))
        assert (await stored(storage, "x0")).attempt == 1
