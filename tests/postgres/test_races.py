"""What only two connections at once can show."""

from __future__ import annotations

import asyncio
import os
import random

import asyncpg
import pytest

from ferroq import Job, JobState
from ferroq.errors import ConflictError, JobNotFoundError
from ferroq.postgres import PostgresStorage
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("FERROQ_RACES", "600"))
"""Interleavings; FERROQ_RACES=10000 for a long run."""


async def open_two(backend: PostgresBackend) -> tuple[PostgresStorage, PostgresStorage]:
    storage = await backend.open(lock_timeout=3600)
    other = await backend.reopen(storage)
    assert isinstance(storage, PostgresStorage)
    assert isinstance(other, PostgresStorage)
    return storage, other


async def both_hold(connection: asyncpg.Connection, schema: str) -> list[str]:
    """Ids under a live explicit lock of somebody beside a live claim of another."""
    rows = await connection.fetch(
        f"SELECT x.id FROM {schema}.explicit_lock x JOIN {schema}.job j ON j.id = x.id"
        f" JOIN {schema}.lease l ON l.seq = j.seq WHERE x.worker <> l.worker AND x.worker <> ''"
    )
    return [row["id"] for row in rows]


@promises("L5", "L1", "Q9")
@pytest.mark.timeout(600)
async def test_never_a_live_explicit_lock_beside_a_newer_claim(
    backend: PostgresBackend, connection: asyncpg.Connection
) -> None:
    """try_acquire against enqueue, claim, settle, update to Processing and release of one id, at all offsets."""
    storage, other = await open_two(backend)
    schema = storage.config.schema_name
    rng = random.Random(11)
    seen = {"locked": 0, "claimed": 0, "both": 0}

    async def later(steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)

    async def lock(job_id: str, steps: int) -> bool:
        await later(steps)
        return await other.try_acquire_job_lock(job_id, "locker", 3600)

    async def rival(job_id: str, way: int, job: Job, steps: int) -> bool:
        """Whether the rival holds a claim when it is done."""
        await later(steps)
        if way == 0:  # claim of what is there
            return await storage.fetch_and_lock_job("claimer") is not None
        if way == 1:  # enqueue, then claim
            await storage.enqueue(Job("work", id=job_id))
            return await storage.fetch_and_lock_job("claimer") is not None
        if way == 2:  # enqueue of a Processing job
            try:
                await storage.enqueue(Job("work", id=job_id, state=JobState.processing("claimer", "s")))
            except ConflictError:
                return False
            return True
        if way == 3:  # update to Processing
            job.set_state(JobState.processing("claimer", "s"))
            try:
                await storage.update(job)
            except ConflictError:
                return False
            return True
        # settle to a retry that is due, then claim
        job.set_state(JobState.awaiting_retry(await backend.now(), 1, "again"))
        await storage.update(job)
        return await storage.fetch_and_lock_job("claimer") is not None

    for round_ in range(ROUNDS):
        way, job_id = round_ % 5, f"x{round_}"
        job = Job("work", id=job_id)
        if way in (0, 3):
            await storage.enqueue(job)
        elif way == 4:
            await storage.enqueue(job)
            claimed = await storage.fetch_and_lock_job("claimer")
            assert claimed is not None
            job = claimed
        locked, holds = await asyncio.gather(
            lock(job_id, rng.randrange(12)), rival(job_id, way, job, rng.randrange(12))
        )
        assert not (locked and holds), f"way {way}: both hold {job_id}"
        assert await both_hold(connection, schema) == []
        seen["locked"] += locked
        seen["claimed"] += holds
        await storage.delete(job_id)
        if locked:
            await other.release_job_lock(job_id, "locker")
    # A test in which one side always wins shows nothing.
    assert seen["locked"] > ROUNDS // 20, seen
    assert seen["claimed"] > ROUNDS // 20, seen
    assert await storage.verify() == []


@promises("Q25", "Q22")
@pytest.mark.parametrize("queues", [["a", "b"], None])
async def test_two_claimers_over_two_queues_both_get_one(backend: PostgresBackend, queues: list[str] | None) -> None:
    storage, other = await open_two(backend)
    for round_ in range(150):
        await storage.enqueue_many([Job("work", queue="a"), Job("work", queue="b")])
        found = await asyncio.gather(storage.fetch_and_lock_job("one", queues), other.fetch_and_lock_job("two", queues))
        assert all(job is not None for job in found), f"round {round_}: a job was free"
        for job in found:
            assert job is not None
            job.set_state(JobState.succeeded(1))
        assert await storage.update_many([job for job in found if job is not None]) == [None, None]


@promises("Q25", "Q11")
async def test_many_claimers_take_each_job_once(backend: PostgresBackend) -> None:
    storage, other = await open_two(backend)
    jobs = [Job("work", priority=index % 3, queue=f"q{index % 4}") for index in range(1200)]
    await storage.enqueue_many(jobs)
    taken: list[str] = []

    async def claimer(client: PostgresStorage, name: str, queues: list[str] | None, limit: int) -> None:
        while batch := await client.fetch_available_jobs_atomic(name, limit, queues):
            taken.extend(job.id for job in batch)

    await asyncio.gather(
        claimer(storage, "a", None, 7),
        claimer(other, "b", ["q0", "q1", "q2", "q3"], 13),
        claimer(storage, "c", ["q3", "q2"], 5),
        claimer(other, "d", None, 50),
    )
    assert sorted(taken) == sorted(job.id for job in jobs)


@promises("L3", "Q4", "L7")
async def test_settle_update_delete_and_takeover_of_the_same_jobs(backend: PostgresBackend) -> None:
    """Everything at once on few ids: each call ends in success or its named error, and the audit finds nothing."""
    storage, other = await open_two(backend)
    rng = random.Random(5)

    async def actor(client: PostgresStorage, number: int) -> None:
        for _ in range(60):
            job_id = f"x{rng.randrange(6)}"
            try:
                match rng.randrange(8):
                    case 0:
                        await client.enqueue(Job("work", id=job_id, priority=rng.randrange(3)), if_exists="skip")
                    case 1 | 2:
                        for job in await client.fetch_available_jobs_atomic(f"w{number}", 3, lock_timeout=0.005):
                            job.set_state(rng.choice([
                                JobState.succeeded(1), JobState.failed("no"),
                                JobState.awaiting_retry(await backend.now(), 1, "no")]))  # fmt: skip
                            await client.update_many([job, job])
                    case 3:
                        stored = await client.get(job_id)
                        if stored is not None:
                            stored.priority += 1
                            await client.update(stored)
                    case 4:
                        await client.delete(job_id)
                    case 5:
                        if await client.try_acquire_job_lock(job_id, f"w{number}", 0.01):
                            await client.release_job_lock(job_id, f"w{number}")
                    case 6:
                        await client.extend_job_locks(await client.fetch_available_jobs_atomic("e", 2), 0.003)
                    case _:
                        await client.release_jobs(await client.fetch_available_jobs_atomic("r", 2, ["default"]))
            except (ConflictError, JobNotFoundError):
                pass

    await asyncio.gather(*(actor((storage, other)[number % 2], number) for number in range(8)))
    assert await storage.verify() == []
    counts = await storage.get_job_counts()
    assert sum(counts.values()) == len(await storage.list())
