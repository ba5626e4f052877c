"""The job of the yardstick, in pure Python, as tight as we can make it.

What never changes is shared, not copied: a job is a handful of references to immutable tuples, so a copy in or out of
the store is six assignments. Datetimes, state objects and decoded JSON are made when they are read, as in the native
module. Names that passed their check once are remembered, and an id costs one short format (UUID v7 with a counter,
RFC 9562, 6.2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from random import SystemRandom
from time import time_ns
from typing import Any, TypeAlias, cast

from ferroq.errors import InvalidTransitionError

from .states import ALLOWED, ENQUEUED, KINDS, Fields, JobState, state_of
from .values import check_int, check_metadata, check_name, encode_arguments, known, known_names, to_datetime

Core: TypeAlias = tuple[str, str, str, int]  # id, method, arguments as JSON text, created_at
# queue, priority, max_retries, job_type, timeout_seconds
Options: TypeAlias = tuple[str, int, int, str | None, int | None]
Counters: TypeAlias = tuple[int, int, int, int, int]  # version, sequence, attempt, crash_count, retry_count
Lease: TypeAlias = tuple[int, str, int]  # token, worker_id, expires_at

_FRESH: Counters = (0, 0, 0, 0, 0)
_PLAIN: Options = ("default", 0, 0, None, None)


class JobLock:
    """A claim, as the job shows it."""

    __slots__ = ("_lease",)
    __match_args__ = ("token", "worker_id", "expires_at")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    @property
    def token(self) -> int:
        return self._lease[0]

    @property
    def worker_id(self) -> str:
        return self._lease[1]

    @property
    def expires_at(self) -> datetime:
        return to_datetime(self._lease[2])

    def __eq__(self, other: object) -> bool:
        return self._lease == other._lease if isinstance(other, JobLock) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._lease)


_entropy = SystemRandom()
_id_until = 0
_id_prefix = ""
_id_tail = 0


def _fresh_ids(millis: int) -> None:
    """UUID v7 for one more millisecond: random bits, of which the last 47 then count up (RFC 9562, 6.2, method 2)."""
    global _id_until, _id_prefix, _id_tail
    head, bits = f"{millis:012x}", _entropy.getrandbits(72)
    _id_prefix = f"{head[:8]}-{head[8:]}-7{bits & 0xFFF:03x}-{0x8000 | (bits >> 12) & 0x3FFF:04x}-"
    # The top bit is set, so that hex() has 12 digits.
    _id_until, _id_tail = millis * 1000 + 1000, 1 << 47 | bits >> 26


class Job:
    """A unit of work. `_core` is never replaced, the other tuples are replaced whole."""

    __slots__ = ("_core", "_counters", "_lease", "_metadata", "_options", "_state")
    _core: Core
    _options: Options
    _state: Fields
    _counters: Counters
    _lease: Lease | None
    _metadata: dict[str, str] | None

    def __init__(
        self,
        method: str,
        arguments: Sequence[Any] = (),
        *,
        id: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        max_retries: int = 0,
        metadata: dict[str, str] | None = None,
        job_type: str | None = None,
        timeout_seconds: int | None = None,
        state: JobState | None = None,
    ) -> None:
        if type(method) is not str or method not in known_names:
            method = check_name(method, "method")
        now = time_ns() // 1000
        if id is None:
            global _id_tail
            if now >= _id_until:
                _fresh_ids(now // 1000)
            _id_tail += 1
            job_id = _id_prefix + hex(_id_tail)[2:]
        else:
            job_id = check_name(id, "id", keep=False)
        self._core = (job_id, method, encode_arguments(arguments), now)
        if state is None:
            if queue is None:
                queue = "default"
            elif not known(queue):
                queue = check_name(queue, "queue")
            self._state = (ENQUEUED, now, queue)
        else:
            if not isinstance(state, JobState):
                raise TypeError(f"state must be a JobState, not {type(state).__name__}")
            fields = state._fields
            if queue is None:
                queue = fields[2] if fields[0] == ENQUEUED else "default"
            elif not known(queue):
                queue = check_name(queue, "queue")
            self._state = (ENQUEUED, fields[1], queue) if fields[0] == ENQUEUED else fields
        if priority == 0 and max_retries == 0 and job_type is None and timeout_seconds is None:
            self._options = _PLAIN if queue == "default" else (queue, 0, 0, None, None)
        else:
            self._options = _options(queue, priority, max_retries, job_type, timeout_seconds)
        self._counters = _FRESH
        self._lease = None
        self._metadata = None if metadata is None else check_metadata(metadata)

    def set_state(self, state: JobState) -> None:
        fields = state._fields
        if not ALLOWED[self._state[0]][fields[0]]:
            raise InvalidTransitionError(f"{KINDS[self._state[0]].value} cannot become {KINDS[fields[0]].value}")
        if fields[0] == ENQUEUED:
            self._options = (fields[2], *self._options[1:])
        self._state = fields

    # Read-only attributes.

    id = property(lambda self: cast(str, self._core[0]))
    method = property(lambda self: cast(str, self._core[1]))
    arguments = property(lambda self: json.loads(self._core[2]))
    created_at = property(lambda self: to_datetime(self._core[3]))
    version = property(lambda self: cast(int, self._counters[0]))
    sequence = property(lambda self: cast(int, self._counters[1]))
    attempt = property(lambda self: cast(int, self._counters[2]))
    crash_count = property(lambda self: cast(int, self._counters[3]))
    retry_count = property(lambda self: cast(int, self._counters[4]))

    @property
    def lock(self) -> JobLock | None:
        return None if self._lease is None else JobLock(self._lease)

    @property
    def state(self) -> JobState:
        fields = self._state
        return state_of((ENQUEUED, fields[1], self._options[0]) if fields[0] == ENQUEUED else fields)

    @property
    def metadata(self) -> dict[str, str]:
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    @metadata.setter
    def metadata(self, value: dict[str, str]) -> None:
        self._metadata = check_metadata(value)

    def add_metadata(self, key: str, value: str) -> None:
        self.metadata.update(check_metadata({key: value}))

    # Assignable attributes, checked on assignment.

    def _assign(self, place: int, value: Any) -> None:
        fresh = [*self._options[:place], value, *self._options[place + 1 :]]
        self._options = _options(*fresh)

    queue = property(lambda self: cast(str, self._options[0]), lambda self, value: self._assign(0, value))
    priority = property(lambda self: cast(int, self._options[1]), lambda self, value: self._assign(1, value))
    max_retries = property(lambda self: cast(int, self._options[2]), lambda self, value: self._assign(2, value))
    job_type = property(lambda self: cast("str | None", self._options[3]), lambda self, value: self._assign(3, value))
    timeout_seconds = property(
        lambda self: cast("int | None", self._options[4]), lambda self, value: self._assign(4, value)
    )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        mine = (self._core, self._options, self.state, self._counters, self._metadata or {})
        return mine == (other._core, other._options, other.state, other._counters, other._metadata or {})

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Job(id={self._core[0]!r}, method={self._core[1]!r}, state={self.state!r})"


def _options(queue: str, priority: int, max_retries: int, job_type: str | None, timeout_seconds: int | None) -> Options:
    return (
        queue if known(queue) else check_name(queue, "queue"),
        check_int(priority, "priority", -(2**31), 2**31 - 1),
        check_int(max_retries, "max_retries", 0, 2**31 - 1),
        None if job_type is None else check_name(job_type, "job_type"),
        None if timeout_seconds is None else check_int(timeout_seconds, "timeout_seconds", 1, 2**31 - 1),
    )
