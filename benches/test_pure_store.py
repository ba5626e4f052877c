"""The yardstick keeps what it is said to keep: the contract's tests, with its classes in place of the native ones."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from time import monotonic_ns
from typing import Any, ClassVar, cast

import pytest

from ferroq.errors import StorageError
from ferroq.storage import Storage
from ferroq.testing import ContractBackend
from ferroq.testing.contract.claims import ClaimContract
from ferroq.testing.contract.enqueue import EnqueueContract
from ferroq.testing.contract.enqueue_many import EnqueueManyContract
from ferroq.testing.contract.explicit import ExplicitLockContract
from ferroq.testing.contract.lapse import LapseContract
from ferroq.testing.contract.listing import ListContract
from ferroq.testing.contract.order import OrderContract
from ferroq.testing.contract.record import RecordContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.update_free import FreeUpdateContract
from ferroq.testing.contract.update_held import HeldUpdateContract

from . import pure
from .conftest import BEYOND
from .pure.values import to_datetime

CLASSES = ("Job", "JobLock", "JobState")


class Named:
    """A store whose errors say where they come from, which the yardstick leaves out."""

    def __init__(self, store: pure.PureStore) -> None:
        self._store = store

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._store, operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except StorageError as error:
                raise named(error, operation) from error.__cause__

        async def call_many(jobs: Any) -> Any:
            verdicts = await method(jobs)
            return [error and named(error, operation) for error in verdicts]

        return call_many if operation == "update_many" else call


def named(error: StorageError, operation: str) -> StorageError:
    error.backend, error.operation = PureBackend.name, operation
    return error


class PureBackend(ContractBackend):
    """Stores of the yardstick whose clocks move together."""

    name: ClassVar[str] = "pure"

    def __init__(self) -> None:
        self._stores: list[pure.PureStore] = []
        self._moved = 0

    async def open(self, **options: Any) -> Storage:
        store = pure.PureStore(**options)
        store.offset += self._moved
        self._stores.append(store)
        return cast(Storage, Named(store))

    async def reopen(self, storage: Storage) -> Storage:
        return storage

    async def advance(self, seconds: float) -> None:
        micros = round(seconds * 1e6)
        self._moved += micros
        for store in self._stores:
            store.offset += micros

    async def now(self) -> datetime:
        if not self._stores:
            await self.open()
        return to_datetime(monotonic_ns() // 1000 + self._stores[0].offset)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest.fixture
async def backend(anyio_backend: object) -> AsyncIterator[PureBackend]:
    backend = PureBackend()
    yield backend
    await backend.close()


@pytest.fixture(autouse=True)
def pure_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module of the suite makes the yardstick's jobs and states."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ferroq.testing.contract."):
            for each in CLASSES:
                if hasattr(module, each):
                    monkeypatch.setattr(module, each, getattr(pure, each))


class TestPureStore(
    EnqueueContract,
    EnqueueManyContract,
    RecordContract,
    ListContract,
    ClaimContract,
    OrderContract,
    HeldUpdateContract,
    FreeUpdateContract,
    ExplicitLockContract,
    LapseContract,
    ContractBase,
):
    """All that these topics ask for, but for `BEYOND`."""


def test_what_is_left_out_is_still_there() -> None:
    """A test that was renamed or removed must not stay in the list of those left out."""
    assert [name for name in BEYOND if not hasattr(TestPureStore, name)] == []
