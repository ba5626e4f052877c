"""Jobs as part of the caller's own transaction, and the caller's own pool [Q1, C4, Q19]."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from ferroq import Job, JobState
from ferroq.errors import (
    ConfigurationError,
    JobAlreadyExistsError,
    LoopMismatchError,
    StorageConnectionError,
    StorageWarning,
)
from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

pytestmark = pytest.mark.anyio


@promises("Q1", "Q12")
async def test_jobs_commit_and_roll_back_with_the_callers_data(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    assert await storage.enqueue(Job("work", id="a"), connection=connection)
    assert await storage.enqueue_many([Job("work", id="b"), Job("work", id="c")], connection=connection) == [True] * 2
    assert await storage.get("a") is None
    await transaction.rollback()
    assert await storage.list() == []
    async with connection.transaction():
        job = Job("work", id="a")
        assert await storage.enqueue(job, connection=connection)
    assert await storage.get("a") == job


@promises("Q1")
async def test_an_id_that_exists_leaves_the_transaction_usable(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await storage.enqueue(Job("work", id="a"))
    async with connection.transaction():
        with pytest.raises(JobAlreadyExistsError):
            await storage.enqueue(Job("work", id="a"), connection=connection)
        assert await storage.enqueue(Job("work", id="a"), if_exists="skip", connection=connection) is False
        assert await storage.enqueue(Job("work", id="b"), connection=connection)
    assert await storage.get("b") is not None


@promises("Q1")
async def test_of_two_at_once_one_is_told_that_the_id_exists(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await storage.enqueue(Job("work", id="a"), connection=connection)
    rival = asyncio.ensure_future(storage.enqueue(Job("work", id="a")))
    await asyncio.wait([rival], timeout=0.1)
    assert not rival.done(), "it waits for the other's end"
    await transaction.commit()
    with pytest.raises(JobAlreadyExistsError):
        await rival


@promises("Q16", "Q1")
@pytest.mark.parametrize("wake", [True, False])
async def test_waking_at_the_commit(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection, wake: bool
) -> None:
    other = await backend.reopen(storage)
    task = asyncio.ensure_future(other.wait_for_jobs(["mail"]))
    await asyncio.wait([task], timeout=0.3)
    transaction = connection.transaction()
    await transaction.start()
    await storage.enqueue(Job("work", queue="mail"), connection=connection, wake=wake)
    await asyncio.wait([task], timeout=0.1)
    assert not task.done()
    await transaction.commit()
    start = time.monotonic()
    async with asyncio.timeout(1.2):  # pushed, or by the poll a second later at the latest
        assert await task is True
    if wake:
        assert time.monotonic() - start < 0.5


@promises("C4", "Q19", "Q20")
async def test_the_callers_own_pool(backend: PostgresBackend, storage: PostgresStorage) -> None:
    schema = storage.config.schema_name
    async with asyncpg.create_pool(backend.dsn, min_size=1, max_size=3) as pool:
        async with PostgresStorage(PostgresConfig(pool=pool, schema_name=schema)) as own:
            await own.enqueue(Job("work", id="x"))
            job = await own.fetch_and_lock_job("w")
            assert job is not None
            assert await own.wait_for_jobs(timeout=0) is False
            job.set_state(JobState.succeeded(1))
            await own.update(job)
            with pytest.raises(ConfigurationError, match="own pool"):
                own.clone()
        assert await pool.fetchval("SELECT 1") == 1, "closing the storage leaves the pool alone"


@promises("L2")
async def test_tokens_start_above_the_clock_after_a_connect(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    schema = storage.config.schema_name
    await storage.enqueue_many([Job("work"), Job("work")])
    first = await storage.fetch_and_lock_job("w")
    # A failover that forgot recent writes: the sequence is behind what was given out.
    await connection.execute(f"SELECT setval('{schema}.token_seq', 1)")
    other = await backend.reopen(storage)
    second = await other.fetch_and_lock_job("w")
    assert first is not None
    assert second is not None
    assert first.lock is not None
    assert second.lock is not None
    assert second.lock.token > first.lock.token


@promises("Q1", "L1")
@pytest.mark.parametrize("begin", ["read_committed", "repeatable_read", "serializable", "by hand"])
async def test_a_processing_job_joins_any_transaction(
    storage: PostgresStorage, connection: asyncpg.Connection, begin: str
) -> None:
    job = Job("work", id="a", state=JobState.processing("w", "s"))
    if begin == "by hand":
        await connection.execute("BEGIN")
        assert await storage.enqueue(job, connection=connection)
        assert await storage.get("a") is None
        await connection.execute("COMMIT")
    else:
        async with connection.transaction(isolation=begin):
            assert await storage.enqueue(job, connection=connection)
            assert await storage.get("a") is None
    assert await storage.get("a") == job
    assert job.lock is not None


@promises("E2", "E4")
async def test_what_is_no_connection_is_refused(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    async with asyncpg.create_pool(backend.dsn, min_size=1) as pool:
        for wrong in (pool, "postgresql://"):
            with pytest.raises(TypeError, match="connection"):
                await storage.enqueue(Job("work"), connection=wrong)
    await connection.close()
    with pytest.raises(StorageConnectionError) as caught:
        await storage.enqueue(Job("work"), connection=connection)
    assert caught.value.outcome == "not_applied"
    assert await storage.list() == []


@promises("L2", "C4")
async def test_tokens_of_a_callers_pool_start_above_those_given_out(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    """A primary that forgot the last tokens, met by the new connections of a pool that the caller made."""
    schema = storage.config.schema_name
    async with (
        asyncpg.create_pool(backend.dsn, min_size=1) as pool,
        PostgresStorage(PostgresConfig(pool=pool, schema_name=schema, listen=False)) as guest,
    ):
        await guest.enqueue_many([Job("work"), Job("work")], wake=False)
        first = await guest.fetch_and_lock_job("w")
        await connection.execute(f"SELECT setval('{schema}.token_seq', 1)")
        await pool.expire_connections()
        second = await guest.fetch_and_lock_job("w")
    assert first is not None
    assert first.lock is not None
    assert second is not None
    assert second.lock is not None
    assert second.lock.token > first.lock.token


@promises("L7", "Q1")
async def test_a_cancelled_enqueue_leaves_the_callers_transaction_to_the_caller(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    """It waits for another transaction with the same id; what is under way on the caller's connection ends with it."""
    other = await asyncpg.connect(backend.dsn)
    transaction = other.transaction()
    await transaction.start()
    await storage.enqueue(Job("work", id="x", state=JobState.processing("a", "s")), connection=other)
    mine = Job("work", id="x", state=JobState.processing("b", "s"))
    with pytest.raises(TimeoutError):
        async with connection.transaction(), asyncio.timeout(0.1):
            await storage.enqueue(mine, connection=connection)
    assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT 1") == 1
    await transaction.rollback()
    await other.close()
    assert await storage.list() == []


@promises("E1", "C4")
async def test_a_pool_of_another_loop_is_refused(backend: PostgresBackend, storage: PostgresStorage) -> None:
    schema = storage.config.schema_name
    async with asyncpg.create_pool(backend.dsn, min_size=1) as pool:
        guest = PostgresStorage(PostgresConfig(pool=pool, schema_name=schema))
        with pytest.raises(LoopMismatchError):
            await asyncio.to_thread(lambda: asyncio.run(guest.open()))
        assert await pool.fetchval("SELECT 1") == 1


@promises("C1", "C4")
async def test_settings_that_lose_jobs_are_warned_of_and_refused_when_strict(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    schema = storage.config.schema_name
    unsafe = {"server_settings": {"synchronous_commit": "off"}, "min_size": 1}
    async with asyncpg.create_pool(backend.dsn, **unsafe) as pool:
        with pytest.warns(StorageWarning, match="synchronous_commit"):
            guest = await PostgresStorage(PostgresConfig(pool=pool, schema_name=schema))
        await guest.close()
        with pytest.raises(ConfigurationError, match="synchronous_commit"):
            await PostgresStorage(PostgresConfig(pool=pool, schema_name=schema, strict=True)).open()
