"""What tests need: the contract suite for whoever writes a backend, and a pytest plugin for whoever uses one.

`StorageContract` is the suite that every backend of this package passes. To run it on a backend of your own::

    from ferroq.testing import ContractBackend, StorageContract

    class MyBackend(ContractBackend): ...

    @pytest.fixture
    async def backend():
        backend = MyBackend()
        yield backend
        await backend.close()

    class TestMine(StorageContract): ...

It needs pytest and anyio (`ferroq[test]`). The fixtures `ferroq_storage` and `ferroq_clock` come with the package and
need no import: see `ferroq.testing.plugin`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .contract import ContractBackend, ServerContract, StorageContract

__all__ = ["ContractBackend", "ServerContract", "StorageContract"]

# Here and not below: whichever module of the suite is imported first comes by this line, and it has to come before.
pytest.register_assert_rewrite(f"{__name__}.contract")


def __getattr__(name: str) -> Any:
    # Lazy, because the plugin lives in this package and every pytest run of every user loads it: the suite must cost
    # them nothing.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.contract"), name)
