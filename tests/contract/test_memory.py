"""The contract, on the memory backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ferroq.testing import StorageContract
from ferroq.testing.contract.life import CancelContract, LifeContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.waiting import WaitContract

from .memory_backend import MemoryBackend


@pytest.fixture
async def backend(anyio_backend: object) -> AsyncIterator[MemoryBackend]:
    backend = MemoryBackend()
    yield backend
    await backend.close()


class TestMemory(StorageContract):
    """All of it, on asyncio."""


class TestMemoryOnUvloop(WaitContract, CancelContract, LifeContract, ContractBase):
    """What depends on the event loop, on another one."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return ("asyncio", {"use_uvloop": True})
