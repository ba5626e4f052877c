"""The suite, put together from its topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from ferroq.errors import StorageClosedError
from ferroq.storage import Storage

from .backend import ContractBackend
from .bad_input import BadInputContract
from .batches import ReleaseContract, RenewalContract, UpdateManyContract
from .claims import ClaimContract
from .enqueue import EnqueueContract
from .enqueue_many import EnqueueManyContract
from .explicit import ExplicitLockContract
from .housekeeping import ClockContract, PurgeContract, RetentionContract
from .lapse import LapseContract
from .life import CancelContract, LifeContract
from .listing import ListContract
from .order import OrderContract
from .record import RecordContract
from .server import CorruptRecordContract, LoopContract
from .update_free import FreeUpdateContract
from .update_held import HeldUpdateContract
from .waiting import WaitContract


class ContractBase:
    """The fixtures of the suite; with them a topic can be run alone: `class TestWaits(WaitContract, ContractBase)`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop to run on: asyncio, unless a subclass says otherwise."""
        return "asyncio"

    @pytest.fixture
    async def storage(self, anyio_backend: object, backend: ContractBackend) -> AsyncIterator[Storage]:
        """A storage on a store of its own; whatever a test does with it, its audit finds nothing afterwards."""
        storage = await backend.open()
        yield storage
        with suppress(StorageClosedError):  # the test's own doing
            assert await storage.verify() == []
        await storage.close()


class StorageContract(
    EnqueueContract,
    EnqueueManyContract,
    RecordContract,
    ListContract,
    ClaimContract,
    OrderContract,
    HeldUpdateContract,
    FreeUpdateContract,
    UpdateManyContract,
    RenewalContract,
    ReleaseContract,
    ExplicitLockContract,
    LapseContract,
    WaitContract,
    PurgeContract,
    RetentionContract,
    ClockContract,
    LifeContract,
    CancelContract,
    BadInputContract,
    ContractBase,
):
    """What every backend promises. Subclass it in a test module that has a fixture `backend`, a `ContractBackend`."""


class ServerContract(CorruptRecordContract, LoopContract, StorageContract):
    """The same, and what a backend on a server promises beyond it: damaged records, event loops, forks."""
