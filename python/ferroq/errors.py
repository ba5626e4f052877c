"""Every exception that ferroq raises, and nothing of a driver's.

::

    StorageError
    ├── JobNotFoundError (KeyError)                  no such job
    ├── JobAlreadyExistsError                        the id is taken
    ├── ConflictError                                somebody else was first
    │   ├── ConcurrentModificationError              the job changed since it was read
    │   ├── LockLostError                            the claim was taken over, cancelled or settled
    │   └── JobLockedError                           another holds a live lock on it
    ├── InvalidTransitionError (ValueError)          `set_state` out of the table
    ├── InvalidJobDataError (ValueError)             a job's own data
    ├── InvalidArgumentError (ValueError)            a method's argument
    ├── CapacityExceededError                        the store is full
    │   └── PayloadTooLargeError                     the job itself is too large
    ├── StorageConnectionError (ConnectionError)     refused or dropped           retryable
    ├── StorageTimeoutError (TimeoutError)           no answer in time            retryable
    ├── StorageUnavailableError                      up, but refusing             retryable
    ├── ConfigurationError                           set-up
    ├── AuthenticationError                          the server refuses the credentials
    ├── SchemaMismatchError                          says which command mends it
    ├── CorruptJobError                              one record cannot be decoded
    ├── StorageClosedError                           used after `close()`
    ├── ForkedStorageError                           used in a forked child
    └── LoopMismatchError                            used from a second event loop

    StorageWarning (UserWarning)                     the server's set-up or one record needs a look

This module is the one source of truth: the native module imports its classes from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, TypeAlias

Outcome: TypeAlias = Literal["not_applied", "unknown"]


class StorageError(Exception):
    """The root of the tree.

    Attributes:
        code: a stable identifier of the class, for logs and metrics.
        retryable: whether the same call may succeed later without any change.
        backend: "memory", "redis", "postgres", or None for a job's own errors.
        operation: name of the `Storage` method, or None for a job's own errors.
        outcome: "not_applied" (nothing changed) or "unknown" (the request was sent and no answer came).
        stored: how many jobs an `enqueue_many` had stored before it failed; 0 everywhere else.
    """

    code: ClassVar[str] = "storage_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        backend: str | None = None,
        operation: str | None = None,
        outcome: Outcome = "not_applied",
        stored: int = 0,
    ) -> None:
        super().__init__(message)
        self.backend = backend
        self.operation = operation
        self.outcome = outcome
        self.stored = stored

    def __str__(self) -> str:
        # KeyError quotes its text and OSError formats it: the message stands as it was given.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[StorageError], args: tuple[Any, ...], state: dict[str, Any]) -> StorageError:
    """Unpickles an error without passing through keyword-only constructors."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class _AboutJobs(StorageError):
    """An error that names the jobs it is about, each id once."""

    def __init__(self, message: str = "", *, job_ids: Iterable[str] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.job_ids = tuple(dict.fromkeys(job_ids))

    @property
    def job_id(self) -> str | None:
        """The first of `job_ids`."""
        return self.job_ids[0] if self.job_ids else None


class JobNotFoundError(_AboutJobs, KeyError):
    """No job of that id is stored."""

    code = "job_not_found"


class JobAlreadyExistsError(_AboutJobs):
    """A job of that id is stored already; nothing was changed."""

    code = "job_already_exists"


class ConflictError(_AboutJobs):
    """Somebody else was first; read the job again before you decide."""

    code = "conflict"


class ConcurrentModificationError(ConflictError):
    """The job changed since this copy of it was read."""

    code = "concurrent_modification"


class LockLostError(ConflictError):
    """The claim is no longer yours: it lapsed and was taken over, was cancelled, or was settled otherwise."""

    code = "lock_lost"


class JobLockedError(ConflictError):
    """Another holds a live lock on the job."""

    code = "job_locked"


class InvalidTransitionError(StorageError, ValueError):
    """`set_state` does not allow this change of state."""

    code = "invalid_transition"


class InvalidJobDataError(StorageError, ValueError):
    """A field of a job holds what a job cannot carry."""

    code = "invalid_job_data"


class InvalidArgumentError(StorageError, ValueError):
    """An argument of a storage method is out of its range."""

    code = "invalid_argument"


class CapacityExceededError(StorageError):
    """The store is full."""

    code = "capacity_exceeded"


class PayloadTooLargeError(CapacityExceededError):
    """The job carries more than `max_payload_bytes`, or more than 256 metadata keys."""

    code = "payload_too_large"


class StorageConnectionError(StorageError, ConnectionError):
    """The connection was refused or dropped."""

    code = "connection"
    retryable = True


class StorageTimeoutError(StorageError, TimeoutError):
    """No answer, or no free connection, in time."""

    code = "timeout"
    retryable = True


class StorageUnavailableError(StorageError):
    """The server is up but refuses: read-only, loading, out of memory, disk full, too many clients."""

    code = "unavailable"
    retryable = True


class ConfigurationError(StorageError):
    """The set-up cannot work as it is."""

    code = "configuration"


class AuthenticationError(StorageError):
    """The server does not accept the credentials."""

    code = "authentication"


class SchemaMismatchError(StorageError):
    """The database's schema is not the one that this version needs."""

    code = "schema_mismatch"


class CorruptJobError(_AboutJobs):
    """A stored record cannot be decoded."""

    code = "corrupt_job"


class StorageClosedError(StorageError):
    """The storage was closed."""

    code = "closed"


class ForkedStorageError(StorageError):
    """The storage was opened before a fork and is used in the child; use a clone made before the fork."""

    code = "forked"


class LoopMismatchError(StorageError):
    """The storage belongs to another event loop; use `clone()`."""

    code = "loop_mismatch"


class StorageWarning(UserWarning):
    """Something works but needs a look: a server setting that can lose jobs, a record that cannot be decoded."""
