"""What the yardstick's store is made of, and how it is read; the writes are in `store.py`."""

from __future__ import annotations

import builtins
import math
import socket
from collections.abc import Callable
from datetime import timedelta
from time import monotonic_ns, time_ns
from typing import Any, TypeAlias, cast

from ferroq.errors import InvalidArgumentError, StorageClosedError
from ferroq.kinds import JobStateKind

from .job import Core, Counters, Job, Lease, Options
from .states import DELETED, KINDS, PROCESSING, SUCCEEDED, Fields, JobState

Entry: TypeAlias = tuple[Any, ...]  # ready: -priority, due, sequence, record; timed: instant, sequence, record
StateFilter: TypeAlias = JobStateKind | JobState | str

MAX_LIMIT = 2**31 - 1
WAVE = 100


class Record:
    """What is stored of a job. Tuples are shared with the callers' jobs, never changed."""

    __slots__ = ("core", "counters", "due", "entry", "lease", "metadata", "options", "settled", "state")
    core: Core
    options: Options
    state: Fields
    counters: Counters
    metadata: dict[str, str] | None
    due: int
    lease: Lease | None  # set exactly while the job is Processing
    settled: tuple[int | None, int, int] | None  # token, kind, version of the last settlement
    entry: Entry | None  # the one valid entry in a heap


new_job = cast(Callable[[type[Job]], Job], object.__new__)


def shown(record: Record) -> Job:
    """A caller's copy that holds no claim."""
    job = new_job(Job)
    job._core = record.core
    job._options = record.options
    job._state = record.state
    job._counters = record.counters
    job._lease = None
    job._metadata = None if record.metadata is None else record.metadata.copy()
    return job


class Reading:
    """State of the store, and every method that only reads it."""

    def __init__(
        self,
        *,
        lock_timeout: float = 1800,
        max_crashes: int = 3,
        max_payload_bytes: int = 1 << 20,
        server_name: str | None = None,
    ) -> None:
        # Wall time is read once and advanced by the monotonic clock, in µs; tests move it by `offset`.
        self.offset = (time_ns() - monotonic_ns()) // 1000
        self._length = self._micros(lock_timeout)
        self._max_crashes = max_crashes
        self._max_payload = max_payload_bytes
        self._small = max_payload_bytes // 4  # characters that cannot be more bytes than that
        self._server = server_name or socket.gethostname()
        self._closed = False
        self._jobs: dict[str, Record] = {}  # in order of insertion, which is that of the sequence
        self._counts = [0] * 7
        self._ready: dict[str, list[Entry]] = {}
        self._timed: list[Entry] = []
        self._dead = 0  # entries of `_timed` whose record points elsewhere
        self._locks: dict[str, tuple[str, int]] = {}  # explicit: worker, expiry
        self._locks_bound = 64
        self._sequence = 0
        self._token = 0

    # ------------------------------------------------------------------ reading

    async def get(self, job_id: str) -> Job | None:
        self._open("get")
        record = self._jobs.get(job_id)
        return None if record is None else shown(record)

    async def list(
        self,
        state_filter: StateFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        *,
        queue: str | None = None,
        after: Job | int | None = None,
    ) -> builtins.list[Job]:
        self._open("list")
        most = MAX_LIMIT if limit is None else self._limit(limit, "limit", MAX_LIMIT)
        skip = 0 if offset is None else self._limit(offset, "offset", MAX_LIMIT)
        below = self._sequence + 1 if after is None else after._counters[1] if isinstance(after, Job) else after
        if isinstance(below, bool) or below < 1:
            raise InvalidArgumentError(f"after must be 1 or more, not {below}")
        kind = None if state_filter is None else self._kind(state_filter)
        found: builtins.list[Job] = []
        for record in reversed(self._jobs.values()):
            if len(found) >= most:
                break
            if record.counters[1] >= below or (kind is not None and record.state[0] != kind):
                continue
            if queue is not None and record.options[0] != queue:
                continue
            if skip:
                skip -= 1
            else:
                found.append(shown(record))
        return found

    async def get_job_counts(self) -> dict[JobStateKind, int]:
        self._open("get_job_counts")
        return dict(zip(KINDS, self._counts, strict=True))

    async def verify(self) -> builtins.list[str]:
        """Every record against counts and indexes; one sentence a finding."""
        self._open("verify")
        findings = []
        counted = [0] * 7
        heaped = {id(entry) for heap in (*self._ready.values(), self._timed) for entry in heap}
        for job_id, record in self._jobs.items():
            kind = record.state[0]
            counted[kind] += 1
            if (kind == PROCESSING) != (record.lease is not None):
                findings.append(f"{job_id}: {KINDS[kind].value}, with lock {record.lease}")
            if (SUCCEEDED <= kind <= DELETED) != (record.entry is None):
                findings.append(f"{job_id}: {KINDS[kind].value}, with index entry {record.entry is not None}")
            if record.entry is not None and id(record.entry) not in heaped:
                findings.append(f"{job_id}: its index entry is in no heap")
        if counted != self._counts:
            findings.append(f"counts say {self._counts}, records {counted}")
        dead = sum(entry[2].entry is not entry for entry in self._timed)
        if dead != self._dead:
            findings.append(f"{self._dead} dead timed entries counted, {dead} found")
        return findings

    async def close(self) -> None:
        self._closed = True

    # ------------------------------------------------------------------ arguments of methods

    def _open(self, operation: str) -> None:
        if self._closed:
            raise StorageClosedError("the storage is closed", operation=operation)

    @staticmethod
    def _kind(state_filter: StateFilter) -> int:
        if isinstance(state_filter, JobState):
            return cast(int, state_filter._fields[0])
        if not isinstance(state_filter, str):
            raise TypeError(f"state_filter must be a kind of state, not {type(state_filter).__name__}")
        try:
            return KINDS.index(JobStateKind(state_filter))
        except ValueError:
            raise InvalidArgumentError(f"state_filter: {state_filter!r} is no kind of state") from None

    @staticmethod
    def _limit(value: int, field: str, high: int) -> int:
        if not isinstance(value, int):
            raise TypeError(f"{field} must be an int, not {type(value).__name__}")
        if isinstance(value, bool) or not 0 <= value <= high:
            raise InvalidArgumentError(f"{field} must be 0 to {high}, not {value}")
        return value

    @staticmethod
    def _micros(value: float | timedelta, low: float = 0.001) -> int:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if not isinstance(value, int | float):
            raise TypeError(f"seconds must be a number, not {type(value).__name__}")
        if isinstance(value, bool) or math.isnan(value) or not low <= value <= 31_536_000:
            raise InvalidArgumentError(f"seconds must be {low} to 31,536,000, not {value}")
        return round(value * 1_000_000)
