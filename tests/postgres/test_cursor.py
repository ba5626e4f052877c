"""A claim that starts at the last claimed key while dead index entries are in its way [Q27]."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from ferroq import Job, JobState
from ferroq.postgres import PostgresStorage
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

pytestmark = pytest.mark.anyio


def cursors(storage: PostgresStorage) -> int:
    assert storage._life.opened is not None
    return len(storage._life.opened.claims._cursors)


@promises("Q27", "Q24")
@pytest.mark.parametrize("queues", [None, ["default"], ["default", "other"]])
async def test_it_comes_with_a_pinned_horizon_and_goes_with_it(
    backend: PostgresBackend, storage: PostgresStorage, queues: list[str] | None
) -> None:
    holder = await asyncpg.connect(backend.dsn)
    transaction = holder.transaction(isolation="repeatable_read")
    await transaction.start()
    await holder.fetchval("SELECT txid_current()")  # from here on no dead row may be removed
    await storage.enqueue_many([Job("work") for _ in range(9000)])
    claimed = 0
    while claimed < 8000:
        jobs = await storage.fetch_available_jobs_atomic("w", 1000, queues)
        claimed += len(jobs)
    assert cursors(storage) == 1
    # What comes in ahead of the cursor is overlooked for 100 ms at most.
    await storage.enqueue(Job("work", id="urgent", priority=9))
    start = time.monotonic()
    while True:
        job = await storage.fetch_and_lock_job("w", queues)
        assert job is not None, "a short claim looks at the front"
        if job.id == "urgent":
            break
        assert time.monotonic() - start < 1
    # When the last job is gone it finds what is ahead of the cursor at once.
    await storage.fetch_available_jobs_atomic("w", 1000, queues)
    await storage.enqueue(Job("work", id="late", priority=9))
    assert await storage.fetch_and_lock_job("w", queues) is not None
    await transaction.rollback()
    await holder.close()
    vacuum = await asyncpg.connect(backend.dsn)
    await vacuum.execute(f"VACUUM {storage.config.schema_name}.ready")
    await vacuum.close()
    await storage.enqueue_many([Job("work"), Job("work")])
    deadline = time.monotonic() + 5
    while cursors(storage):
        assert time.monotonic() < deadline
        await storage.enqueue(Job("work"))
        assert await storage.fetch_and_lock_job("w", queues) is not None


@promises("Q27", "Q24")
@pytest.mark.parametrize("queues", [None, ["default"]])
async def test_it_stays_when_the_dead_entries_are_marked_but_not_vacuumed(
    storage: PostgresStorage, connection: asyncpg.Connection, queues: list[str] | None
) -> None:
    schema = storage.config.schema_name
    await connection.execute(f"ALTER TABLE {schema}.ready SET (autovacuum_enabled = false)")
    await connection.execute(
        f"INSERT INTO {schema}.ready SELECT -seq, seq, 1, -1, 1, 0, 0, 0, 0, NULL, NULL, NULL, 'default', NULL"
        " FROM generate_series(1, 100000) seq"
    )
    await connection.execute(f"DELETE FROM {schema}.ready")
    await storage.enqueue_many([Job("work") for _ in range(10)])
    for _ in range(4):
        assert await storage.fetch_and_lock_job("w", queues) is not None  # the first marks them, and wades
        assert cursors(storage) == 1
        await asyncio.sleep(0.11)  # the next starts at the front
    await connection.execute(f"VACUUM {schema}.ready")
    assert await storage.fetch_and_lock_job("w", queues) is not None
    assert cursors(storage) == 0


@promises("Q27", "Q24")
async def test_in_normal_running_there_is_none(storage: PostgresStorage) -> None:
    for _ in range(8):
        await storage.enqueue_many([Job("work") for _ in range(1000)])
        jobs = await storage.fetch_available_jobs_atomic("w", 1000)
        for job in jobs:
            job.set_state(JobState.succeeded(1))
        assert set(await storage.update_many(jobs)) == {None}
        assert cursors(storage) == 0


@promises("Q27", "Q24")
async def test_locked_jobs_in_the_way_are_not_dead_ones(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await storage.enqueue_many([Job("work", id=f"h{index}", priority=5) for index in range(6000)])
    await storage.enqueue_many([Job("work", id=f"l{index}") for index in range(5)])
    schema = storage.config.schema_name
    await connection.execute(
        f"INSERT INTO {schema}.explicit_lock SELECT 'h' || n, 'other', {2**52}, n + 1 FROM generate_series(0, 5999) n"
    )
    assert [job.id for job in await storage.fetch_available_jobs_atomic("w", 1)] == ["l0"]
    assert cursors(storage) == 0
