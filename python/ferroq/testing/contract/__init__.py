"""The contract suite: one body of tests for every backend.

Each test names the promises of the contract that it proves; `promises.py` is the table of all of them, and `report.py`
holds a run against it.
"""

from __future__ import annotations

from .backend import ContractBackend
from .promises import PROMISES, promises
from .suite import ContractBase, ServerContract, StorageContract

__all__ = ["PROMISES", "ContractBackend", "ContractBase", "ServerContract", "StorageContract", "promises"]
