"""The memory backend, as the contract suite sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ferroq import ManualClock, MemoryConfig, MemoryStorage
from ferroq.storage import Storage
from ferroq.testing import ContractBackend


class MemoryBackend(ContractBackend):
    """Stores on one clock that stands still until it is moved."""

    name = "memory"
    features = frozenset({"clock", "capacity", "nowait"})

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.opened: list[Storage] = []

    async def open(self, **options: Any) -> Storage:
        storage = await MemoryStorage(MemoryConfig(**options), clock=self.clock)
        self.opened.append(storage)
        return storage

    async def reopen(self, storage: Storage) -> Storage:
        other = storage.clone()
        self.opened.append(other)
        return await other

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def now(self) -> datetime:
        return self.clock.now()

    async def close(self) -> None:
        for storage in self.opened:
            # A clone that nobody closed still sees the store, whatever became of the original.
            await storage.close()
