"""What only this backend can get wrong: its byte cap over several queues, pages, parked claims, frozen clients."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    LockLostError,
    LoopMismatchError,
    StorageClosedError,
    StorageError,
    StorageTimeoutError,
    StorageWarning,
)
from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend
from tests.postgres.proxy import Proxy

pytestmark = pytest.mark.anyio


@promises("Q11", "Q22")
@pytest.mark.parametrize("queues", [["a"], ["a", "b"], None])
async def test_16_mib_are_enough_for_one_claim(storage: PostgresStorage, queues: list[str] | None) -> None:
    text = "x" * 1_000_000
    await storage.enqueue_many([Job("work", [text], queue="ab"[index % 2]) for index in range(36)])
    jobs = await storage.fetch_available_jobs_atomic("w", 18, queues)
    assert len(jobs) == 16
    assert (await storage.get_job_counts())[JobStateKind.PROCESSING] == 16


@promises("Q7", "E3")
async def test_undecodable_records_do_not_count_against_a_limit(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    await storage.enqueue_many([Job("work", id=name) for name in "abcd"])
    await backend.corrupt(storage, "a", "record")
    await backend.corrupt(storage, "c", "record")
    with pytest.warns(StorageWarning):
        assert [job.id for job in await storage.get_available_jobs(1)] == ["b"]
        assert [job.id for job in await storage.get_available_jobs(2)] == ["b", "d"]
        assert [job.id for job in await storage.get_available_jobs()] == ["b", "d"]


@promises("Q7", "Q24")
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, None])
async def test_pages_of_what_is_in_line_and_of_what_came_due_are_merged(
    backend: PostgresBackend, storage: PostgresStorage, limit: int | None
) -> None:
    now = await backend.now()
    for index in range(4):
        await storage.enqueue(Job("work", id=f"r{index}", priority=index))
        due = JobState.scheduled(now + timedelta(seconds=10 - index))
        await storage.enqueue(Job("work", id=f"s{index}", priority=index, state=due))
    await backend.advance(60)
    expected = [f"{sort}{index}" for index in (3, 2, 1, 0) for sort in "rs"]
    jobs = await storage.get_available_jobs(limit)
    assert [job.id for job in jobs] == expected[:limit]
    claimed = await storage.fetch_available_jobs_atomic("w", 8)
    assert [job.id for job in claimed] == expected


@promises("Q14")
async def test_a_stale_copy_beside_the_current_one_loses_alone(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    await storage.enqueue(Job("work", id="x"))
    first = await storage.fetch_and_lock_job("w", lock_timeout=1)
    await backend.advance(2)
    second = await storage.fetch_and_lock_job("w", lock_timeout=1)
    await backend.advance(2)
    assert first is not None
    assert second is not None
    assert await storage.fetch_and_lock_job("w", ["none"]) is None  # puts the lapsed claim in line
    assert await storage.extend_job_locks([second, first], 60) == [True, False]
    assert await storage.extend_job_locks([first, second], 60) == [False, True]


@promises("L4")
@pytest.mark.parametrize("queues", [None, ["default"], ["default", "other"]])
async def test_each_process_keeps_to_its_own_limit_of_lapses(
    backend: PostgresBackend, queues: list[str] | None
) -> None:
    """Two that are configured differently: what the patient one puts in line, the strict one does not run again."""
    patient = await backend.open(max_crashes=10)
    assert isinstance(patient, PostgresStorage)
    strict = await backend.made(patient.config.schema_name, max_crashes=2)
    await patient.enqueue_many([Job("work", id="x"), Job("work", id="y")])
    jobs = []
    for _ in range(2):
        jobs = await patient.fetch_available_jobs_atomic("w", 1, lock_timeout=1)
        assert [(job.id, job.attempt) for job in jobs] == [("x", 1 + jobs[0].crash_count)]
        await backend.advance(2)
    assert await patient.fetch_and_lock_job("w", ["none"]) is None
    [found] = await strict.fetch_available_jobs_atomic("w", 5, queues)
    assert found.id == "y"
    failed = await strict.get("x")
    assert failed is not None
    assert (failed.state.kind, failed.crash_count, failed.attempt) == (JobStateKind.FAILED, 2, 2)
    assert "lock lapsed 2 times" in failed.to_json()
    jobs[0].set_state(JobState.succeeded(1))
    with pytest.raises(LockLostError):
        await patient.update(jobs[0])
    assert await patient.verify() == []


@promises("Q25", "Q23", "E4")
async def test_a_client_that_freezes_in_a_transaction_does_not_stop_the_others(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    """Its row came due, so every claim meets it. The server ends the frozen session."""
    frozen = backend.made(storage.config.schema_name, command_timeout=0.4)
    await frozen.open()
    assert frozen._life.opened is not None
    await storage.enqueue(Job("work", id="x", state=JobState.scheduled(await backend.now() + timedelta(seconds=5))))
    await storage.enqueue(Job("work", id="free", queue="q"))
    held, thaw = asyncio.Event(), asyncio.Event()
    writes = frozen._life.opened.writes

    async def freeze() -> None:
        async def work(conn: asyncpg.Connection) -> None:
            async with writes._holding(conn, ["x"]):
                held.set()
                await thaw.wait()

        await frozen._life.opened.connections.run("update", work, resend=False)  # type: ignore[union-attr]

    task = asyncio.ensure_future(freeze())
    await held.wait()
    await backend.advance(10)
    async with asyncio.timeout(5):
        job = await storage.fetch_and_lock_job("w", ["q"])
    assert job is not None
    thaw.set()
    await asyncio.wait([task])
    assert task.exception() is not None


@promises("Q20", "E4")
async def test_a_call_that_comes_for_a_connection_after_the_end_is_told_so(storage: PostgresStorage) -> None:
    opened = storage._life.opened
    assert opened is not None
    await storage.close()
    with pytest.raises(StorageClosedError):
        await opened.connections.fetch("get", "SELECT 1")


@promises("C4")
async def test_auto_migrate_at_once_under_any_default_isolation(
    backend: PostgresBackend, connection: asyncpg.Connection
) -> None:
    role = await connection.fetchval("SELECT current_user")
    schema = "at_once"
    for isolation in ("repeatable read", "serializable"):
        await connection.execute(f"ALTER ROLE {role} SET default_transaction_isolation = '{isolation}'")
        try:
            fields = {"database_url": backend.dsn, "schema_name": schema, "auto_migrate": True, "listen": False}
            storages = [PostgresStorage(PostgresConfig(**fields)) for _ in range(4)]  # type: ignore[arg-type]
            await asyncio.gather(*(one.open() for one in storages))
            await storages[0].enqueue(Job("work"))
            assert await storages[1].fetch_and_lock_job("w") is not None
            for one in storages:
                await one.close()
        finally:
            await connection.execute(f"ALTER ROLE {role} RESET default_transaction_isolation")
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@promises("E1", "C5")
async def test_a_first_use_from_several_loops_opens_it_on_one(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    fresh = backend.made(storage.config.schema_name)
    backend.opened.remove(fresh)
    ready = threading.Barrier(4)

    def use() -> BaseException | None:
        async def first() -> BaseException | None:
            ready.wait(10)
            try:
                async with asyncio.timeout(10):
                    await fresh.get("none")
            except StorageError as error:
                return error
            finally:
                # The loop that has it stays until the others have tried.
                await asyncio.to_thread(ready.wait, 10)
            await fresh.close()
            return None

        return asyncio.run(first())

    answers = await asyncio.gather(*(asyncio.to_thread(use) for _ in range(4)))
    assert [answer for answer in answers if answer is None] == [None]
    assert all(isinstance(answer, LoopMismatchError) for answer in answers if answer is not None)


@promises("Q13", "E4")
async def test_what_was_settled_stands_when_the_rest_of_a_chunk_fails(
    backend: PostgresBackend, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.enqueue_many([Job("work", id=name) for name in "abc"])
    claimed = await storage.fetch_available_jobs_atomic("w", 2)
    free = await storage.get("c")
    assert free is not None
    for job in claimed:
        job.set_state(JobState.succeeded(1))
    free.priority = 9
    assert storage._life.opened is not None
    writes = storage._life.opened.writes
    at_once = writes._at_once

    async def failing(operation: str, query: str, *rest: Any) -> Any:
        if query == storage._queries.replace:
            raise StorageTimeoutError("statement_timeout", operation=operation)
        return await at_once(operation, query, *rest)

    monkeypatch.setattr(writes, "_at_once", failing)
    one, two, three = await storage.update_many([*claimed, free])
    assert (one, two) == (None, None)
    assert isinstance(three, StorageTimeoutError)
    assert [(job.version, job.lock) for job in claimed] == [(3, None)] * 2


@promises("L7", "Q11")
async def test_a_claim_still_running_when_it_is_sent_again_is_given_back(
    backend: PostgresBackend, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not notice that its client is gone: the first statement waits for a table, and claims later."""
    monkeypatch.setattr("ferroq.postgres.claims._LOOKS", (0.3, 1.0))
    parts = urlsplit(backend.dsn)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        address = parts._replace(netloc=f"{parts.username}@127.0.0.1:{proxy.port}").geturl()
        far = backend.made(storage.config.schema_name, database_url=address, max_connections=1, listen=False)
        assert await far.fetch_and_lock_job("w") is None
        await storage.enqueue_many([Job("work", id=name) for name in "abc"])
        blocker = await asyncpg.connect(backend.dsn)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute(f"LOCK TABLE {storage.config.schema_name}.ready IN ACCESS EXCLUSIVE MODE")
        task = asyncio.ensure_future(far.fetch_and_lock_job("w"))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(10):
            while await blocker.fetchval(waiting) < 1:
                await asyncio.sleep(0.005)
            proxy.cut()
            while await blocker.fetchval(waiting) < 2:
                await asyncio.sleep(0.005)
        await transaction.rollback()
        await blocker.close()
        assert await task is not None
        async with asyncio.timeout(10):
            while (await storage.get_job_counts())[JobStateKind.PROCESSING] != 1:
                await asyncio.sleep(0.01)
        assert {job.attempt for job in await storage.list("enqueued")} == {0}
        await far.close()


@promises("L4")
async def test_locked_ids_do_not_keep_others_from_failing(backend: PostgresBackend) -> None:
    storage = await backend.open(max_crashes=1)
    await storage.enqueue_many([Job("work", id=f"j{index:03}") for index in range(101)])
    jobs = await storage.fetch_available_jobs_atomic("w", 101, lock_timeout=1)
    for job in jobs[:100]:
        assert await storage.try_acquire_job_lock(job.id, "other", 600) is False
    await backend.advance(2)
    for job in jobs[:100]:
        assert await storage.try_acquire_job_lock(job.id, "other", 600)
    assert await storage.fetch_and_lock_job("w") is None
    counts = await storage.get_job_counts()
    assert (counts[JobStateKind.FAILED], counts[JobStateKind.PROCESSING]) == (1, 100)


@promises("J1", "Q12", "Q13")
async def test_any_name_is_an_id_in_a_batch(storage: PostgresStorage) -> None:
    """Ids of a batch travel as an array written out as a text."""
    names = ['a"b', "a\\b", "\\", '"', '\\"', "{}", "a,b", "NULL", " a ", "é", "'", "$1", '""', "\\\\n"]
    assert await storage.enqueue_many([Job("work", id=name) for name in names]) == [True] * len(names)
    jobs = await storage.fetch_available_jobs_atomic("w", 100)
    assert [job.id for job in jobs] == names
    for job in jobs:
        job.set_state(JobState.succeeded(1))
    assert await storage.update_many(jobs) == [None] * len(names)
    for job in jobs:
        job.set_state(JobState.deleted())
    assert await storage.update_many(jobs) == [None] * len(names)
    assert [job.id for job in await storage.list("deleted")] == names[::-1]


async def test_a_connection_stays_at_hand_until_it_is_dropped_or_not_used(
    backend: PostgresBackend, storage: PostgresStorage
) -> None:
    opened = storage._life.opened
    assert opened is not None
    connections = opened.connections
    await asyncio.gather(*(storage.get_job_counts() for _ in range(4)))
    there = len(connections._at_hand)
    assert there > 0
    await storage.get_job_counts()
    assert len(connections._at_hand) == there
    connections._look_for_unused()  # all but one were not used since the last look, but that is none yet
    await storage.get_job_counts()
    connections._look_for_unused()
    assert len(connections._at_hand) == 1
    # One that the server ended while it was at hand is passed over, and nobody hears of it.
    connections._at_hand[0].terminate()
    assert sum((await storage.get_job_counts()).values()) == 0
    await storage.close()
    assert connections._at_hand == []


@promises("Q18")
async def test_a_lapsed_claim_in_line_is_a_true_copy(backend: PostgresBackend, storage: PostgresStorage) -> None:
    """What a claim takes over it takes out of the line: what differs there is found."""
    await storage.enqueue(Job("work", id="x"))
    assert await storage.fetch_and_lock_job("w", lock_timeout=1) is not None
    await backend.advance(2)
    assert await storage.fetch_and_lock_job("w", ["elsewhere"]) is None  # puts it in line
    assert await storage.verify() == []
    connection = await asyncpg.connect(backend.dsn)
    await connection.execute(f"UPDATE {storage.config.schema_name}.ready SET attempt = 7")
    await connection.close()
    [finding] = await storage.verify()
    assert "disagrees" in finding
    assert await storage.delete("x")
