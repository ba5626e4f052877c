"""Servers of their own for the tests that break one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.contract.redis_backend import KNOWN
from tests.servers import Flavour, RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def own_server(server_flavour: Flavour) -> Iterator[RedisServer]:
    """A server that the test may kill, starve and flush."""
    with RedisServer(server_flavour) as server:
        yield server


@pytest.fixture
def durable_server(server_flavour: Flavour) -> Iterator[RedisServer]:
    """The same, with an AOF that each write reaches before its answer."""
    with RedisServer(server_flavour, durable=True, options={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_strange_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """On the server that all tests share, a test of this folder leaves keys of the layout only; they are removed."""
    yield
    if "redis_url" not in request.fixturenames:
        return
    with Redis.from_url(request.getfixturevalue("redis_url"), protocol=2) as server:
        keys = [key for part in ("{test-*", "{app*", "{ferroq}*") for key in server.scan_iter(match=part, count=1000)]
        strange = [key for key in keys if not KNOWN.fullmatch(key.partition(b"}:")[2])]
        if keys:
            server.delete(*keys)
        assert strange == []
