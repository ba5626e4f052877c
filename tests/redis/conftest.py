"""Servers of their own for the tests that break one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
