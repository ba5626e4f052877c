"""The contract, on Redis and Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ferroq.testing import ServerContract
from ferroq.testing.contract.life import CancelContract, LifeContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.waiting import WaitContract

from .redis_backend import RedisBackend

# The shared test server writes nothing to disk, of which a storage rightly warns whenever it connects.
pytestmark = pytest.mark.filterwarnings("ignore:appendonly is off:ferroq.errors.StorageWarning")


@pytest.fixture
async def backend(anyio_backend: object, redis_url: str) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(redis_url)
    yield backend
    await backend.close()


class TestRedis(ServerContract):
    """All of it, on asyncio."""


class TestRedisOnUvloop(WaitContract, CancelContract, LifeContract, ContractBase):
    """What depends on the event loop, on another one."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return ("asyncio", {"use_uvloop": True})
