"""The native module. Only the package imports it; `Job`, `JobState`, `JobLock` and `ManualClock` are public by
`ferroq`.

In the public classes instants are aware datetimes in UTC, made when they are read. What crosses this border inside the
package is µs: whole microseconds since 1970 as an int.
"""

import builtins
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, Self, TypeAlias, final, type_check_only

from typing_extensions import disjoint_base

from ._rows import Claimed, EnqueueColumns, NewRun, Row, SettleColumns, Stored, UpdateRun
from .errors import CorruptJobError, StorageError
from .kinds import JobStateKind

_JsonValue: TypeAlias = Any  # str, int, float, bool, None, a list or tuple of them, a dict of them with str keys [J3]

__all__ = [
    "Job",
    "JobLock",
    "JobState",
    "ManualClock",
    "Store",
    "accept_enqueued",
    "accept_new",
    "accept_settled",
    "accept_updates",
    "check_claim",
    "check_limit",
    "check_list",
    "check_name",
    "check_purge",
    "check_seconds",
    "enqueue_columns",
    "fork_epoch",
    "pack_new",
    "pack_updates",
    "renew",
    "restore",
    "restore_claims",
    "restore_job",
    "restore_lock",
    "restore_state",
    "settle_columns",
    "snapshot",
    "unpack_claim",
    "unpack_records",
    "write_back",
]

# ---------------------------------------------------------------- states

@disjoint_base
class JobState:
    """One of the seven states of a job: an immutable value, built by the static methods [S1].

    The variants can be matched: `case JobState.Processing(worker_id=worker): ...`
    """

    Enqueued: ClassVar[type[_Enqueued]]
    Processing: ClassVar[type[_Processing]]
    Succeeded: ClassVar[type[_Succeeded]]
    Failed: ClassVar[type[_Failed]]
    Deleted: ClassVar[type[_Deleted]]
    Scheduled: ClassVar[type[_Scheduled]]
    AwaitingRetry: ClassVar[type[_AwaitingRetry]]

    @staticmethod
    def enqueued(queue: str) -> _Enqueued:
        """Waiting in that queue, from now on."""

    @staticmethod
    def processing(worker_id: str, server_name: str) -> _Processing:
        """In the hands of a worker, from now on."""

    @staticmethod
    def succeeded(total_duration: int, result: _JsonValue = None) -> _Succeeded:
        """Done now, after `total_duration` milliseconds, with any JSON value as its result."""

    @staticmethod
    def failed(exception: str, stack_trace: str | None = None, retry_count: int = 0) -> _Failed:
        """Given up now; `exception` and `stack_trace` are cut to 64 KiB of UTF-8 [S3]."""

    @staticmethod
    def deleted(reason: str | None = None) -> _Deleted:
        """Softly deleted now."""

    @staticmethod
    def scheduled(enqueue_at: datetime, reason: str = "") -> _Scheduled:
        """Due at that time, an aware datetime of any zone."""

    @staticmethod
    def awaiting_retry(retry_at: datetime, retry_count: int, last_exception: str) -> _AwaitingRetry:
        """Due again at that time, after an error."""

    @property
    def kind(self) -> JobStateKind: ...
    @property
    def is_final(self) -> bool:
        """Succeeded, failed or deleted."""

    @property
    def is_active(self) -> bool: ...
    def can_transition_to(self, other: JobState | JobStateKind | str) -> bool:
        """Whether `Job.set_state` allows the change to that state or kind [S4]."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
@type_check_only
class _Enqueued(JobState):
    __match_args__: ClassVar[tuple[Literal["enqueued_at"], Literal["queue"]]]
    @property
    def enqueued_at(self) -> datetime: ...
    @property
    def queue(self) -> str: ...

@final
@type_check_only
class _Processing(JobState):
    __match_args__: ClassVar[tuple[Literal["started_at"], Literal["worker_id"], Literal["server_name"]]]
    @property
    def started_at(self) -> datetime: ...
    @property
    def worker_id(self) -> str: ...
    @property
    def server_name(self) -> str: ...

@final
@type_check_only
class _Succeeded(JobState):
    __match_args__: ClassVar[tuple[Literal["succeeded_at"], Literal["total_duration"], Literal["result"]]]
    @property
    def succeeded_at(self) -> datetime: ...
    @property
    def total_duration(self) -> int:
        """Milliseconds."""

    @property
    def result(self) -> _JsonValue:
        """Decoded anew at each read."""

@final
@type_check_only
class _Failed(JobState):
    __match_args__: ClassVar[
        tuple[Literal["failed_at"], Literal["exception"], Literal["stack_trace"], Literal["retry_count"]]
    ]
    @property
    def failed_at(self) -> datetime: ...
    @property
    def exception(self) -> str: ...
    @property
    def stack_trace(self) -> str | None: ...
    @property
    def retry_count(self) -> int: ...

@final
@type_check_only
class _Deleted(JobState):
    __match_args__: ClassVar[tuple[Literal["deleted_at"], Literal["reason"]]]
    @property
    def deleted_at(self) -> datetime: ...
    @property
    def reason(self) -> str | None: ...

@final
@type_check_only
class _Scheduled(JobState):
    __match_args__: ClassVar[tuple[Literal["scheduled_at"], Literal["enqueue_at"], Literal["reason"]]]
    @property
    def scheduled_at(self) -> datetime: ...
    @property
    def enqueue_at(self) -> datetime: ...
    @property
    def reason(self) -> str: ...

@final
@type_check_only
class _AwaitingRetry(JobState):
    __match_args__: ClassVar[
        tuple[Literal["scheduled_at"], Literal["retry_at"], Literal["retry_count"], Literal["last_exception"]]
    ]
    @property
    def scheduled_at(self) -> datetime: ...
    @property
    def retry_at(self) -> datetime: ...
    @property
    def retry_count(self) -> int: ...
    @property
    def last_exception(self) -> str: ...

# ---------------------------------------------------------------- jobs

@final
class JobLock:
    """A claim: its fencing token, who holds it, and when it lapses unless it is renewed [J11, L2]."""

    __match_args__: ClassVar[tuple[Literal["token"], Literal["worker_id"], Literal["expires_at"]]]
    @property
    def token(self) -> int:
        """Larger than that of every earlier claim of the id."""

    @property
    def worker_id(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Job:
    """A unit of work and everything that the store knows of it [section 2 of the contract].

    Args:
        method: a name: 1 to 255 bytes of UTF-8 without control characters.
        arguments: JSON values, encoded once, here; at most 1 MiB together with the metadata when it is stored.
        id: a name; None makes a UUID of version 7, in the order of time.
        queue: a name; None is the queue of a given enqueued state, else "default".
        priority: -2^31 to 2^31-1; higher is claimed first.
        max_retries: 0 to 2^31-1, for errors that a worker reports; 0 is no retry.
        metadata: names to texts, at most 256.
        job_type: a name.
        timeout_seconds: 1 to 2^31-1.
        state: None is enqueued, now.

    Raises:
        InvalidJobDataError: a value that a job cannot carry; the text begins with the field's name.
        TypeError: another type than the signature says.
    """

    def __new__(
        cls,
        method: str,
        arguments: builtins.list[_JsonValue] | tuple[_JsonValue, ...] = (),
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
    @property
    def id(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def arguments(self) -> builtins.list[_JsonValue]:
        """A fresh list at each read. Raises `CorruptJobError` where the stored text is broken."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def state(self) -> JobState: ...
    @property
    def queue(self) -> str: ...
    @queue.setter
    def queue(self, value: str) -> None: ...
    @property
    def priority(self) -> int: ...
    @priority.setter
    def priority(self, value: int) -> None: ...
    @property
    def max_retries(self) -> int: ...
    @max_retries.setter
    def max_retries(self, value: int) -> None: ...
    @property
    def job_type(self) -> str | None: ...
    @job_type.setter
    def job_type(self, value: str | None) -> None: ...
    @property
    def timeout_seconds(self) -> int | None: ...
    @timeout_seconds.setter
    def timeout_seconds(self, value: int | None) -> None: ...
    @property
    def metadata(self) -> dict[str, str]:
        """A dict of the job's own; changes in place are checked and stored by the next enqueue or update."""

    @property
    def attempt(self) -> int:
        """Claims taken, less those given back unspent."""

    @property
    def crash_count(self) -> int:
        """Claims that ended by lapse."""

    @property
    def retry_count(self) -> int:
        """That of the last failed or awaiting-retry state."""

    @property
    def version(self) -> int:
        """0 before it is stored, then + 1 with every accepted write."""

    @property
    def sequence(self) -> int:
        """The store's insertion sequence; 0 before it is stored."""

    @property
    def lock(self) -> JobLock | None:
        """The claim that this object holds."""

    def set_state(self, state: JobState) -> None:
        """Changes the state; `InvalidTransitionError` where the table does not allow it, and nothing changes [S4]."""

    def add_metadata(self, key: str, value: str) -> None:
        """`metadata[key] = value`, checked at once."""

    def to_json(self) -> str:
        """A flat JSON object, the state tagged by its variant, times in RFC 3339; without the lock [J12]."""

    @staticmethod
    def from_json(text: str) -> Job:
        """A job out of such JSON; fields that the reference does not have may be missing."""

    def clone_with_new_id(self) -> Job:
        """The same work as a new job: fresh id and creation time, enqueued, all counters 0."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __copy__(self) -> Job: ...
    def __deepcopy__(self, memo: Any, /) -> Job: ...

# ---------------------------------------------------------------- the memory backend

@final
class ManualClock:
    """A clock for tests: it stands still, from the real time on, until `advance` moves it [T1]."""

    def __new__(cls) -> Self: ...
    def now(self) -> datetime: ...
    def advance(self, seconds: float | timedelta) -> None:
        """Moves it forward: locks lapse and jobs come due at once, and those who wait for jobs look again."""

@final
class Store:
    """One storage object's hold on a memory store; `MemoryStorage` says what the methods do."""

    def __new__(
        cls,
        *,
        lock_timeout: float,
        max_crashes: int,
        max_payload_bytes: int,
        server_name: str,
        keep_succeeded: float | None,
        keep_failed: float | None,
        keep_deleted: float | None,
        max_jobs: int | None,
        auto_cleanup: bool,
        clock: ManualClock | None,
    ) -> Self: ...
    def enqueue(self, job: Job, if_exists: str) -> bool: ...
    def get(self, job_id: str) -> Job | None: ...
    def update(self, job: Job) -> None: ...
    def delete(self, job_id: str) -> bool: ...
    def list(
        self,
        state_filter: JobStateKind | JobState | str | None,
        limit: int | None,
        offset: int | None,
        queue: str | None,
        after: Job | int | None,
    ) -> builtins.list[Job]: ...
    def get_job_counts(self) -> dict[JobStateKind, int]: ...
    def get_available_jobs(self, limit: int | None) -> builtins.list[Job]: ...
    def fetch_and_lock_job(
        self, worker_id: str, queues: Iterable[str] | None, lock_timeout: float | None
    ) -> Job | None: ...
    def fetch_available_jobs_atomic(
        self, worker_id: str, limit: int | None, queues: Iterable[str] | None, lock_timeout: float | None
    ) -> builtins.list[Job]: ...
    def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool: ...
    def release_job_lock(self, job_id: str, worker_id: str) -> bool: ...
    def enqueue_many(self, jobs: Iterable[Job], if_exists: str) -> builtins.list[bool]: ...
    def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]: ...
    def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None) -> builtins.list[bool]: ...
    def release_jobs(self, jobs: Iterable[Job], delay: float | timedelta | None) -> builtins.list[bool]: ...
    def purge(
        self,
        kinds: JobStateKind | JobState | str | Iterable[JobStateKind | JobState | str],
        older_than: float | timedelta,
        limit: int | None,
    ) -> int: ...
    def verify(self) -> builtins.list[str]: ...
    def wait(
        self, queues: Iterable[str] | None, timeout: float | None, wake: Callable[[], bool]
    ) -> tuple[int, float] | None:
        """Registers a waiter: None where a claim may succeed now, else its ticket and the seconds until it should look
        again. `wake` is called once, from any thread, and says whether it could wake its waiter."""

    def unwait(self, ticket: int) -> bool:
        """Takes a waiter back; False where it was woken meanwhile."""

    def pass_on(self) -> None:
        """A waiter that was woken cannot use its turn: wakes the next one."""

    def clone(self) -> Store: ...
    def open(self) -> None: ...
    def close(self) -> None: ...
    def clear(self) -> None: ...
    def length(self) -> int: ...
    def now(self) -> int:
        """The store's clock, µs."""

# ---------------------------------------------------------------- for the backends that are written in Python

def snapshot(jobs: Iterable[Job], max_payload_bytes: int, backend: str, operation: str) -> builtins.list[Row]:
    """What the jobs carry at this moment, checked (metadata, sizes); no later use of the objects changes it."""

def enqueue_columns(
    jobs: builtins.list[Job], max_payload_bytes: int, backend: str, operation: str
) -> builtins.list[tuple[int, EnqueueColumns]] | None:
    """Enqueued jobs as the columns of chunks, each with the number of its jobs, checked as `snapshot` does; None where
    one is in another state or an id comes twice. A column whose rows are all alike has one entry."""

def accept_enqueued(jobs: builtins.list[Job], sequences: builtins.list[int]) -> None:
    """Writes an accepted enqueue of such a chunk back, by position."""

def settle_columns(jobs: builtins.list[Job], max_payload_bytes: int) -> SettleColumns | None:
    """Settled claims as the columns of one statement, by sequence; None where it takes more than that. A column whose
    rows are all alike has one entry."""

def accept_settled(jobs: builtins.list[Job], rows: builtins.list[Any]) -> builtins.list[int]:
    """Writes accepted settlements back: rows of place, version, attempt, crash_count, retry_count. The places of the
    others."""

def pack_new(jobs: builtins.list[Job], max_payload_bytes: int, backend: str, operation: str) -> builtins.list[NewRun]:
    """New jobs as the Redis script takes them, in runs that fit one request each, checked as `snapshot` does."""

def accept_new(
    jobs: builtins.list[Job],
    places: builtins.list[int],
    kinds: str,
    cells: builtins.list[bytes],
    flags: bytes,
    sequence: int,
    token: int,
    expires_at: int,
) -> builtins.list[int]:
    """Writes the accepted enqueue of a run back. The places that were stored: where the flag is "1"."""

def pack_updates(
    jobs: builtins.list[Job], max_payload_bytes: int, unkept: str, backend: str, operation: str
) -> tuple[builtins.list[tuple[int, StorageError]], builtins.list[UpdateRun]]:
    """Updates as the Redis script takes them, in runs of which none has an id twice; before them the places and
    errors of jobs that cannot be sent. `unkept`: the digits of the kinds that are not kept."""

def accept_updates(
    jobs: builtins.list[Job], places: builtins.list[int], letter: bytes, answer: bytes
) -> builtins.list[tuple[int, int]]:
    """Writes the accepted updates of a run back. Place and code of the others."""

def unpack_claim(
    first: int, order: bytes, cells: builtins.list[bytes]
) -> tuple[builtins.list[Job], builtins.list[bytes | int]]:
    """The jobs of a claim out of records and bodies; then what the script `spoil` takes, three a job that cannot be
    decoded."""

def unpack_records(
    cells: builtins.list[bytes], name: str | None, backend: str, operation: str
) -> builtins.list[Job | CorruptJobError]:
    """Jobs out of three cells each: sequence, record, body. One that cannot be decoded gives a `CorruptJobError` in
    its place, under `name`, or as its bytes name it."""

def restore(rows: Iterable[Stored], backend: str, operation: str) -> builtins.list[Job | StorageError]:
    """Jobs out of stored columns; a row that cannot be decoded gives a `CorruptJobError` in its place. The text of the
    arguments is not looked at until it is read. A row may be longer, and a driver's record that can be sliced."""

def restore_claims(
    rows: builtins.list[Claimed], worker_id: str, server_name: str, lock_timeout: int, max_crashes: int
) -> tuple[builtins.list[Job], builtins.list[tuple[int, int, str]]]:
    """The claimed jobs out of the rows of one claim, and what nobody may have, as sequence, token and reason: records
    that cannot be decoded, and claims that lapsed too often. Rows may be longer, and a driver's records; rows without
    an id are passed over.

    Args:
        lock_timeout: the length of the claims, in µs.
    """

def write_back(
    job: Job,
    version: int,
    sequence: int,
    attempt: int,
    crash_count: int,
    retry_count: int,
    lock: tuple[int, int] | None = None,
    state: tuple[int, str] | None = None,
) -> None:
    """Sets a job's read-only attributes after an accepted write; `lock` is token and expiry (µs), `state` kind and
    fields."""

def renew(job: Job, token: int, expires_at: int) -> None:
    """Sets the expiry (µs) of the claim that a job holds under that token."""

def check_name(field: str, value: object, backend: str, operation: str) -> str:
    """A name among a method's arguments, or the error that the contract names for it; so do those below [E2]."""

def check_limit(field: str, value: object, most: int, backend: str, operation: str) -> int | None:
    """A limit or an offset, 0 to `most`; None where none was given."""

def check_seconds(
    field: str, value: object, range: tuple[float, float], delta: bool, backend: str, operation: str
) -> int:
    """Seconds of that range in µs; with `delta` a timedelta will do too."""

def check_claim(
    limit: object, queues: object, lock_timeout: object, backend: str, operation: str
) -> tuple[int | None, builtins.list[str] | None, int | None]:
    """Limit, queues and lock time-out (µs) of a claim, None where they were not given."""

def check_list(
    state_filter: object, limit: object, offset: object, queue: object, after: object, backend: str, operation: str
) -> tuple[int | None, int | None, int, str | None, int | None]:
    """Kind, limit, offset, queue and sequence to go on behind, of a list."""

def check_purge(
    kinds: object, older_than: object, limit: object, backend: str, operation: str
) -> tuple[builtins.list[int], int, int | None]:
    """Kinds, age (µs) and limit of a purge."""

def fork_epoch() -> int:
    """How many forks lie between the first import and this process: a storage made under another value is inherited."""

def restore_lock(token: int, worker_id: str, expires_at: int) -> JobLock:
    """Unpickles a lock."""

def restore_state(kind: int, fields: str, queue: str | None) -> JobState:
    """Unpickles a state."""

def restore_job(row: Stored, worker_id: str | None) -> Job:
    """Unpickles a job."""
