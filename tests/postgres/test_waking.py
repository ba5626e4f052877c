"""LISTEN and NOTIFY: one connection a process, whatever becomes of it [Q16]."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from ferroq import Job
from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.postgres.connection import Connections
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

pytestmark = pytest.mark.anyio


async def listening(connection: asyncpg.Connection, schema: str) -> int:
    """Sessions whose last statement was that LISTEN."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND query LIKE $1", f"%ferroq_{schema}%"
    )
    return found


async def until_listening(connection: asyncpg.Connection, schema: str) -> None:
    async with asyncio.timeout(10):
        while not await listening(connection, schema):
            await asyncio.sleep(0.005)


@promises("Q16", "Q20")
async def test_storages_of_one_address_and_schema_share_a_connection(
    backend: PostgresBackend, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    schema = storage.config.schema_name
    storages = [storage, *[await backend.reopen(storage) for _ in range(3)]]
    waiters = [asyncio.ensure_future(one.wait_for_jobs(["q"], 30)) for one in storages]
    await until_listening(connection, schema)
    assert await listening(connection, schema) == 1
    # The one that opened it goes; the others are still told.
    await storage.close()
    await asyncio.wait(waiters[:1])
    assert waiters[0].exception() is not None
    assert await listening(connection, schema) == 1
    stranger = await backend.open()  # another schema: another channel, and nothing of this one's news
    assert isinstance(stranger, PostgresStorage)
    start = time.monotonic()
    await storages[1].enqueue_many([Job("work", queue="q") for _ in range(3)])
    assert await asyncio.gather(*waiters[1:]) == [True] * 3
    assert time.monotonic() - start < 0.5
    for one in storages[1:]:
        await one.close()
    async with asyncio.timeout(10):
        while await listening(connection, schema):
            await asyncio.sleep(0.005)


@promises("Q16")
async def test_two_enqueues_of_one_transaction_wake_two_waiters(
    storage: PostgresStorage, backend: PostgresBackend, connection: asyncpg.Connection
) -> None:
    other = await backend.reopen(storage)
    waiters = [asyncio.ensure_future(other.wait_for_jobs(["q"], 30)) for _ in range(2)]
    await until_listening(connection, storage.config.schema_name)
    heard: list[str] = []
    spy = await asyncpg.connect(backend.dsn)
    await spy.add_listener(f"ferroq_{storage.config.schema_name}", lambda *news: heard.append(news[3]))
    async with connection.transaction():
        await storage.enqueue(Job("work", queue="q"), connection=connection)
        await storage.enqueue(Job("work", queue="q"), connection=connection)
    assert await asyncio.gather(*waiters) == [True, True]
    async with asyncio.timeout(5):
        while len(heard) < 2:
            await asyncio.sleep(0.005)
    await spy.close()


@promises("Q16")
async def test_news_behind_a_job_that_was_found_goes_to_the_next(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waiter's look is under way when a second job comes: it is told, and returns for the first job."""
    assert storage._life.opened is not None
    wakeups = storage._life.opened.wakeups
    looks: list[asyncio.Future[tuple[bool, float | None]]] = []

    async def probe(*_: object) -> tuple[bool, float | None]:
        looks.append(asyncio.get_running_loop().create_future())
        return await looks[-1]

    monkeypatch.setattr(wakeups, "_probe", probe)
    first, second = (asyncio.ensure_future(storage.wait_for_jobs(["q"], 60)) for _ in range(2))
    while len(looks) < 2:
        await asyncio.sleep(0)
    looks[1].set_result((False, 60.0))
    await asyncio.sleep(0)
    wakeups._hub.wake("q", 1)  # the first in line is told, in the middle of its look
    looks[0].set_result((True, None))
    assert await first
    async with asyncio.timeout(0.4):  # well before the poll
        while len(looks) < 3:
            await asyncio.sleep(0)
    looks[2].set_result((True, None))
    assert await second


@promises("Q16", "E4")
@pytest.mark.parametrize("error", [asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError, OSError])
async def test_whatever_a_listening_connection_ends_in_the_poll_goes_on(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A session that ended before it could LISTEN, a standby, a dropped one: no leak, and no tight loop."""
    made = 0

    class Ended:
        def add_termination_listener(self, _listener: Any) -> None: ...

        async def add_listener(self, *_: Any) -> None:
            raise error("cannot switch to state 12; another operation (2) is in progress")

        def terminate(self) -> None: ...

    async def connect(_connections: Connections) -> Ended:
        nonlocal made
        made += 1
        return Ended()

    monkeypatch.setattr(Connections, "connect_listener", connect)
    waiter = asyncio.ensure_future(storage.wait_for_jobs(["q"], 1.5))
    assert await waiter is False
    assert 1 < made < 12
    waiter = asyncio.ensure_future(storage.wait_for_jobs(["q"], 30))
    await storage.enqueue(Job("work", queue="q"))
    assert await waiter is True


@promises("Q16", "C4")
async def test_a_pool_of_one_connection_is_not_given_up_to_listening(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    schema = storage.config.schema_name
    async with (
        asyncpg.create_pool(backend.dsn, min_size=1, max_size=1) as pool,
        PostgresStorage(PostgresConfig(pool=pool, schema_name=schema, connect_timeout=2)) as guest,
    ):
        waiter = asyncio.ensure_future(guest.wait_for_jobs(["q"], 30))
        await asyncio.wait([waiter], timeout=0.05)
        await guest.enqueue(Job("work", queue="q"))
        assert await waiter is True
        assert await pool.fetchval("SELECT 1", timeout=2) == 1
