"""Where the server is, when it moves, and when nobody answers who should know."""

from __future__ import annotations

import asyncio
import time

import pytest

from ferroq import Job
from ferroq.errors import (
    AuthenticationError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from ferroq.redis import RedisConfig, RedisStorage
from ferroq.redis.client import Client
from ferroq.redis.scripts import PEEK
from ferroq.testing.contract import promises
from tests.servers import RedisServer

from .fakes import NIL, OK, Node, mute, slots_at
from .support import BOUND, storage_on

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]


def client(*nodes: Node, **options: float) -> Client:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return Client(RedisConfig(url=f"redis+cluster://{hosts}", **{"command_timeout": 2, **options}))  # type: ignore[arg-type]


@promises("E4")
async def test_after_a_move_there_is_one_redirect_and_then_none() -> None:
    async with Node(lambda _: NIL) as new, Node(mute) as old:
        moved = b"-MOVED 1 127.0.0.1:%d\r\n" % new.port
        old.answer = lambda words: slots_at(old.port) if words[0] == b"CLUSTER" else moved
        asking = client(old)
        for _ in range(3):
            assert await asking.command("get", "GET", "x") is None
        await asking.close()
        assert old.asked == [b"CLUSTER", b"GET"]
        assert new.asked == [b"GET"] * 3


@promises("E4")
async def test_an_ask_redirects_one_request() -> None:
    async with Node(lambda words: OK if words[0] == b"ASKING" else NIL) as new, Node(mute) as old:
        ask = b"-ASK 1 127.0.0.1:%d\r\n" % new.port
        old.answer = lambda words: slots_at(old.port) if words[0] == b"CLUSTER" else ask
        asking = client(old)
        for _ in range(2):
            assert await asking.command("get", "GET", "x") is None
        await asking.close()
        assert old.asked == [b"CLUSTER", b"GET", b"GET"]
        assert new.asked == [b"ASKING", b"GET"] * 2


@promises("E4")
async def test_an_ask_to_a_node_that_is_mute_ends_in_time() -> None:
    async with Node(mute) as silent, Node(mute) as old:
        ask = b"-ASK 1 127.0.0.1:%d\r\n" % silent.port
        old.answer = lambda words: slots_at(old.port) if words[0] == b"CLUSTER" else ask
        asking = client(old, command_timeout=0.3)
        async with asyncio.timeout(BOUND):
            with pytest.raises(StorageError) as caught:
                await asking.command("get", "GET", "x")
        assert caught.value.retryable
        await asking.close()


@promises("E4", "E5")
async def test_keys_between_two_nodes_are_waited_for() -> None:
    said = [b"-ERR Script attempted to access a non local key in a cluster node\r\n"]
    async with Node(mute) as node:
        node.answer = lambda words: slots_at(node.port) if words[0] == b"CLUSTER" else said[0]
        asking = client(node, command_timeout=0.3)
        with pytest.raises(StorageUnavailableError) as caught:
            await asking.script("peek", PEEK, ())
        assert (caught.value.retryable, caught.value.outcome) == (True, "not_applied")
        await asking.close()
        patient = client(node, command_timeout=BOUND)
        waiting = asyncio.ensure_future(patient.script("peek", PEEK, ()))
        await asyncio.wait([waiting], timeout=0.05)
        said[0] = NIL
        assert await waiting is None
        await patient.close()


@promises("E4", "E5")
async def test_the_reason_of_a_refusal_stays_when_nobody_answers_after_it() -> None:
    for refusal in (b"-ERR Script attempted to access a non local key in a cluster node\r\n", b"-LOADING busy\r\n"):
        async with Node(mute) as node:
            script: list[bytes | None] = [None, refusal, slots_at(node.port)]
            node.answer = lambda _, script=script: script.pop()  # type: ignore[misc]
            asking = client(node, command_timeout=0.3)
            with pytest.raises(StorageUnavailableError) as caught:
                await asking.script("peek", PEEK, ())
            assert (caught.value.retryable, caught.value.outcome) == (True, "not_applied")
            assert node.asked == [b"CLUSTER", b"EVALSHA", b"CLUSTER"]
            await asking.close()


@promises("C3", "E4")
async def test_a_first_host_that_is_switched_off_does_not_matter() -> None:
    async with Node(mute) as dead, Node(mute) as live:
        live.answer = lambda words: slots_at(live.port) if words[0] == b"CLUSTER" else NIL
        asking = client(dead, live, connection_timeout=1)
        async with asyncio.timeout(0.9):
            assert await asking.command("get", "GET", "x") is None
        await asking.close()


@promises("E5", "C3")
async def test_who_may_not_ask_hears_so_at_once(own_server: RedisServer) -> None:
    url = f"redis+cluster://nobody:hunter2@127.0.0.1:{own_server.port}"
    storage = RedisStorage(RedisConfig(url=url, command_timeout=60))
    async with asyncio.timeout(BOUND):
        with pytest.raises(AuthenticationError) as caught:
            await storage.open()
    assert not caught.value.retryable


@promises("E4")
async def test_an_address_where_nothing_is_says_so_at_once(own_server: RedisServer) -> None:
    url = own_server.url
    own_server.kill()
    start = time.monotonic()
    with pytest.raises(StorageConnectionError) as caught:
        await RedisStorage(RedisConfig(url=url, command_timeout=60)).open()
    assert time.monotonic() - start < BOUND
    assert (caught.value.outcome, caught.value.retryable) == ("not_applied", True)


@promises("E4")
async def test_a_server_that_takes_connections_and_never_answers() -> None:
    async with Node(mute) as node:
        for url in (f"redis://127.0.0.1:{node.port}", f"redis://:secret@127.0.0.1:{node.port}/1"):
            storage = RedisStorage(RedisConfig(url=url, command_timeout=0.2, connection_timeout=0.2))
            async with asyncio.timeout(BOUND):
                with pytest.raises(StorageTimeoutError):
                    await storage.enqueue(Job("work"))


@promises("E4", "C3")
async def test_a_database_that_there_is_not(own_server: RedisServer) -> None:
    async with asyncio.timeout(BOUND):
        with pytest.raises(StorageError) as caught:
            await RedisStorage(RedisConfig(url=own_server.url[:-1] + "99", command_timeout=60)).open()
    assert not caught.value.retryable


@promises("C3")
async def test_the_environment_may_have_options(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"{redis_url}?key_prefix=from-the-environment&pool_size=3")
    config = RedisStorage().config
    assert (config.url, config.key_prefix, config.pool_size) == (redis_url, "from-the-environment", 3)


@promises("E4", "L7")
async def test_who_waits_too_long_for_a_connection_sends_nothing(redis_url: str) -> None:
    async with storage_on(redis_url, pool_size=1, command_timeout=0.3, connection_timeout=5) as storage:
        await storage.enqueue(Job("work"))
        opened = storage._life.opened
        assert opened is not None
        client = opened.client
        wire = await client._pool.take(asyncio.get_running_loop().time() + 1)
        claims = [asyncio.ensure_future(storage.fetch_and_lock_job("w")) for _ in range(3)]
        done, _ = await asyncio.wait(claims, timeout=BOUND)
        assert len(done) == 3
        for claim in done:
            error = claim.exception()
            assert isinstance(error, StorageTimeoutError)
            assert error.outcome == "not_applied"
        client._pool.give(wire)
        assert (await storage.get_job_counts())["enqueued"] == 1  # type: ignore[index]
