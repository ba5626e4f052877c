"""Session fixtures that give the address of a real server; a server that cannot be had is an error, never a skip.

`FERROQ_TEST_FLAVOUR=debian` takes the distribution's servers instead of the wheels'. `FERROQ_TEST_REDIS_URL` and
`FERROQ_TEST_DATABASE_URL` name a server of your own, on which the tests make and remove keys and schemas of their own
names; the product's own variables are never read here, so that a test run cannot meet a production store by accident.
Fault tests start servers of their own, from `tests.servers`, in every case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import cast

import pytest

from tests.servers import Flavour, PostgresServer, RedisServer


@pytest.fixture(scope="session")
def server_flavour() -> Flavour:
    """Where this run's servers come from."""
    flavour = os.environ.get("FERROQ_TEST_FLAVOUR", "wheel")
    if flavour not in ("wheel", "debian"):
        raise pytest.UsageError(f"FERROQ_TEST_FLAVOUR is {flavour!r}; it can be 'wheel' or 'debian'")
    return cast(Flavour, flavour)


@pytest.fixture(scope="session")
def redis_url(server_flavour: Flavour) -> Iterator[str]:
    """The address of a Redis or Valkey that the whole session shares."""
    if own := os.environ.get("FERROQ_TEST_REDIS_URL"):
        yield own
        return
    with RedisServer(server_flavour) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_dsn(server_flavour: Flavour) -> Iterator[str]:
    """The address of a PostgreSQL that the whole session shares."""
    if own := os.environ.get("FERROQ_TEST_DATABASE_URL"):
        yield own
        return
    with PostgresServer(server_flavour) as server:
        yield server.dsn
