"""The native module. Only the package imports it; `Job`, `JobState`, `JobLock` and `ManualClock` are public by `ferroq`.

Instants that cross this border inside the package are integers, microseconds since 1970 in UTC; in the public classes
they are aware datetimes, made when they are read.
"""

import builtins
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self, TypeAlias, final

from .errors import StorageError
from .kinds import JobStateKind

JsonValue: TypeAlias = str | int | float | bool | None | builtins.list[JsonValue] | dict[str, JsonValue]
_JsonInput: TypeAlias = Any  # a JsonValue; tuples and subclasses are taken as well

class JobState:
    """One of the seven states of a job: an immutable value, built by the static methods below [S1]."""

    Enqueued: ClassVar[type[_Enqueued]]
    Processing: ClassVar[type[_Processing]]
    Succeeded: ClassVar[type[_Succeeded]]
    Failed: ClassVar[type[_Failed]]
    Deleted: ClassVar[type[_Deleted]]
    Scheduled: ClassVar[type[_Scheduled]]
    AwaitingRetry: ClassVar[type[_AwaitingRetry]]

    @staticmethod
    def enqueued(queue: str) -> _Enqueued: ...
    @staticmethod
    def processing(worker_id: str, server_name: str) -> _Processing: ...
    @staticmethod
    def succeeded(total_duration: int, result: _JsonInput = None) -> _Succeeded: ...
    @staticmethod
    def failed(exception: str, stack_trace: str | None = None, retry_count: int = 0) -> _Failed: ...
    @staticmethod
    def deleted(reason: str | None = None) -> _Deleted: ...
    @staticmethod
    def scheduled(enqueue_at: datetime, reason: str = "") -> _Scheduled: ...
    @staticmethod
    def awaiting_retry(retry_at: datetime, retry_count: int, last_exception: str) -> _AwaitingRetry: ...
    @property
    def kind(self) -> JobStateKind: ...
    @property
    def is_final(self) -> bool: ...
    @property
    def is_active(self) -> bool: ...
    def can_transition_to(self, other: JobState | JobStateKind | str) -> bool: ...

# The seven variant classes are reached as JobState.Enqueued and so on; each has `__match_args__` in the order of its fields.
@final
class _Enqueued(JobState):
    @property
    def enqueued_at(self) -> datetime: ...
    @property
    def queue(self) -> str: ...
# (the other six alike)

@final
class JobLock:
    """A claim: its fencing `token`, the `worker_id` that holds it, and when it lapses [J11]."""

    @property
    def token(self) -> int: ...
    @property
    def worker_id(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...

@final
class Job:
    """A unit of work and everything the store knows of it."""

    def __new__(
        cls,
        method: str,
        arguments: Sequence[_JsonInput] = (),
        *,
        id: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        max_retries: int = 0,
        metadata: dict[str, str] | None = None,
        job_type: str | None = None,
        timeout_seconds: int | None = None,
        state: JobState | None = None,
    ) -> Self: ...
    # attributes: CONTRACT section 2

# ---------------------------------------------------------------- for the backends that are written in Python

Row: TypeAlias = tuple[
    str,  # 0 id
    str,  # 1 method
    str,  # 2 arguments: JSON text, opaque
    int,  # 3 created_at, µs
    str,  # 4 queue
    int,  # 5 priority
    int,  # 6 max_retries
    str | None,  # 7 job_type
    int | None,  # 8 timeout_seconds
    str | None,  # 9 metadata: JSON object text, None when empty
    int,  # 10 kind: 0 enqueued 1 processing 2 succeeded 3 failed 4 deleted 5 scheduled 6 awaiting_retry
    str,  # 11 state: compact JSON object of the variant's fields, instants as µs integers, without the enqueued queue
    int | None,  # 12 due, µs: enqueue_at or retry_at; None for the other kinds
    str | None,  # 13 worker_id of a Processing state
    int,  # 14 retry_count: the state's for failed and awaiting_retry, else 0
    int,  # 15 version that the object shows
    int | None,  # 16 token of the claim that the object holds
]

Stored: TypeAlias = tuple[
    str,  # 0 id
    str,  # 1 method
    str,  # 2 arguments
    int,  # 3 created_at, µs
    str,  # 4 queue
    int,  # 5 priority
    int,  # 6 max_retries
    str | None,  # 7 job_type
    int | None,  # 8 timeout_seconds
    str | None,  # 9 metadata
    int,  # 10 kind
    str,  # 11 state
    int,  # 12 attempt
    int,  # 13 crash_count
    int,  # 14 retry_count
    int,  # 15 version
    int,  # 16 sequence
    int | None,  # 17 token, with a claim
    int | None,  # 18 lock expiry, µs, with a claim
]

def snapshot(jobs: Sequence[Job], max_payload_bytes: int, backend: str, operation: str) -> builtins.list[Row]:
    """What the jobs carry at this moment, checked (metadata, sizes) and never changed by a later use of the objects."""

def restore(rows: Iterable[Stored]) -> builtins.list[Job | Exception]:
    """Jobs out of stored columns; a row that cannot be decoded gives a `CorruptJobError` in its place. The arguments' text
    is not looked at until it is read."""

def write_back(
    job: Job,
    version: int,
    sequence: int,
    attempt: int,
    crash_count: int,
    retry_count: int,
    lock: tuple[int, int] | None,  # token, expiry in µs
) -> None:
    """Sets a job's read-only attributes after an accepted write."""

def fork_epoch() -> int:
    """How many forks lie between the first import and this process: a storage opened under another value is inherited."""
