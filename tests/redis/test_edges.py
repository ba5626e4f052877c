"""What two reviews found: each was wrong once."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    AuthenticationError,
    ConcurrentModificationError,
    ConfigurationError,
    CorruptJobError,
    JobAlreadyExistsError,
    LockLostError,
    LoopMismatchError,
    PayloadTooLargeError,
    StorageClosedError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
    StorageWarning,
)
from ferroq.redis import RedisConfig, RedisStorage, scripts, waiter
from ferroq.redis.client import Client
from ferroq.testing.contract import promises
from tests.servers import RedisServer

from .support import BOUND, Proxy, put, storage_on
from .test_faults import admin, contents

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]


def key(storage: RedisStorage, name: str) -> str:
    return f"{{{storage.config.key_prefix}}}:{name}"


async def settled(storage: RedisStorage, jobs: list[Job]) -> list[StorageError | None]:
    for job in jobs:
        job.set_state(JobState.succeeded(1))
    return await storage.update_many(jobs)


class Failing:
    """Lets so many scripts of a client pass, and refuses the next."""

    def __init__(self, storage: RedisStorage, monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
        true = Client.script

        async def script(client: Client, operation: str, *arguments: Any, **options: Any) -> Any:
            nonlocal passes
            passes -= 1
            if passes < 0:
                raise StorageConnectionError("away", backend="redis", operation=operation)
            return await true(client, operation, *arguments, **options)

        monkeypatch.setattr(Client, "script", script)


# ---------------------------------------------------------------------- order


@promises("Q24", "Q7")
@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_no_script_compares_strings(script: scripts.Script) -> None:
    """Lua compares them by the server's locale: only numbers may be ordered."""
    names = set(re.findall(rb"(?<![#\w])([\w.]+(?:\[\w+\])?) [<>]=? ([\w.]+(?:\[\w+\])?)", script.text))
    text = {b"member", b"seq6", b"id", b"ids", b"name", b"h", b"body", b"a.member", b"b.member", b"a[2]"}
    assert {name for pair in names for name in pair} & text == set()
    assert b"table.sort(found)" not in script.text


@promises("Q23", "Q28")
async def test_what_came_due_before_the_clock_went_back_waits_again(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await storage.enqueue(Job("work", id="later"))
            [job] = await storage.fetch_available_jobs_atomic("w", 1)
            assert await storage.release_jobs([job], delay=100) == [True]
            server.hset(key(storage, "meta"), "clock", 200_000_000)
            assert [job.id for job in await storage.get_available_jobs()] == ["later"]
            server.hset(key(storage, "meta"), "clock", 0)
            assert await storage.get_available_jobs() == []
            assert await storage.fetch_and_lock_job("w") is None
            server.hset(key(storage, "meta"), "clock", 200_000_000)
            assert await storage.fetch_and_lock_job("w") is not None
            assert await storage.verify() == []


@promises("Q26")
async def test_ended_locks_on_names_are_no_part_of_a_wave(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            for index in range(150):
                assert await storage.try_acquire_job_lock(f"name-{index}", "w", 10)
            [job] = await put(storage, 1)
            [job] = await storage.fetch_available_jobs_atomic("w", 1)
            assert await storage.release_jobs([job], delay=20) == [True]
            server.hset(key(storage, "meta"), "clock", 30_000_000)
            assert await storage.fetch_and_lock_job("w") is not None
            assert await storage.verify() == []
            assert not server.exists(key(storage, "locks"), key(storage, "ends"))


@promises("L5")
async def test_where_nobody_claims_ended_locks_go_all_the_same(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            for index in range(50):
                server.hset(key(storage, "meta"), "clock", index * 2_000_000)
                assert await storage.try_acquire_job_lock(f"name-{index}", "w", 1)
            assert server.hlen(key(storage, "locks")) == 1


@promises("L4", "Q7")
async def test_looking_changes_nothing_for_a_job_that_lapsed_too_often(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, max_crashes=1) as storage:
        with admin(own_server) as server:
            await storage.enqueue_many([Job("work", id="doomed", priority=-1), Job("work", id="fine", queue="other")])
            [held] = await storage.fetch_available_jobs_atomic("w", 1, ["default"], lock_timeout=10)
            server.hset(key(storage, "meta"), "clock", 20_000_000)
            assert [job.id for job in await storage.get_available_jobs()] == ["fine"]
            assert [job.id for job in await storage.fetch_available_jobs_atomic("w", 1)] == ["fine"]
            held.set_state(JobState.succeeded(1))
            with pytest.raises(LockLostError):
                await storage.update(held)
            assert (await storage.get_job_counts())[JobStateKind.FAILED] == 1
            assert await storage.verify() == []


# ---------------------------------------------------------------------- servers that refuse


@promises("E4", "E5")
async def test_a_user_without_the_channel_is_refused_before_anything_is_stored(own_server: RedisServer) -> None:
    with admin(own_server) as server:
        server.execute_command("ACL", "SETUSER", "mute", "reset", "on", ">secret", "~*", "+@all")
        server.execute_command("ACL", "SETUSER", "weak", "reset", "on", ">secret", "~*", "&*", "+@all", "-zrem")
        for user, command in (("mute", "spublish"), ("weak", "zrem")):
            url = own_server.url.replace("redis://", f"redis://{user}:secret@")
            with pytest.raises(AuthenticationError, match=command):
                await RedisStorage(RedisConfig(url=url)).enqueue(Job("work"))
            assert server.dbsize() == 0


@promises("Q1", "Q12")
async def test_a_full_server_knows_the_jobs_that_it_has(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        await put(storage, 3)
        with admin(own_server) as server:
            server.config_set("maxmemory", "1mb")
            with pytest.raises(JobAlreadyExistsError):
                await storage.enqueue(Job("work", id="job-1"))
            assert await storage.enqueue(Job("work", id="job-1"), if_exists="skip") is False
            with pytest.raises(JobAlreadyExistsError, match="twice"):
                await storage.enqueue_many([Job("work", id="twice"), Job("work", id="twice")])
            with pytest.raises(StorageUnavailableError):
                await storage.enqueue_many([Job("work", id="job-1"), Job("work", id="new")], if_exists="skip")
            server.config_set("maxmemory", "0")


@promises("Q13", "E4")
async def test_one_job_of_a_server_that_is_gone_has_a_verdict(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, command_timeout=0.3) as storage:
        await put(storage, 1)
        jobs = await storage.fetch_available_jobs_atomic("w", 1)
        own_server.kill()
        [verdict] = await settled(storage, jobs)
        assert isinstance(verdict, StorageConnectionError | StorageTimeoutError)
        with pytest.raises((StorageConnectionError, StorageTimeoutError)):
            await storage.update(jobs[0])


@promises("J14", "E2")
async def test_bad_input_is_refused_before_any_connection() -> None:
    storage = RedisStorage(RedisConfig(url="redis://127.0.0.1:1", command_timeout=0.2))
    with pytest.raises(PayloadTooLargeError):
        await storage.enqueue(Job("work", ["x" * 2_000_000]))
    with pytest.raises(TypeError):
        await storage.update("no job")  # type: ignore[arg-type]


@promises("E4", "Q15", "Q17")
async def test_a_call_of_several_steps_says_when_some_were_done(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with storage_on(redis_url) as storage:
        await put(storage, 1500)
        held = await storage.fetch_available_jobs_atomic("w", 1000)
        held += await storage.fetch_available_jobs_atomic("w", 500)
        with monkeypatch.context() as patch:
            Failing(storage, patch, 1)
            with pytest.raises(StorageConnectionError) as caught:
                await storage.release_jobs(held)
        assert caught.value.outcome == "unknown"
        with monkeypatch.context() as patch:
            Failing(storage, patch, 0)
            with pytest.raises(StorageConnectionError) as caught:
                await storage.release_jobs(held)
        assert caught.value.outcome == "not_applied"


# ---------------------------------------------------------------------- keys of another type


@promises("E4")
async def test_a_broken_ready_set_leaves_no_half_of_a_settlement(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 6)
            held = await storage.fetch_available_jobs_atomic("w", 6, lock_timeout=10)
            server.hset(key(storage, "meta"), "clock", 20_000_000)
            assert len(await storage.get_available_jobs()) == 6  # taken over, all six
            server.delete(key(storage, "q:default"))
            server.rpush(key(storage, "q:default"), "not ours")
            before = contents(server)
            verdicts = await settled(storage, held)
            assert {type(verdict) for verdict in verdicts} == {ConfigurationError}
            assert contents(server) == before
            # The clock goes back: the locks live again, and what the foreign key may hold is none of ours.
            server.hset(key(storage, "meta"), "clock", 0)
            assert await storage.update_many(held) == [None] * 6
            assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == 6


@promises("E4")
async def test_a_claim_that_cannot_go_on_has_failed_no_job(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, max_crashes=1) as storage:
        with admin(own_server) as server:
            await storage.enqueue_many([Job("work", queue="a"), Job("work", queue="b")])
            await storage.fetch_available_jobs_atomic("w", 1, ["a"], lock_timeout=10)
            server.hset(key(storage, "meta"), "clock", 20_000_000)
            server.delete(key(storage, "q:b"))
            server.rpush(key(storage, "q:b"), "not ours")
            before = contents(server)
            with pytest.raises(ConfigurationError):
                await storage.fetch_and_lock_job("w")
            assert contents(server) == before


# ---------------------------------------------------------------------- bytes that are not what they should be


@promises("E3")
@pytest.mark.parametrize("harm", ["no body", "short body", "another's sequence", "no record"])
async def test_half_a_job_stops_no_other(own_server: RedisServer, harm: str) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 3)
            bodies, records = key(storage, "body"), key(storage, "job")
            body: Any = server.hget(bodies, "job-1")
            if harm == "no body":
                server.hdel(bodies, "job-1")
            elif harm == "short body":
                server.hset(bodies, "job-1", b"xyz")
            elif harm == "another's sequence":
                other: Any = server.hget(bodies, "job-2")
                server.hset(bodies, "job-1", other[:6] + body[6:])
            else:
                server.hdel(records, body[:6])
            jobs = await storage.fetch_available_jobs_atomic("w", 10)
            assert [job.id for job in jobs] == ["job-0", "job-2"]
            counts = await storage.get_job_counts()
            assert (counts[JobStateKind.PROCESSING], counts[JobStateKind.FAILED]) == (2, 1)
            if harm != "no body":
                with pytest.raises(CorruptJobError):
                    await storage.get("job-1")
                assert await storage.delete("job-1") is True
            assert await storage.get("job-1") is None
            await storage.enqueue(Job("again", id="job-1"))
            with pytest.warns(StorageWarning) if harm != "no record" else _nothing():
                await storage.list()
            await storage.purge("failed", 0)
            assert (await storage.get("job-1")).method == "again"  # type: ignore[union-attr]
            assert await settled(storage, jobs) == [None, None]
            assert [job.method for job in await storage.fetch_available_jobs_atomic("w", 10)] == ["again"]


class _nothing:  # noqa: N801 - stands where a context manager would
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@promises("Q11", "E3")
async def test_jobs_in_hand_outlive_an_error_about_a_broken_one(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 3)
            server.hdel(key(storage, "body"), "job-1")
            with monkeypatch.context() as patch:
                Failing(storage, patch, 1)
                jobs = await storage.fetch_available_jobs_atomic("w", 3)
            assert [job.id for job in jobs] == ["job-0", "job-2"]


@promises("Q11")
async def test_the_byte_cap_counts_bytes(redis_url: str) -> None:
    async with storage_on(redis_url) as storage:
        await storage.enqueue_many([Job("work", ["\N{CRAB}" * 200_000]) for _ in range(24)])
        first = await storage.fetch_available_jobs_atomic("w", 24)
        assert len(first) == 16 * 1024 * 1024 // 800_300
        assert len(await storage.fetch_available_jobs_atomic("w", 24)) == 24 - len(first)


@promises("L3", "E4")
async def test_numbers_that_this_store_cannot_have_given(redis_url: str) -> None:
    async with storage_on(redis_url) as storage:
        [job] = await put(storage, 1)
        text = re.sub(r'"version":\s*\d+', f'"version":{2**32}', job.to_json())
        text = re.sub(r'"sequence":\s*\d+', f'"sequence":{2**50}', text)
        strange = Job.from_json(text)
        assert (strange.version, strange.sequence) == (2**32, 2**50)
        with pytest.raises(ConcurrentModificationError):
            await storage.update(strange)


# ---------------------------------------------------------------------- explicit locks


@promises("Q4", "Q17", "C1")
async def test_the_lock_goes_with_its_job(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, keep_deleted=0) as storage:
        with admin(own_server) as server:
            await put(storage, 2)
            for index in range(2):
                assert await storage.try_acquire_job_lock(f"job-{index}", "w", 60)
            [job] = [job for job in await storage.list() if job.id == "job-0"]
            job.set_state(JobState.deleted())
            await storage.update(job)
            [job] = await storage.list()
            job.set_state(JobState.failed("no"))
            await storage.update(job)
            assert await storage.purge("failed", 0) == 1
            assert not server.exists(key(storage, "locks"), key(storage, "ends"))
            assert await storage.try_acquire_job_lock("job-0", "v", 60)
            assert await storage.verify() == []


# ---------------------------------------------------------------------- answers that are lost


@promises("L7")
async def test_a_first_sending_that_comes_last_claims_nothing_more(redis_url: str) -> None:
    async with storage_on(redis_url) as storage:
        await put(storage, 4)
        opened = storage._life.opened
        assert opened is not None
        client = opened.client
        state = ',"worker_id":"w","server_name":"s"}'
        arguments = (2, 60_000_000, 3, "w", state, client.slots.take(), b"request!", 10_000, 1 << 24)
        first = await client.script("claim", scripts.CLAIM, arguments)
        assert await client.script("claim", scripts.CLAIM, arguments) == first
        assert (await storage.get_job_counts())[JobStateKind.PROCESSING] == 2


@promises("L7")
async def test_nobody_else_answers_where_a_sending_may_be_under_way(redis_url: str) -> None:
    async with Proxy(int(redis_url.rsplit(":", 1)[1].split("/")[0])) as proxy, storage_on(proxy.url) as storage:
        await put(storage, 3)
        opened = storage._life.opened
        assert opened is not None
        client = opened.client
        await storage.fetch_and_lock_job("w")
        [slot] = client.slots._free
        proxy.lose_next()
        await storage.fetch_and_lock_job("w")
        assert client.slots._free == []
        await storage.fetch_and_lock_job("w")
        assert slot not in client.slots._free


@promises("Q15", "Q1")
async def test_what_a_re_sent_request_writes_back_is_what_is_stored(redis_url: str) -> None:
    async with Proxy(int(redis_url.rsplit(":", 1)[1].split("/")[0])) as proxy, storage_on(proxy.url) as storage:
        await put(storage, 1)
        [job] = await storage.fetch_available_jobs_atomic("w", 1)
        proxy.lose_next()
        assert await storage.release_jobs([job], delay=5) == [True]
        assert await storage.get(job.id) == job
        fresh = Job("work", id="fresh")
        proxy.lose_next()
        assert await storage.enqueue(fresh, if_exists="skip") is True
        assert await storage.get("fresh") == fresh
        fresh.set_state(JobState.deleted())
        await storage.update(fresh)
        assert await storage.verify() == []


@promises("L7", "Q20")
async def test_cancelled_and_closed_at_once(redis_url: str) -> None:
    for _ in range(10):
        async with storage_on(redis_url) as storage:
            await put(storage, 1)
            looking = storage.clone()
            claim = asyncio.ensure_future(storage.fetch_and_lock_job("w"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            claim.cancel()
            await asyncio.gather(claim, storage.close(), return_exceptions=True)
            assert (await looking.get_job_counts())[JobStateKind.ENQUEUED] == 1
            await looking.close()


@promises("E1", "Q20")
def test_closing_from_another_loop(redis_url: str) -> None:
    storage = RedisStorage(RedisConfig(url=redis_url))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(storage.open())

    async def close() -> None:
        await storage.close()

    with pytest.raises(LoopMismatchError):
        asyncio.run(close())
    loop.run_until_complete(storage.close())
    loop.close()


@promises("E1")
def test_an_opening_that_failed_binds_to_no_loop(own_server: RedisServer) -> None:
    storage = RedisStorage(RedisConfig(url=own_server.url))
    own_server.kill()

    async def call() -> None:
        await storage.enqueue(Job("work"))
        await storage.close()

    with pytest.raises(StorageConnectionError):
        asyncio.run(call())
    own_server.start()
    asyncio.run(call())


# ---------------------------------------------------------------------- waiting


def listeners(server: Redis) -> int:
    return len(server.client_list(_type="pubsub"))


@promises("Q16")
async def test_one_connection_for_all_storages_of_a_store(own_server: RedisServer) -> None:
    with admin(own_server) as server:
        async with storage_on(own_server.url, key_prefix="app", pool_size=3) as one:
            two = one.clone()
            three = RedisStorage(RedisConfig(url=own_server.url, key_prefix="app", lock_timeout=5))
            waits = [asyncio.ensure_future(each.wait_for_jobs([f"q{n}"])) for n, each in enumerate((one, two, three))]
            await asyncio.wait(waits, timeout=0.3)
            assert listeners(server) == 1
            await one.close()  # the others go on
            with pytest.raises(StorageClosedError):
                await waits[0]
            await two.enqueue_many([Job("work", queue=f"q{n}") for n in range(3)])
            async with asyncio.timeout(BOUND):
                assert await asyncio.gather(*waits[1:]) == [True, True]
            await two.close()
            await three.close()
            assert listeners(server) == 0


@promises("Q16")
async def test_a_strange_message_ends_nothing(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "TICK", 3600.0)
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            wait = asyncio.ensure_future(storage.wait_for_jobs(["q"]))
            await asyncio.wait([wait], timeout=0.2)
            for message in ("hello", "\udcff", "-1:q", "x:q"):
                server.execute_command("SPUBLISH", key(storage, "wake"), message.encode("utf-8", "replace"))
            await storage.enqueue(Job("work", queue="q"))
            async with asyncio.timeout(BOUND):
                assert await wait is True


@promises("Q16")
async def test_a_subscription_that_died_unseen_is_made_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "SILENCE", 0.05)
    monkeypatch.setattr(waiter, "TICK", 3600.0)
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    async with Proxy(port) as proxy, storage_on(proxy.url, connection_timeout=0.1) as storage:
        wait = asyncio.ensure_future(storage.wait_for_jobs(["q"]))
        await asyncio.wait([wait], timeout=0.3)
        before = proxy.connections
        proxy.deaf = True
        async with asyncio.timeout(BOUND):
            while proxy.connections < before + 2:
                await asyncio.sleep(0.01)
        proxy.deaf = False
        await asyncio.gather(wait, return_exceptions=True)  # told that nobody answered
        async with asyncio.timeout(BOUND):
            while True:
                with contextlib.suppress(StorageError):
                    assert await storage.wait_for_jobs(["q"], 0.2) is False
                    break
        wait = asyncio.ensure_future(storage.wait_for_jobs(["q"]))
        await asyncio.wait([wait], timeout=0.3)
        await storage.enqueue(Job("work", queue="q"))
        async with asyncio.timeout(BOUND):
            assert await wait is True


@promises("E4")
@pytest.mark.parametrize(
    "name",
    ["meta", "job", "body", "timers", "queues", "ends", "locks", "q:default", "k:0", "d0", "d1", "d2", "f2"],
)
@pytest.mark.parametrize("short", [True, False])
async def test_whatever_key_is_not_ours_nothing_is_half_done(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch, name: str, short: bool
) -> None:
    for script in ("ENQUEUE", "CLAIM", "UPDATE"):
        monkeypatch.setattr(scripts, script, scripts.load(script.lower(), short=short))
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 10)
            held = await storage.fetch_available_jobs_atomic("w", 4)
            held[0].set_state(JobState.succeeded(1))
            await storage.update(held[0])
            held[1].set_state(JobState.succeeded(1))
            if not short:
                await storage.try_acquire_job_lock("job-9", "w", 60)
            server.delete(key(storage, name))
            server.rpush(key(storage, name), "not ours")
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: storage.enqueue(Job("work")),
                lambda: storage.enqueue_many([Job("work"), Job("work", queue="other", priority=3)]),
                lambda: storage.fetch_available_jobs_atomic("w", 3),
                lambda: storage.fetch_and_lock_job("w"),
                lambda: storage.update(held[1]),
                lambda: storage.release_jobs(held[2:3]),
                lambda: storage.release_jobs(held[3:4], delay=5),
                lambda: storage.extend_job_locks(held[2:]),
                lambda: storage.try_acquire_job_lock("job-8", "w", 60),
                lambda: storage.release_job_lock("job-9", "w"),
                lambda: storage.delete("job-7"),
                lambda: storage.purge("succeeded", 0),
                lambda: storage.get_available_jobs(),
            ]
            for call in calls:
                before = contents(server)
                try:
                    await call()
                except ConfigurationError as error:
                    assert error.outcome == "not_applied"
                    assert contents(server) == before
