"""How a backend plugs into the suite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, ClassVar, Literal

from ferroq.storage import Storage


class ContractBackend(ABC):
    """What the suite needs of a backend: fresh stores, and a clock that can be moved."""

    name: ClassVar[str]
    """What the backend's errors carry as `backend`, and what its tests count under."""

    features: ClassVar[frozenset[str]] = frozenset()
    """What only some can do; "corrupt": records can be damaged, see `corrupt` and `ServerContract`."""

    @abstractmethod
    async def open(self, **options: Any) -> Storage:
        """A storage on a fresh, empty store of its own.

        Args:
            options: the fields that all configs share (`lock_timeout`, `max_crashes`, `max_payload_bytes`,
                `server_name`, `keep_succeeded`, `keep_failed`, `keep_deleted`, `strict`), and the backend's own.
        """

    @abstractmethod
    async def reopen(self, storage: Storage) -> Storage:
        """A second, independent storage on the store of the first: another client."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Moves the clock of every store that this object opened, and of those it will open."""

    @abstractmethod
    async def now(self) -> datetime:
        """The backend's clock."""

    async def corrupt(self, storage: Storage, job_id: str, part: Literal["record", "arguments"]) -> None:
        """Damages what is stored of a job, behind the storage's back: the record, or only its arguments' text."""
        raise NotImplementedError(f"{self.name}: its records cannot be damaged")

    @abstractmethod
    async def close(self) -> None:
        """Closes all that was opened, and fails if a key, a row or a lock is left that nothing accounts for."""
