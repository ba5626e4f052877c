"""ferroq: job storage for Python with a Rust core. At-least-once delivery, at most one accepted result per claim."""

from __future__ import annotations

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
from .storage import Storage

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
