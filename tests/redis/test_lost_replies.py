"""What a caller sees when an answer does not arrive: the first answer after all, or an error that says "unknown"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import StorageConnectionError, StorageTimeoutError
from ferroq.redis import wire
from ferroq.testing.contract import promises

from .support import BOUND, Proxy, put, storage_on

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]

CUTS = (0.0, 0.5)
"""Nothing of the answer arrives, or half of it."""


@pytest.fixture
async def proxy(anyio_backend: str, redis_url: str) -> AsyncIterator[Proxy]:
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    async with Proxy(port) as proxy:
        yield proxy


@pytest.mark.parametrize("keep", CUTS)
@pytest.mark.parametrize("limit", [1, 50])
@promises("L7", "E4")
async def test_a_claim_is_answered_as_the_first_time(proxy: Proxy, keep: float, limit: int) -> None:
    async with storage_on(proxy.url) as storage:
        jobs = await put(storage, 100)
        proxy.lose_next(keep)
        claimed = await storage.fetch_available_jobs_atomic("w", limit)
        assert [job.id for job in claimed] == [job.id for job in jobs[:limit]]
        assert {job.attempt for job in claimed} == {1}
        assert (await storage.get_job_counts())[JobStateKind.PROCESSING] == limit
        for job in claimed:
            job.set_state(JobState.succeeded(1))
        assert await storage.update_many(claimed) == [None] * limit
        assert await storage.verify() == []


@pytest.mark.parametrize("keep", CUTS)
@pytest.mark.parametrize("kept", [None, 0])
@promises("L3", "C1", "E4")
async def test_a_settlement_is_answered_as_the_first_time(proxy: Proxy, keep: float, kept: int | None) -> None:
    async with storage_on(proxy.url, keep_succeeded=kept) as storage:
        await put(storage, 20)
        claimed = await storage.fetch_available_jobs_atomic("w", 20)
        for job in claimed:
            job.set_state(JobState.succeeded(1))
        proxy.lose_next(keep)
        assert await storage.update_many(claimed) == [None] * 20
        assert {(job.version, job.lock) for job in claimed} == {(3, None)}
        assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == (0 if kept == 0 else 20)
        assert await storage.verify() == []


@promises("L3", "E4")
async def test_an_unlocked_update_is_answered_as_the_first_time(proxy: Proxy) -> None:
    async with storage_on(proxy.url) as storage:
        [job] = await put(storage, 1)
        job.priority = 5
        proxy.lose_next()
        await storage.update(job)
        assert job.version == 2
        assert await storage.get(job.id) == job


@promises("Q15", "Q14")
async def test_a_release_and_a_renewal_are_answered_as_the_first_time(proxy: Proxy) -> None:
    async with storage_on(proxy.url) as storage:
        await put(storage, 5)
        claimed = await storage.fetch_available_jobs_atomic("w", 5)
        proxy.lose_next()
        assert await storage.extend_job_locks(claimed, 99) == [True] * 5
        proxy.lose_next()
        assert await storage.release_jobs(claimed) == [True] * 5
        assert {(job.attempt, job.version, job.lock) for job in claimed} == {(0, 3, None)}
        assert [job.version for job in await storage.list()] == [3] * 5


@promises("Q1", "E4")
async def test_an_enqueue_is_not_sent_twice(proxy: Proxy) -> None:
    async with storage_on(proxy.url) as storage:
        proxy.lose_next()
        with pytest.raises(StorageConnectionError) as caught:
            await storage.enqueue(Job("work", id="x"))
        assert (caught.value.outcome, caught.value.operation, caught.value.retryable) == ("unknown", "enqueue", True)
        assert await storage.get("x") is not None
        proxy.lose_next()
        assert await storage.enqueue(Job("work", id="y"), if_exists="skip") in (True, False)
        assert await storage.get("y") is not None


@promises("Q12", "E4")
async def test_a_lost_chunk_says_how_many_came_before(proxy: Proxy) -> None:
    async with storage_on(proxy.url) as storage:
        answers = 0

        def second(data: bytes) -> bytes | None:
            nonlocal answers
            answers += 1
            return None if answers == 2 else data

        proxy.spoil = second
        with pytest.raises(StorageConnectionError) as caught:
            await storage.enqueue_many([Job("work") for _ in range(2500)])
        proxy.spoil = None
        assert (caught.value.outcome, caught.value.stored) == ("unknown", 1000)
        assert sum((await storage.get_job_counts()).values()) == 2000
        assert await storage.verify() == []


@promises("E4")
async def test_a_server_that_never_answers(proxy: Proxy) -> None:
    async with storage_on(proxy.url, command_timeout=0.3) as storage:
        await put(storage, 3)
        proxy.deaf = True
        calls = (
            storage.enqueue(Job("work")),
            storage.get("x"),
            storage.list(),
            storage.fetch_and_lock_job("w"),
            storage.delete("job-1"),
            storage.get_job_counts(),
        )
        async with asyncio.timeout(BOUND):
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, StorageTimeoutError), error
                assert (error.outcome, error.retryable) == ("unknown", True)
        proxy.deaf = False
        assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == 0
        assert await storage.verify() == []


@promises("E4")
async def test_no_connection_comes_free(proxy: Proxy) -> None:
    async with storage_on(proxy.url, pool_size=1, command_timeout=1, connection_timeout=0.2) as storage:
        proxy.deaf = True
        holding = asyncio.ensure_future(storage.get("x"))
        await asyncio.wait([holding], timeout=0.05)
        with pytest.raises(StorageTimeoutError) as caught:
            await storage.enqueue(Job("work"))
        assert caught.value.outcome == "not_applied"
        with pytest.raises(StorageTimeoutError):
            await holding


@promises("L7")
async def test_a_cancelled_claim_whose_answer_is_lost_is_asked_for_again(proxy: Proxy) -> None:
    async with storage_on(proxy.url) as storage:
        await put(storage, 1)
        proxy.lose_next()
        claim = asyncio.ensure_future(storage.fetch_and_lock_job("w"))
        await asyncio.sleep(0)
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        assert proxy.spoil is None
        [job] = await storage.list()
        # Enqueued, claimed and given back.
        assert (job.state.kind, job.attempt, job.version) == (JobStateKind.ENQUEUED, 0, 3)
        assert await storage.verify() == []


@promises("L7")
@pytest.mark.parametrize("limit", [1, 20])
async def test_a_claim_cancelled_between_its_answer_and_its_turn_is_given_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    async with storage_on(redis_url) as storage:
        await put(storage, 20)
        receive = wire._Answers.data_received

        def receive_and_cancel(answers: wire._Answers, data: bytes) -> None:
            receive(answers, data)
            monkeypatch.undo()
            claim.cancel()

        monkeypatch.setattr(wire._Answers, "data_received", receive_and_cancel)
        claim = asyncio.ensure_future(storage.fetch_available_jobs_atomic("w", limit))
        begun = asyncio.get_running_loop().time()
        with pytest.raises(asyncio.CancelledError):
            await claim
        assert asyncio.get_running_loop().time() - begun < BOUND
        jobs = await storage.list()
        assert {(job.state.kind, job.attempt) for job in jobs} == {(JobStateKind.ENQUEUED, 0)}
        assert len({job.id for job in jobs if job.version == 3}) == limit, "claimed and given back"
        assert await storage.verify() == []


@promises("L7", "Q20")
async def test_a_cancelled_claim_without_an_answer_ends_within_a_second(proxy: Proxy) -> None:
    async with storage_on(proxy.url, command_timeout=1.5) as storage:
        await put(storage, 1)
        proxy.deaf = True
        claim = asyncio.ensure_future(storage.fetch_and_lock_job("w"))
        await asyncio.wait([claim], timeout=0.05)
        loop = asyncio.get_running_loop()
        start = loop.time()
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        assert loop.time() - start < 1.4
        proxy.deaf = False
