"""Servers that forget, die, fill up and hold strange keys: a named error or success, never a lost or doubled job."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis import Redis

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    AuthenticationError,
    ConfigurationError,
    StorageConnectionError,
    StorageError,
    StorageUnavailableError,
    StorageWarning,
)
from ferroq.redis import RedisConfig, RedisStorage
from ferroq.testing.contract import promises
from tests.servers import RedisServer

from .support import BOUND, put, storage_on

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]


def admin(server: RedisServer) -> Redis:
    return Redis.from_url(server.url, protocol=2)


def contents(server: Any) -> dict[bytes, Any]:
    """All that the server holds. Not by DUMP: a hash that is being rehashed comes in another order each time."""
    found: dict[bytes, Any] = {}
    for key in server.scan_iter():
        kind = server.type(key)
        if kind == b"hash":
            found[key] = server.hgetall(key)
        elif kind == b"zset":
            found[key] = server.zrange(key, 0, -1, withscores=True)
        else:
            found[key] = server.lrange(key, 0, -1) if kind == b"list" else server.get(key)
    return found


@promises("E4")
async def test_forgotten_scripts_are_sent_again(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 3)
            server.script_flush()
            job = await storage.fetch_and_lock_job("w")
            assert job is not None
            server.script_flush()
            job.set_state(JobState.succeeded(1))
            await storage.update(job)
            server.script_flush()
            assert len(await storage.list()) == 3
            assert await storage.verify() == []


@promises("E4")
async def test_killed_connections_are_replaced(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 200)
            settled = 0
            for _ in range(20):
                server.client_kill_filter(_type="normal", skipme=True)
                jobs = await storage.fetch_available_jobs_atomic("w", 10)
                server.client_kill_filter(_type="normal", skipme=True)
                for job in jobs:
                    job.set_state(JobState.succeeded(1))
                assert await storage.update_many(jobs) == [None] * 10
                settled += len(jobs)
            assert settled == 200
            assert {job.attempt for job in await storage.list()} == {1}
            assert await storage.verify() == []


@promises("Q16")
async def test_a_waiter_outlives_its_connection(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        waiter = asyncio.ensure_future(storage.wait_for_jobs(["q"]))
        await asyncio.wait([waiter], timeout=0.1)
        with admin(own_server) as server:
            assert len(server.client_list(_type="pubsub")) == 1
            server.client_kill_filter(_type="pubsub")
        await storage.enqueue(Job("work", queue="q"))
        async with asyncio.timeout(BOUND):
            assert await waiter is True


@promises("Q16")
async def test_one_connection_for_any_number_of_waiters(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, pool_size=4) as storage:
        waiters = [asyncio.ensure_future(storage.wait_for_jobs([f"q{index}"], 30)) for index in range(100)]
        await asyncio.wait(waiters, timeout=0.3)
        with admin(own_server) as server:
            assert len(server.client_list(_type="pubsub")) == 1
            assert len(server.client_list(_type="normal")) <= 4 + 1
        await storage.enqueue_many([Job("work", queue=f"q{index}") for index in range(100)])
        async with asyncio.timeout(BOUND):
            assert all(await asyncio.gather(*waiters))


@promises("E4", "L3")
async def test_a_restart_under_load_loses_nothing(durable_server: RedisServer) -> None:
    async with storage_on(durable_server.url, command_timeout=8) as storage:
        await put(storage, 400)
        accepted: list[str] = []

        async def work(name: str) -> None:
            while True:
                try:
                    jobs = await storage.fetch_available_jobs_atomic(name, 10, lock_timeout=3600)
                    if not jobs:
                        return
                    for job in jobs:
                        job.set_state(JobState.succeeded(1))
                    for job, verdict in zip(jobs, await storage.update_many(jobs), strict=True):
                        if verdict is None:
                            accepted.append(job.id)
                except StorageError as error:
                    assert error.retryable, error

        workers = [asyncio.ensure_future(work(f"w{index}")) for index in range(4)]
        for _ in range(2):
            await asyncio.sleep(0.01)
            await asyncio.to_thread(durable_server.kill)
            await asyncio.to_thread(durable_server.start)
        async with asyncio.timeout(3 * BOUND):
            await asyncio.gather(*workers)
        assert len(accepted) == len(set(accepted)), "a job was settled twice"
        counts = await storage.get_job_counts()
        assert counts[JobStateKind.SUCCEEDED] + counts[JobStateKind.PROCESSING] == 400
        assert counts[JobStateKind.SUCCEEDED] >= len(accepted)
        assert await storage.verify() == []


@promises("E4")
async def test_a_server_that_is_gone(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, command_timeout=0.5) as storage:
        await put(storage, 1)
        await asyncio.to_thread(own_server.kill)
        start = time.monotonic()
        with pytest.raises(StorageConnectionError) as caught:
            await storage.enqueue(Job("work"))
        assert caught.value.retryable
        assert time.monotonic() - start < BOUND
        with pytest.raises(StorageConnectionError):
            await RedisStorage(RedisConfig(url=own_server.url, command_timeout=0.5)).open()


@promises("E4", "E5")
async def test_a_full_server_takes_no_jobs_and_lets_work_go_on(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        await put(storage, 50)
        with admin(own_server) as server:
            server.config_set("maxmemory", "1mb")
            with pytest.raises(StorageUnavailableError) as caught:
                await storage.enqueue(Job("work"))
            assert (caught.value.outcome, caught.value.retryable) == ("not_applied", True)
            jobs = await storage.fetch_available_jobs_atomic("w", 50)
            assert len(jobs) == 50
            for job in jobs:
                job.set_state(JobState.succeeded(1))
            assert await storage.update_many(jobs) == [None] * 50
            assert await storage.purge("succeeded", 0) == 50
            server.config_set("maxmemory", "0")
        await storage.enqueue(Job("work"))
        assert await storage.verify() == []


@pytest.mark.parametrize("key", ["meta", "job", "body", "timers", "queues", "q:default", "k:0", "d1", "locks"])
@promises("E4", "E5")
async def test_a_key_of_another_type_is_named_and_nothing_is_half_done(own_server: RedisServer, key: str) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 5)
            name = f"{{{storage.config.key_prefix}}}:{key}"
            server.copy(name, "aside", replace=True)
            had = server.exists("aside")
            server.delete(name)
            server.rpush(name, "not ours")
            before = contents(server)
            for call in (storage.enqueue(Job("work")), storage.fetch_and_lock_job("w")):
                try:
                    await call
                except ConfigurationError as error:
                    assert error.outcome == "not_applied"
                    assert "WRONGTYPE" in str(error)
                else:
                    # An enqueue into a queue that has jobs has nothing to do with those.
                    assert key in ("timers", "queues", "d1"), "it did not see the key"
                    before = contents(server)
                    continue
                assert contents(server) == before
            server.delete(name)
            if had:
                server.rename("aside", name)
        assert await storage.verify() == []
        assert len(await storage.get_available_jobs()) in (5, 6)


@promises("E5")
async def test_refusals_by_their_codes(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, command_timeout=0.3) as storage:
        await put(storage, 1)
        with admin(own_server) as server:
            server.config_set("min-replicas-to-write", "3")
            with pytest.raises(StorageUnavailableError, match="NOREPLICAS"):
                await storage.enqueue(Job("work"))
            server.config_set("min-replicas-to-write", "0")
            server.execute_command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(StorageUnavailableError) as caught:
                await storage.enqueue(Job("work"))
            assert caught.value.retryable
            server.execute_command("REPLICAOF", "NO", "ONE")
            await storage.enqueue(Job("work"))
            server.acl_setuser("shut", enabled=True, passwords=["+secret"], keys=["nothing:*"], categories=["+@all"])
        url = own_server.url.replace("redis://", "redis://shut:secret@")
        shut = RedisStorage(RedisConfig(url=url, command_timeout=1))
        with pytest.raises(AuthenticationError) as refused:
            await shut.enqueue(Job("work"))
        assert "secret" not in str(refused.value)
        await shut.close()
        wrong = RedisStorage(RedisConfig(url=url.replace("secret", "hunter2"), command_timeout=1))
        with pytest.raises(AuthenticationError) as refused:
            await wrong.open()
        assert "hunter2" not in f"{refused.value!r} {wrong!r}"
        await wrong.close()


@promises("C1", "C3")
async def test_settings_that_lose_jobs(own_server: RedisServer) -> None:
    with admin(own_server) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
    storage = RedisStorage(RedisConfig(url=own_server.url))
    with pytest.warns(StorageWarning, match="maxmemory-policy is allkeys-lru"):
        await storage.open()
    await storage.close()
    strict = RedisStorage(RedisConfig(url=own_server.url, strict=True))
    with pytest.raises(ConfigurationError, match=r"allkeys-lru.*appendonly is off"):
        await strict.open()
    await strict.close()
    with admin(own_server) as server:
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("appendonly", "yes")
    async with RedisStorage(RedisConfig(url=own_server.url, strict=True)) as fine:
        await fine.enqueue(Job("work"))
