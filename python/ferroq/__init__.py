"""ferroq: job storage for Python with a Rust core. At-least-once delivery, at most one accepted result per claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._native import Job, JobLock, JobState, ManualClock
from .config import MemoryConfig
from .connect import StorageConfig, StorageInstance
from .errors import (
    AuthenticationError,
    CapacityExceededError,
    ConcurrentModificationError,
    ConfigurationError,
    ConflictError,
    CorruptJobError,
    ForkedStorageError,
    InvalidArgumentError,
    InvalidJobDataError,
    InvalidTransitionError,
    JobAlreadyExistsError,
    JobLockedError,
    JobNotFoundError,
    LockLostError,
    LoopMismatchError,
    PayloadTooLargeError,
    SchemaMismatchError,
    StorageClosedError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
    StorageWarning,
)
from .kinds import JobStateKind
from .memory import MemoryStorage
from .postgres.config import PostgresConfig
from .redis.config import RedisConfig
from .storage import Storage

if TYPE_CHECKING:
    from .postgres import PostgresStorage
    from .redis import RedisStorage

__all__ = [
    "AuthenticationError",
    "CapacityExceededError",
    "ConcurrentModificationError",
    "ConfigurationError",
    "ConflictError",
    "CorruptJobError",
    "ForkedStorageError",
    "InvalidArgumentError",
    "InvalidJobDataError",
    "InvalidTransitionError",
    "Job",
    "JobAlreadyExistsError",
    "JobLock",
    "JobLockedError",
    "JobNotFoundError",
    "JobState",
    "JobStateKind",
    "LockLostError",
    "LoopMismatchError",
    "ManualClock",
    "MemoryConfig",
    "MemoryStorage",
    "PayloadTooLargeError",
    "PostgresConfig",
    "PostgresStorage",
    "RedisConfig",
    "RedisStorage",
    "SchemaMismatchError",
    "Storage",
    "StorageClosedError",
    "StorageConfig",
    "StorageConnectionError",
    "StorageError",
    "StorageInstance",
    "StorageTimeoutError",
    "StorageUnavailableError",
    "StorageWarning",
]


def __getattr__(name: str) -> Any:
    # These bring their driver along, which need not be installed.
    if name == "PostgresStorage":
        from .postgres import PostgresStorage

        return PostgresStorage
    if name == "RedisStorage":
        from .redis import RedisStorage

        return RedisStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
