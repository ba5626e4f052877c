"""Servers that die, end sessions, refuse, or are full: a named error or success, no hang, no lost or doubled job."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    LockLostError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.testing.contract import promises
from tests.servers import Flavour, PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.scope("postgres")]


@pytest.fixture
def server(server_flavour: Flavour) -> Iterator[PostgresServer]:
    """A server of this test's own, to be hurt."""
    with PostgresServer(server_flavour, settings={"max_connections": 30}) as server:
        yield server


@asynccontextmanager
async def opened(server: PostgresServer, **options: Any) -> AsyncIterator[PostgresStorage]:
    fields = {"auto_migrate": True, "connect_timeout": 5, "command_timeout": 5, **options}
    async with PostgresStorage(PostgresConfig(database_url=server.dsn, **fields)) as storage:
        yield storage


class Load:
    """Producers and workers that note what they were told; whatever a call raises must be one of ours."""

    def __init__(self, storage: PostgresStorage) -> None:
        self.storage = storage
        self.stored: set[str] = set()
        self.unknown: set[str] = set()
        self.settled: dict[str, list[int]] = {}
        self.doubtful: set[str] = set()
        self.errors: list[StorageError] = []
        self.stop = False
        self._number = 0

    async def produce(self) -> None:
        while not self.stop:
            self._number += 1
            job = Job("work", id=f"j{self._number}")
            try:
                await self.storage.enqueue(job)
                self.stored.add(job.id)
            except StorageError as error:
                self.note(error)
                if error.outcome == "unknown":
                    self.unknown.add(job.id)

    async def work(self, name: str) -> None:
        while not self.stop:
            try:
                jobs = await self.storage.fetch_available_jobs_atomic(name, 5, lock_timeout=2)
                if not jobs:
                    await self.storage.wait_for_jobs(timeout=0.2)
                for job in jobs:
                    job.set_state(JobState.succeeded(1))
                tokens = [job.lock.token if job.lock else 0 for job in jobs]
                verdicts = await self.storage.update_many(jobs)
                for job, token, verdict in zip(jobs, tokens, verdicts, strict=True):
                    if verdict is None:
                        self.settled.setdefault(job.id, []).append(token)
                    elif not isinstance(verdict, LockLostError):
                        self.note(verdict)
                        self.doubtful.add(job.id)
            except StorageError as error:
                self.note(error)

    def note(self, error: StorageError) -> None:
        assert isinstance(error, StorageConnectionError | StorageTimeoutError | StorageUnavailableError), repr(error)
        assert error.retryable
        assert error.operation
        self.errors.append(error)

    async def run(self, harm: Any) -> None:
        tasks = [asyncio.ensure_future(self.produce()) for _ in range(2)]
        tasks += [asyncio.ensure_future(self.work(f"w{index}")) for index in range(3)]
        try:
            async with asyncio.timeout(90):
                await harm(self)
                self.stop = True
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def drained(self) -> None:
        """What is left is settled, and then the books are balanced."""
        async with asyncio.timeout(60):
            while True:
                counts = await self.storage.get_job_counts()
                if counts[JobStateKind.ENQUEUED] + counts[JobStateKind.PROCESSING] == 0:
                    break
                for job in await self.storage.fetch_available_jobs_atomic("last", 100, lock_timeout=60):
                    job.set_state(JobState.succeeded(1))
                    token = job.lock.token if job.lock else 0
                    await self.storage.update(job)
                    self.settled.setdefault(job.id, []).append(token)
                await asyncio.sleep(0.01)
        there = {job.id for job in await self.storage.list()}
        assert self.stored <= there, "a job that was stored is lost"
        assert there <= self.stored | self.unknown, "a job that nobody stored"
        twice = {job_id: tokens for job_id, tokens in self.settled.items() if len(tokens) > 1}
        assert not twice, f"settled twice: {twice}"
        assert set(self.settled) | self.doubtful >= there
        failed = [job for job in await self.storage.list() if job.state.kind is not JobStateKind.SUCCEEDED]
        assert all(job.crash_count for job in failed), "only lapses fail jobs here"
        assert await self.storage.verify() == []


async def until(condition: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@promises("E4", "E5")
async def test_kill_and_restart_under_load(server: PostgresServer) -> None:
    async with opened(server, max_crashes=50) as storage:
        load = Load(storage)

        async def harm(load: Load) -> None:
            for _ in range(3):
                have = len(load.settled)
                await until(lambda have=have: len(load.settled) > have + 50)
                await asyncio.to_thread(server.kill)
                seen = len(load.errors)
                await until(lambda seen=seen: len(load.errors) > seen)
                await asyncio.to_thread(server.start)

        await load.run(harm)
        await load.drained()


@promises("E4", "E5")
async def test_sessions_are_terminated_under_load(server: PostgresServer) -> None:
    async with opened(server, max_crashes=50) as storage:
        load = Load(storage)
        operator = await asyncpg.connect(server.dsn)

        async def harm(load: Load) -> None:
            for _ in range(25):
                have = len(load.settled)
                await until(lambda have=have: len(load.settled) > have + 5)
                await operator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )

        await load.run(harm)
        await load.drained()
        await operator.close()


@promises("E4", "E5")
async def test_statement_and_lock_timeouts(server: PostgresServer) -> None:
    async with opened(server) as storage:
        await storage.enqueue(Job("work", id="x"))
        job = await storage.fetch_and_lock_job("w")
        assert job is not None
        operator = await asyncpg.connect(server.dsn)
        for setting in ("statement_timeout", "lock_timeout"):
            await operator.execute(f"ALTER ROLE ferroq SET {setting} = '100ms'")
            async with opened(server) as other:
                transaction = operator.transaction()
                await transaction.start()
                await operator.execute("LOCK TABLE ferroq.lease IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(StorageTimeoutError) as caught:
                    await other.extend_job_locks([job])
                assert (caught.value.outcome, caught.value.operation) == ("not_applied", "extend_job_locks")
                await transaction.rollback()
                assert await other.extend_job_locks([job]) == [True]
            await operator.execute(f"ALTER ROLE ferroq RESET {setting}")
        await operator.close()


@promises("E4", "E5")
async def test_every_connection_taken(server: PostgresServer) -> None:
    others = []
    async with opened(server, min_connections=1, max_connections=1, listen=False) as storage:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                others.append(await asyncpg.connect(server.dsn))
        refused = PostgresStorage(PostgresConfig(database_url=server.dsn, connect_timeout=5))
        with pytest.raises(StorageUnavailableError) as caught:
            await refused.open()
        assert caught.value.retryable
        # What is connected goes on.
        await storage.enqueue(Job("work"))
        assert await storage.fetch_and_lock_job("w") is not None
        for other in others:
            await other.close()
        await refused.open()
        await refused.close()


@promises("E4", "E5")
async def test_a_read_only_standby(server: PostgresServer, server_flavour: Flavour) -> None:
    standby = PostgresServer(server_flavour)
    try:
        async with opened(server) as storage:
            await storage.enqueue(Job("work", id="x"))
            command: list[str | Path] = [
                server.program("pg_basebackup"), "-h", server.host, "-p", str(server.port), "-U", "ferroq", "-D",
                standby.data, "-R", "-X", "stream", "-c", "fast",
            ]  # fmt: skip
            await asyncio.to_thread(lambda: subprocess.run(command, check=True, capture_output=True))
            if os.geteuid() == 0:
                owner = standby.folder.stat()
                for path in (standby.data, *standby.data.rglob("*")):
                    os.chown(path, owner.st_uid, owner.st_gid)
            await asyncio.to_thread(standby.start)
            async with opened(standby, auto_migrate=False) as reader:
                assert await reader.get("x") is not None
                assert (await reader.get_job_counts())[JobStateKind.ENQUEUED] == 1
                for call in (
                    reader.enqueue(Job("work")),
                    reader.fetch_and_lock_job("w"),
                    reader.try_acquire_job_lock("x", "w", 1),
                    reader.delete("x"),
                    reader.purge("failed", 0),
                ):
                    with pytest.raises(StorageUnavailableError) as caught:
                        await call
                    assert caught.value.outcome == "not_applied"
    finally:
        standby.close()


@promises("E4", "E5")
async def test_a_full_disk(server: PostgresServer) -> None:
    """A tablespace on a small tmpfs takes the place of the disk."""
    if os.geteuid() != 0:
        pytest.fail("mounting the small disk needs root")
    folder = Path(tempfile.mkdtemp(prefix="ferroq-full-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    try:
        owner = server.folder.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        operator = await asyncpg.connect(server.dsn)
        await operator.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        await operator.execute("ALTER ROLE ferroq SET default_tablespace = 'small'")
        async with opened(server) as storage:
            stored = 0
            full = None
            while full is None:
                try:
                    await storage.enqueue_many([Job("work", ["x" * 1000]) for _ in range(500)])
                except StorageUnavailableError as error:
                    full = error
                else:
                    stored += 500
            assert (full.outcome, full.stored) == ("not_applied", 0)
            assert stored > 1000
            assert sum((await storage.get_job_counts()).values()) == stored
            assert await storage.verify() == []
            # Room again: it goes on where it was.
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            assert await storage.enqueue(Job("work"))
            assert len(await storage.fetch_available_jobs_atomic("w", 5)) == 5
        await operator.execute("DROP SCHEMA ferroq CASCADE")
        await operator.close()
    finally:
        await asyncio.to_thread(server.stop)
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()
