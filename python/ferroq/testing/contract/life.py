"""Clones, closing, cancelling, forks, and stores that do not know each other [Q19, Q20, L7, E1, C6, C5]."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import ForkedStorageError, StorageClosedError, StorageError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, held, kind, names, put, put_claimed, put_many, settle, soon, stored

CALLS: dict[str, tuple[Any, ...]] = {
    "enqueue": (Job("work"),),
    "get": ("x",),
    "update": (Job("work"),),
    "delete": ("x",),
    "list": (),
    "get_job_counts": (),
    "get_available_jobs": (),
    "fetch_and_lock_job": (A,),
    "try_acquire_job_lock": ("x", A, LONG),
    "release_job_lock": ("x", A),
    "fetch_available_jobs_atomic": (A, 1),
    "enqueue_many": ([Job("work")],),
    "update_many": ([Job("work")],),
    "extend_job_locks": ([Job("work")], LONG),
    "release_jobs": ([Job("work")],),
    "wait_for_jobs": (None, 0),
    "purge": ("failed", 0),
    "verify": (),
}
"""Each method with arguments that are fine."""


class LifeContract:
    """How storages begin, multiply and end."""

    @promises("Q19", "C5")
    async def test_a_clone_is_another_client_of_the_store(self, storage: Storage) -> None:
        await put(storage, "x")
        clone = storage.clone()
        assert clone is not storage
        assert type(clone) is type(storage)
        # Opened by its first use.
        assert (await stored(clone, "x")).version == 1
        job = await claim(clone)
        assert await storage.extend_job_locks([job], LONG) == [True]
        await clone.close()
        with pytest.raises(StorageClosedError):
            await clone.get("x")
        # Closed apart from the original.
        await settle(storage, job)
        assert await storage.get("x") == job

    @promises("Q19", "Q20")
    async def test_a_clone_outlives_its_original(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "x")
        clone = storage.clone()
        await storage.close()
        with pytest.raises(StorageClosedError):
            await storage.get("x")
        async with clone as opened:
            assert opened is clone
            assert (await claim(clone)).id == "x"

    @promises("Q19", "C1")
    async def test_a_clone_has_the_same_configuration(self, backend: ContractBackend) -> None:
        storage = await backend.open(server_name="here", lock_timeout=SHORT, max_crashes=1, max_payload_bytes=1000)
        async with storage.clone() as clone:
            await put(clone, "x")
            job = await clone.fetch_and_lock_job(A)
            assert job is not None
            assert isinstance(job.state, JobState.Processing)
            assert job.state.server_name == "here"
            await backend.advance(SHORT + 1)
            assert await clone.fetch_and_lock_job(B) is None
            assert kind(await clone.get("x")) is JobStateKind.FAILED
            with pytest.raises(StorageError, match="1000"):
                await clone.enqueue(Job("work", ["x" * 1000]))

    @promises("C5")
    async def test_a_storage_opens_by_await_and_by_with(self, storage: Storage) -> None:
        assert await storage is storage
        await storage.open()
        clone = storage.clone()
        assert await clone is clone
        await clone.close()
        async with storage.clone() as clone:
            assert await clone.get("x") is None
        with pytest.raises(StorageClosedError):
            await clone.get("x")

    @promises("Q20", "E4")
    async def test_a_closed_storage_says_so(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await storage.close()
        await storage.close()
        for method, arguments in CALLS.items():
            with pytest.raises(StorageClosedError) as caught:
                await soon(getattr(storage, method)(*arguments))
            error = caught.value
            assert (error.backend, error.operation) == (backend.name, method)
            assert (error.retryable, error.outcome) == (False, "not_applied")
        with pytest.raises(StorageClosedError):
            storage.clone()
        with pytest.raises(StorageClosedError):
            await storage.open()
        with pytest.raises(StorageClosedError):
            async with storage:
                raise AssertionError("it opened again")
        await storage.close()

    @promises("Q20")
    async def test_a_storage_that_was_never_opened_closes_too(self, storage: Storage) -> None:
        clone = storage.clone()
        await clone.close()
        with pytest.raises(StorageClosedError):
            await clone.get_job_counts()

    @promises("Q20", "Q16")
    async def test_closing_wakes_waiters(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        async with storage.clone() as other:
            tasks = [asyncio.ensure_future(storage.wait_for_jobs(queues)) for queues in (None, ["a"], ["b", "c"])]
            beside = asyncio.ensure_future(other.wait_for_jobs())
            await asyncio.wait([*tasks, beside], timeout=0.05)
            await soon(storage.close())
            for task in tasks:
                with pytest.raises(StorageClosedError) as caught:
                    await soon(task)
                assert caught.value.operation == "wait_for_jobs"
            # Another client's waiter sleeps on.
            await put(other, "x")
            assert await soon(beside) is True

    @promises("Q20")
    async def test_closing_leaves_no_call_hanging(self, backend: ContractBackend) -> None:
        for turns in range(10):
            storage = await backend.open()
            await put_many(storage, [f"{index:03}" for index in range(200)])
            calls: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(call)
                for call in (
                    storage.list(),
                    storage.fetch_available_jobs_atomic(A, 100),
                    storage.enqueue_many([Job("work") for _ in range(100)]),
                    storage.wait_for_jobs(["none"]),
                    storage.get_job_counts(),
                )
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            await soon(storage.close())
            await asyncio.wait(calls, timeout=5.0)
            for call in calls:
                assert call.done(), "a call outlives its storage"
                error = call.exception()
                assert error is None or isinstance(error, StorageError), repr(error)
            assert isinstance(calls[3].exception(), StorageClosedError)

    @promises("Q20", "Q12", "Q13")
    async def test_calls_of_several_steps_end_before_the_storage_does(self, backend: ContractBackend) -> None:
        first = await backend.open()
        old = [Job("work", id=f"{index:04}") for index in range(2500)]
        await first.enqueue_many(old)
        for job in old:
            job.priority = 1
        calls = [
            asyncio.ensure_future(first.enqueue_many([Job("work") for _ in range(2500)])),
            asyncio.ensure_future(first.update_many(old)),
            asyncio.ensure_future(first.list(limit=2500)),
        ]
        await asyncio.sleep(0)
        await soon(first.close())
        stored_, verdicts, listed = await soon(asyncio.gather(*calls))
        assert stored_ == [True] * 2500
        assert verdicts == [None] * 2500
        assert len(listed) == 2500

    @promises("Q20")
    async def test_a_cancelled_close_has_closed(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        pair: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(storage.enqueue_many([Job("work") for _ in range(5000)]))
        ]
        await asyncio.sleep(0)
        pair.append(asyncio.ensure_future(storage.close()))
        await asyncio.sleep(0)
        call, closing = pair
        closing.cancel()
        await asyncio.wait(pair, timeout=10.0)
        assert all(task.done() for task in pair)
        assert call.exception() is None or isinstance(call.exception(), StorageError)
        await storage.close()
        with pytest.raises(StorageClosedError):
            await storage.get("x")

    # A driver may say, rightly, that what its loop left open was never closed.
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @promises("Q20", "E1")
    async def test_a_storage_whose_loop_has_ended_can_be_closed(self, storage: Storage) -> None:
        def ended() -> Storage:
            async def use() -> Storage:
                other = storage.clone()
                await other.get_job_counts()
                return other

            return asyncio.run(use())

        left = await asyncio.to_thread(ended)
        # There is nothing to wait for any more; what it had is told apart from a loop that is running elsewhere.
        await soon(left.close())
        with pytest.raises(StorageClosedError):
            await left.get("x")
        del left
        gc.collect()

    @promises("C6", "L5")
    async def test_two_stores_never_see_each_other(self, backend: ContractBackend) -> None:
        one, two = await backend.open(), await backend.open()
        first, second = Job("first", id="x", queue="q"), Job("second", id="x", queue="q")
        assert await one.enqueue(first)
        assert await two.list() == []
        assert await two.get("x") is None
        assert await two.delete("x") is False
        assert sum((await two.get_job_counts()).values()) == 0
        assert await two.fetch_and_lock_job(A) is None
        assert await one.try_acquire_job_lock("x", A, LONG)
        assert await two.try_acquire_job_lock("x", B, LONG)
        assert await two.release_job_lock("x", B)
        assert await two.enqueue(second)
        assert (await claim(two)).method == "second"
        assert await one.fetch_and_lock_job(A) is None
        waiter = asyncio.ensure_future(one.wait_for_jobs(["other"], 60))
        await put(two, "y", queue="other")
        await asyncio.wait([waiter], timeout=0.05)
        assert await one.fetch_and_lock_job(A, ["other"]) is None
        await put(one, "z", queue="other")
        assert await soon(waiter) is True
        assert names(await one.list()) == ["z", "x"]
        for store in (one, two):
            assert await store.verify() == []

    @promises("E1")
    async def test_a_forked_child_is_told_at_once(self, storage: Storage) -> None:
        await put(storage, "x")
        unopened = storage.clone()

        def child() -> str:
            for method, arguments in CALLS.items():
                try:
                    asyncio.run(_bounded(getattr(storage, method)(*arguments)))
                except ForkedStorageError as error:
                    if error.operation != method:
                        return f"{method}: operation is {error.operation!r}"
                except BaseException as error:
                    return f"{method}: {error!r}"
                else:
                    return f"{method}: no error"
            for inherited in (storage, unopened):
                try:
                    inherited.clone()
                except ForkedStorageError:
                    pass
                else:
                    return "clone: no error"
                # What it has is the parent's: there is nothing to close here, and nothing is.
                asyncio.run(_bounded(inherited.close()))
            return ""

        assert await in_child(child) == ""
        # Nothing of it reached the parent's store.
        assert names(await storage.get_available_jobs()) == ["x"]
        assert (await claim(storage)).attempt == 1


async def _bounded(call: Awaitable[Any]) -> Any:
    async with asyncio.timeout(2.0):
        return await call


async def in_child(body: Callable[[], str]) -> str:
    """What `body` returns in a forked child, which never returns into the caller's loop."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Newer interpreters warn of forks beside threads: a fork beside threads is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        answer = "the child's body did not end"
        try:
            answer = body()
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writer, answer.encode()[:4000])
            os._exit(0)
    os.close(writer)
    try:
        answer = await soon(asyncio.to_thread(_read_all, reader))
    except TimeoutError:
        os.kill(child, 9)
        raise
    finally:
        os.waitpid(child, 0)
        os.close(reader)
    return str(answer)


def _read_all(reader: int) -> str:
    parts = []
    while part := os.read(reader, 4096):
        parts.append(part)
    return b"".join(parts).decode()


class CancelContract:
    """Cancelling a call in flight [L7]."""

    MOMENTS = 40
    """How many different moments of a call are tried: so many turns of the loop after its start."""

    async def cancelled(self, call: Awaitable[Any], turns: int) -> tuple[bool, Any]:
        """Starts a call and cancels it after some turns: whether it was cancelled, else its result."""
        task = asyncio.ensure_future(call)
        if turns % 2:
            # Real servers answer after some hundred microseconds: spread the moments over such a time.
            await asyncio.sleep(random.Random(turns).random() * 0.002)
        for _ in range(turns // 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5.0)
        assert task.done(), "a cancelled call hangs"
        if task.cancelled():
            return True, None
        return False, task.result()

    @promises("L7", "Q8")
    async def test_a_cancelled_claim_leaves_nothing_claimed(self, storage: Storage) -> None:
        await put(storage, "x")
        for turns in range(self.MOMENTS):
            cancelled, job = await self.cancelled(storage.fetch_and_lock_job(A, lock_timeout=LONG), turns)
            if cancelled:
                back = await stored(storage, "x")
                assert (kind(back), back.attempt, back.crash_count) == (JobStateKind.ENQUEUED, 0, 0), turns
                assert names(await storage.get_available_jobs()) == ["x"]
            else:
                assert job.id == "x"
                assert await storage.release_jobs([job]) == [True]

    @promises("L7", "L1", "Q1")
    @pytest.mark.parametrize("many", [False, True])
    async def test_a_cancelled_enqueue_as_processing_leaves_nothing_claimed(self, storage: Storage, many: bool) -> None:
        for turns in range(self.MOMENTS // 2):
            state = JobState.processing(A, "host")
            jobs = [Job("work", id=f"{turns}-{index}", state=state) for index in range(3 if many else 1)]
            call = storage.enqueue_many(jobs) if many else storage.enqueue(jobs[0])
            cancelled, _ = await self.cancelled(call, turns)
            for job in jobs:
                found = await storage.get(job.id)
                if cancelled and found is not None:
                    assert (kind(found), found.attempt, found.crash_count) == (JobStateKind.ENQUEUED, 0, 0), turns
                elif not cancelled:
                    assert kind(found) is JobStateKind.PROCESSING

    @promises("L7", "L1", "Q3")
    @pytest.mark.parametrize("many", [False, True])
    async def test_a_cancelled_update_to_processing_leaves_nothing_claimed(self, storage: Storage, many: bool) -> None:
        for turns in range(self.MOMENTS // 2):
            jobs = [Job("work", id=f"{turns}-{index}") for index in range(3 if many else 1)]
            await storage.enqueue_many(jobs)
            for job in jobs:
                job.set_state(JobState.processing(A, "host"))
            call: Awaitable[Any] = storage.update_many(jobs) if many else storage.update(jobs[0])
            cancelled, _ = await self.cancelled(call, turns)
            for job in jobs:
                found = await stored(storage, job.id)
                expected = (JobStateKind.ENQUEUED, 0) if cancelled else (JobStateKind.PROCESSING, 1)
                assert (kind(found), found.attempt) == expected, turns

    @promises("L7", "Q11")
    async def test_a_cancelled_batch_leaves_nothing_claimed(self, storage: Storage) -> None:
        ids = [f"{index:02}" for index in range(30)]
        await put_many(storage, ids)
        for turns in range(self.MOMENTS):
            cancelled, jobs = await self.cancelled(storage.fetch_available_jobs_atomic(A, 20, lock_timeout=LONG), turns)
            if not cancelled:
                assert names(jobs) == ids[:20]
                assert await storage.release_jobs(jobs) == [True] * 20
            assert names(await storage.get_available_jobs()) == ids, turns
        assert {job.attempt for job in await storage.list()} == {0}

    @promises("L7")
    async def test_cancelled_by_a_time_out(self, storage: Storage) -> None:
        await put(storage, "x")
        job: Job | None = None
        try:
            async with asyncio.timeout(0):
                job = await storage.fetch_and_lock_job(A, lock_timeout=LONG)
        except TimeoutError as error:
            assert not isinstance(error, StorageError), "a caller's own time-out is never wrapped"
        if job is not None:
            assert await storage.release_jobs([job]) == [True]
        assert names(await storage.get_available_jobs()) == ["x"]

    @promises("L7", "L3", "Q3")
    async def test_a_cancelled_settlement_is_done_or_not(self, storage: Storage) -> None:
        for turns in range(self.MOMENTS):
            job = await put_claimed(storage, f"x{turns}")
            token = held(job).token
            job.set_state(JobState.succeeded(1))
            cancelled, _ = await self.cancelled(storage.update(job), turns)
            now = kind(await storage.get(job.id))
            assert now in (JobStateKind.PROCESSING, JobStateKind.SUCCEEDED)
            assert cancelled or now is JobStateKind.SUCCEEDED
            if job.lock is not None:
                # Nothing was written back: the caller may repeat the call.
                assert held(job).token == token
                await storage.update(job)
            assert await storage.get(job.id) == job

    @promises("L7", "Q15", "Q14")
    async def test_a_cancelled_release_is_done_or_not(self, storage: Storage) -> None:
        await put(storage, "x")
        for turns in range(self.MOMENTS):
            job = await claim(storage)
            await self.cancelled(storage.extend_job_locks([job], LONG), turns)
            assert held(job).worker_id == A
            await self.cancelled(storage.release_jobs([job]), turns)
            if job.lock is not None:
                # Nothing was written back: a repeat is accepted, whether or not the first call was carried out.
                assert await storage.release_jobs([job]) == [True]
            assert (await stored(storage, "x")).attempt == 0
            assert names(await storage.get_available_jobs()) == ["x"]

    @promises("L7", "Q1", "Q12")
    async def test_a_cancelled_enqueue_is_done_or_not(self, storage: Storage) -> None:
        for turns in range(self.MOMENTS):
            one = Job("work", id=f"x{turns}")
            many = [Job("work", id=f"m{turns}-{index}") for index in range(3)]
            await self.cancelled(storage.enqueue(one), turns)
            await self.cancelled(storage.enqueue_many(many), turns)
            present = [job for job in many if await storage.get(job.id) is not None]
            assert len(present) in (0, 3)
            assert await storage.enqueue(one, if_exists="skip") in (True, False)
            assert kind(await storage.get(one.id)) is JobStateKind.ENQUEUED

    @promises("L7")
    async def test_a_cancelled_call_harms_no_other(self, storage: Storage) -> None:
        await put(storage, *(f"x{index}" for index in range(5)))
        for turns in range(self.MOMENTS):
            beside = [asyncio.ensure_future(storage.get(f"x{index}")) for index in range(3)]
            await self.cancelled(storage.get_job_counts(), turns)
            await self.cancelled(storage.list(), turns)
            # Each answer belongs to its question.
            assert names(await asyncio.gather(*beside)) == ["x0", "x1", "x2"]  # type: ignore[arg-type]
            assert (await stored(storage, f"x{turns % 5}")).id == f"x{turns % 5}"
            assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 5
