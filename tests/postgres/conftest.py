"""Fixtures of the Postgres tests: stores on the session's shared server, each in a schema of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from ferroq.postgres import PostgresStorage
from tests.contract.postgres_backend import PostgresBackend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def backend(anyio_backend: object, postgres_dsn: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(postgres_dsn)
    yield backend
    await backend.close()


@pytest.fixture
async def storage(backend: PostgresBackend) -> PostgresStorage:
    storage = await backend.open()
    assert isinstance(storage, PostgresStorage)
    return storage


@pytest.fixture
async def connection(anyio_backend: object, postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the same database."""
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()
