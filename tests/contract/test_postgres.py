"""The contract, on the Postgres backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ferroq.testing import ServerContract
from ferroq.testing.contract.life import CancelContract, LifeContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.waiting import WaitContract

from .postgres_backend import PostgresBackend


@pytest.fixture
async def backend(anyio_backend: object, postgres_dsn: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(postgres_dsn)
    yield backend
    await backend.close()


class TestPostgres(ServerContract):
    """All of it, on asyncio."""


class TestPostgresOnUvloop(WaitContract, CancelContract, LifeContract, ContractBase):
    """What depends on the event loop, on another one."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return ("asyncio", {"use_uvloop": True})
