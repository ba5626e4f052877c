"""Replies that are lost, calls that are cancelled, servers that say nothing [L7, E4]."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import StorageConnectionError, StorageTimeoutError
from ferroq.postgres import PostgresStorage
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

from .proxy import Proxy

pytestmark = pytest.mark.anyio

# Each test makes its call once before the reply of another is lost: the first one would lose the answer to PREPARE.


@pytest.fixture
async def proxy(postgres_dsn: str) -> AsyncIterator[Proxy]:
    parts = urlsplit(postgres_dsn)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        yield proxy


@pytest.fixture
async def far(backend: PostgresBackend, storage: PostgresStorage, proxy: Proxy) -> PostgresStorage:
    """A client of the same store, behind the proxy, with one connection."""
    parts = urlsplit(backend.dsn)
    address = parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}").geturl()
    far = backend.made(
        storage.config.schema_name, database_url=address, max_connections=1, listen=False, command_timeout=2
    )
    await far.open()
    return far


@promises("Q8", "Q11", "L7")
@pytest.mark.parametrize("limit", [1, 5])
async def test_a_resent_claim_answers_as_the_first(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy, limit: int
) -> None:
    assert await far.fetch_available_jobs_atomic("w", limit) == []
    await storage.enqueue_many([Job("work", id=f"j{index}") for index in range(10)])
    proxy.losing = True
    jobs = await far.fetch_available_jobs_atomic("w", limit)
    assert proxy.lost == 1
    assert [job.id for job in jobs] == [f"j{index}" for index in range(limit)]
    assert {job.attempt for job in jobs} == {1}
    assert (await storage.get_job_counts())[JobStateKind.PROCESSING] == limit
    for job in jobs:
        job.set_state(JobState.succeeded(1))
    assert await far.update_many(jobs) == [None] * limit


@promises("L3", "Q13")
@pytest.mark.parametrize("keep", [None, 0])
async def test_a_resent_settlement_answers_as_the_first(
    backend: PostgresBackend, proxy: Proxy, keep: float | None
) -> None:
    storage = await backend.open(keep_succeeded=keep)
    assert isinstance(storage, PostgresStorage)
    parts = urlsplit(backend.dsn)
    address = parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}").geturl()
    far = backend.made(
        storage.config.schema_name, database_url=address, max_connections=1, listen=False, keep_succeeded=keep
    )
    await storage.enqueue_many([Job("work") for _ in range(6)])
    first, *jobs = await far.fetch_available_jobs_atomic("w", 6)
    for job in (first, *jobs):
        job.set_state(JobState.succeeded(1))
    await far.update(first)
    proxy.losing = True
    assert await far.update_many(jobs) == [None] * 5
    assert proxy.lost == 1
    assert {job.version for job in jobs} == {3}
    assert all(job.lock is None for job in jobs)
    assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == (6 if keep is None else 0)


@promises("L3", "E4")
async def test_a_resent_settlement_of_a_lapsed_claim_that_is_not_kept_is_unknown(
    backend: PostgresBackend, proxy: Proxy
) -> None:
    """Another took the job over, settled it, and it is gone: to take that for our own doing would be a lie."""
    storage = await backend.open(keep_succeeded=0)
    assert isinstance(storage, PostgresStorage)
    parts = urlsplit(backend.dsn)
    address = parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}").geturl()
    far = backend.made(
        storage.config.schema_name, database_url=address, max_connections=1, listen=False, keep_succeeded=0
    )
    await storage.enqueue_many([Job("work"), Job("work")])
    first, mine = await far.fetch_available_jobs_atomic("w", 2, lock_timeout=1)
    for job in (first, mine):
        job.set_state(JobState.succeeded(1))
    await far.update(first)
    await backend.advance(2)
    theirs = await storage.fetch_and_lock_job("other")
    assert theirs is not None
    theirs.set_state(JobState.succeeded(2))
    await storage.update(theirs)
    proxy.losing = True
    with pytest.raises(StorageConnectionError) as caught:
        await far.update(mine)
    assert (proxy.lost, caught.value.outcome) == (1, "unknown")


@promises("Q15")
async def test_a_resent_release_answers_as_the_first(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy
) -> None:
    await storage.enqueue(Job("work"))
    [job] = await far.fetch_available_jobs_atomic("w", 1)
    assert await far.release_jobs([job]) == [True]
    [job] = await far.fetch_available_jobs_atomic("w", 1)
    proxy.losing = True
    assert await far.release_jobs([job]) == [True]
    assert proxy.lost == 1
    assert (job.version, job.attempt, job.state.kind) == (5, 0, JobStateKind.ENQUEUED)


@promises("Q9", "Q10")
async def test_a_resent_lock_answers_as_the_first(storage: PostgresStorage, far: PostgresStorage, proxy: Proxy) -> None:
    await storage.enqueue(Job("work", id="x"))
    assert await far.try_acquire_job_lock("y", "w", 60)
    assert await far.release_job_lock("y", "w")
    proxy.losing = True
    assert await far.try_acquire_job_lock("x", "w", 60) is True
    proxy.losing = True
    assert await far.release_job_lock("x", "w") is True
    assert proxy.lost == 2
    assert await storage.fetch_and_lock_job("w") is not None


@promises("Q1", "E4")
async def test_an_enqueue_that_nobody_answered_is_unknown(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy
) -> None:
    await far.enqueue(Job("work"), wake=False)
    proxy.losing = True
    with pytest.raises(StorageConnectionError) as caught:
        await far.enqueue(Job("work", id="x"))
    assert (caught.value.outcome, caught.value.retryable, caught.value.operation) == ("unknown", True, "enqueue")
    assert await storage.get("x") is not None
    # To skip what exists is no way out: whether it was ours would not be known.
    await far.enqueue(Job("work"), if_exists="skip", wake=False)
    proxy.losing = True
    with pytest.raises(StorageConnectionError) as caught:
        await far.enqueue(Job("work", id="y"), if_exists="skip")
    assert caught.value.outcome == "unknown"
    assert await storage.get("y") is not None
    assert proxy.lost == 2


@promises("E4", "L3")
@pytest.mark.parametrize("many", [False, True])
async def test_an_unlocked_update_that_nobody_answered_is_unknown(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy, many: bool
) -> None:
    """Its version alone proves nothing afterwards: another may have moved it on."""
    # Put off, so that nobody is to be woken: the lost answer would be that of the NOTIFY.
    job, other = (Job("work", id=name, state=JobState.scheduled(datetime.now(UTC) + timedelta(9))) for name in "xy")
    await far.enqueue_many([job, other])
    await far.update(other)
    job.priority = 7
    proxy.losing = True
    if many:
        [error] = await far.update_many([job])
    else:
        with pytest.raises(StorageConnectionError) as caught:
            await far.update(job)
        error = caught.value
    assert isinstance(error, StorageConnectionError)
    assert (error.outcome, error.operation) == ("unknown", "update_many" if many else "update")
    stored = await storage.get("x")
    assert stored is not None
    assert (stored.priority, stored.version) == (7, 2)


@promises("Q4")
async def test_a_resent_delete_answers_as_the_first(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy
) -> None:
    await storage.enqueue_many([Job("work", id=name) for name in "xyz"])
    assert await far.delete("x")
    proxy.passing, proxy.losing = 3, True  # BEGIN, hold, delete: it is the COMMIT whose answer is lost
    assert await far.delete("y") is True
    assert proxy.lost == 1
    assert [job.id for job in await storage.list()] == ["z"]
    assert await far.delete("y") is False


@promises("L6")
async def test_a_dead_connection_frees_no_lock(storage: PostgresStorage, far: PostgresStorage, proxy: Proxy) -> None:
    """Found out at the first request: nothing of it reached the server, and nothing may be taken for done."""
    await storage.enqueue(Job("work", id="x"))
    assert await far.release_job_lock("x", "w") is False
    assert await storage.fetch_and_lock_job("w") is not None
    proxy.losing = True  # the answer of the look is lost, and nothing was freed
    assert await far.release_job_lock("x", "w") is True
    assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 1
    proxy.losing = True
    assert await far.release_job_lock("x", "w") is False
    assert await storage.fetch_and_lock_job("w") is not None
    proxy.passing, proxy.losing = 1, True  # now that of the freeing
    assert await far.release_job_lock("x", "w") is True
    assert proxy.lost == 3
    assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 1


@promises("L5")
async def test_a_lock_that_was_taken_back_is_not_held(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first and the third step of try_acquire the job is claimed, and the answer of the third is lost."""
    assert far._life.opened is not None
    job = Job("work", id="x")
    await storage.enqueue(job)
    assert await far.try_acquire_job_lock("other", "w", 60)
    run, steps = far._life.opened.connections.run, []

    async def stepwise(operation: str, work: Any, **options: Any) -> Any:
        steps.append(operation)
        if len(steps) == 3:
            job.set_state(JobState.processing("w", "s"))
            await storage.update(job)
            proxy.losing = True
        return await run(operation, work, **options)

    monkeypatch.setattr(far._life.opened.connections, "run", stepwise)
    assert await far.try_acquire_job_lock("x", "w", 60) is False
    assert (len(steps), proxy.lost) == (3, 1)
    # Not held: it can be taken as soon as the claim is gone.
    assert await storage.release_job_lock("x", "w")
    assert await storage.try_acquire_job_lock("x", "z", 60) is True


@promises("L5", "E4", "L7")
@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_lock_call_that_fails_half_way_leaves_no_lock(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, step: int, cancelled: bool
) -> None:
    await storage.enqueue(Job("work", id="x"), wake=False)
    assert storage._life.opened is not None
    connections = storage._life.opened.connections
    run, steps = connections.run, []

    async def failing(operation: str, work: Any, **options: Any) -> Any:
        steps.append(operation)
        if len(steps) == step:
            if cancelled:
                raise asyncio.CancelledError
            raise StorageTimeoutError("no free connection", operation=operation)
        return await run(operation, work, **options)

    monkeypatch.setattr(connections, "run", failing)
    with pytest.raises(asyncio.CancelledError if cancelled else StorageTimeoutError):
        await storage.try_acquire_job_lock("x", "w", 60)
    monkeypatch.undo()
    assert await storage.fetch_and_lock_job("w") is not None, "nobody holds the lock, and it is there"


@promises("E4")
async def test_a_server_that_says_nothing_is_a_timeout(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy
) -> None:
    proxy.muted = True
    with pytest.raises(StorageTimeoutError, match="no answer in time") as caught:
        # command_timeout, and a second more for the cancelling of the statement.
        async with asyncio.timeout(4):
            await far.get_job_counts()
    assert (caught.value.retryable, caught.value.outcome) == (True, "unknown")
    proxy.muted = False
    proxy.cut()
    assert sum((await far.get_job_counts()).values()) == 0


@promises("E4", "L7")
async def test_a_cancelled_call_ends_in_a_second_though_the_server_says_nothing(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy
) -> None:
    proxy.muted = True
    task = asyncio.ensure_future(far.get_job_counts())
    await asyncio.wait([task], timeout=0.1)
    task.cancel()
    await asyncio.wait([task], timeout=1.8)
    assert task.cancelled()
    proxy.muted = False
    proxy.cut()
    assert sum((await far.get_job_counts()).values()) == 0


@promises("E4", "L3")
async def test_a_reply_is_lost_and_then_the_server(
    storage: PostgresStorage, far: PostgresStorage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sending finds nobody: that says nothing of the first."""
    await storage.enqueue_many([Job("work"), Job("work")])
    one, two = await far.fetch_available_jobs_atomic("w", 2)
    one.set_state(JobState.succeeded(1))
    await far.update(one)
    assert far._life.opened is not None
    connections = far._life.opened.connections
    acquire, calls = connections._acquire, []

    async def refused(operation: str) -> Any:
        calls.append(operation)
        if len(calls) > 1:
            raise StorageConnectionError("refused", operation=operation)
        return await acquire(operation)

    monkeypatch.setattr(connections, "_acquire", refused)
    two.set_state(JobState.succeeded(1))
    proxy.losing = True
    with pytest.raises(StorageConnectionError) as caught:
        await far.update(two)
    assert caught.value.outcome == "unknown"
    assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == 2


@promises("E4")
async def test_no_free_connection_is_a_timeout(backend: PostgresBackend) -> None:
    storage = await backend.open(max_connections=1, connect_timeout=0.2)
    assert isinstance(storage, PostgresStorage)
    opened = storage._life.opened
    assert opened is not None
    connection = await opened.connections._acquire("test")
    with pytest.raises(StorageTimeoutError, match="no free connection"):
        await storage.get_job_counts()
    await opened.connections._give_back(connection)
    assert sum((await storage.get_job_counts()).values()) == 0


@promises("L7")
async def test_cancelled_calls_leave_nothing_claimed(storage: PostgresStorage) -> None:
    """Cancelled at every point of its way, a claim leaves no job claimed that nobody received."""
    await storage.enqueue_many([Job("work") for _ in range(20)])
    received: list[Job] = []
    for step in range(120):
        task = asyncio.ensure_future(storage.fetch_available_jobs_atomic("w", 3))
        for _ in range(step % 40):
            await asyncio.sleep(0)
        if step % 3 == 0:
            await asyncio.wait([task], timeout=0.0004 * (step % 10))
        task.cancel()
        with suppress(asyncio.CancelledError):
            received += await task
        counts = await storage.get_job_counts()
        assert counts[JobStateKind.PROCESSING] == len(received)
        assert await storage.release_jobs(received) == [True] * len(received)
        received.clear()
    assert {job.attempt for job in await storage.list()} == {0}
