"""The contract once more with scripts that have no short ways: both must answer alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ferroq.redis import scripts
from ferroq.testing.contract.batches import ReleaseContract, UpdateManyContract
from ferroq.testing.contract.claims import ClaimContract
from ferroq.testing.contract.enqueue import EnqueueContract
from ferroq.testing.contract.enqueue_many import EnqueueManyContract
from ferroq.testing.contract.order import OrderContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.update_held import HeldUpdateContract
from tests.contract.redis_backend import RedisBackend

pytestmark = [
    pytest.mark.scope("redis"),
    pytest.mark.filterwarnings("ignore:appendonly is off:ferroq.errors.StorageWarning"),
]


@pytest.fixture(autouse=True)
def long_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENQUEUE", "CLAIM", "UPDATE"):
        long = scripts.load(name.lower(), short=False)
        assert long.text != getattr(scripts, name).text
        monkeypatch.setattr(scripts, name, long)


@pytest.fixture
async def backend(anyio_backend: object, redis_url: str) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(redis_url)
    yield backend
    await backend.close()


class TestLongWays(
    EnqueueContract,
    EnqueueManyContract,
    ClaimContract,
    OrderContract,
    HeldUpdateContract,
    UpdateManyContract,
    ReleaseContract,
    ContractBase,
):
    """All that enqueues, claims or settles."""
