"""States of the yardstick's jobs: immutable values over one tuple, made when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from time import time_ns
from typing import Any, ClassVar, TypeAlias, cast

from ferroq.kinds import JobStateKind

from .values import check_int, check_name, cut, encode_value, known, to_datetime, to_micros

ENQUEUED, PROCESSING, SUCCEEDED, FAILED, DELETED, SCHEDULED, AWAITING_RETRY = range(7)
KINDS = tuple(JobStateKind)

_LONGEST = 2**64 - 1  # ms

Fields: TypeAlias = tuple[Any, ...]  # kind, time of the change, and what the variant adds

# Row: from; column: to.
ALLOWED = (
    # enqueued, processing, succeeded, failed, deleted, scheduled, awaiting_retry
    (False, True, False, True, True, True, False),
    (False, False, True, True, True, False, True),
    (False, False, False, False, True, False, False),
    (True, False, False, False, True, False, True),
    (False, False, False, False, False, False, False),
    (True, False, False, False, True, True, False),
    (True, False, False, False, True, False, True),
)


class JobState:
    """One of the seven states: a kind's number, the instant of the change, and what the variant adds."""

    __slots__ = ("_fields",)
    _fields: Fields
    Enqueued: ClassVar[type[_Enqueued]]
    Processing: ClassVar[type[_Processing]]
    Succeeded: ClassVar[type[_Succeeded]]
    Failed: ClassVar[type[_Failed]]
    Deleted: ClassVar[type[_Deleted]]
    Scheduled: ClassVar[type[_Scheduled]]
    AwaitingRetry: ClassVar[type[_AwaitingRetry]]

    @staticmethod
    def enqueued(queue: str) -> JobState:
        if not known(queue):
            queue = check_name(queue, "queue")
        return state_of((ENQUEUED, time_ns() // 1000, queue))

    @staticmethod
    def processing(worker_id: str, server_name: str) -> JobState:
        if not known(worker_id):
            worker_id = check_name(worker_id, "worker_id")
        if not known(server_name):
            server_name = check_name(server_name, "server_name")
        return state_of((PROCESSING, time_ns() // 1000, worker_id, server_name))

    @staticmethod
    def succeeded(total_duration: int, result: Any = None) -> JobState:
        if type(total_duration) is not int or not 0 <= total_duration <= _LONGEST:
            total_duration = check_int(total_duration, "total_duration", 0, _LONGEST)
        state = _new_state(_Succeeded)
        text = None if result is None else encode_value(result, "result")
        state._fields = (SUCCEEDED, time_ns() // 1000, total_duration, text)
        return state

    @staticmethod
    def failed(exception: str, stack_trace: str | None = None, retry_count: int = 0) -> JobState:
        retry_count = check_int(retry_count, "retry_count", 0, 2**31 - 1)
        fields = (cut(exception, "exception"), cut(stack_trace, "stack_trace"), retry_count)
        return state_of((FAILED, time_ns() // 1000, *fields))

    @staticmethod
    def deleted(reason: str | None = None) -> JobState:
        return state_of((DELETED, time_ns() // 1000, cut(reason, "reason")))

    @staticmethod
    def scheduled(enqueue_at: datetime, reason: str = "") -> JobState:
        return state_of((SCHEDULED, time_ns() // 1000, to_micros(enqueue_at, "enqueue_at"), cut(reason, "reason")))

    @staticmethod
    def awaiting_retry(retry_at: datetime, retry_count: int, last_exception: str) -> JobState:
        retry_count = check_int(retry_count, "retry_count", 0, 2**31 - 1)
        fields = (to_micros(retry_at, "retry_at"), retry_count, cut(last_exception, "last_exception"))
        return state_of((AWAITING_RETRY, time_ns() // 1000, *fields))

    @property
    def kind(self) -> JobStateKind:
        return KINDS[self._fields[0]]

    @property
    def is_final(self) -> bool:
        return self._fields[0] in (SUCCEEDED, FAILED, DELETED)

    @property
    def is_active(self) -> bool:
        return not self.is_final

    def can_transition_to(self, other: JobState | str) -> bool:
        kind = other._fields[0] if isinstance(other, JobState) else KINDS.index(JobStateKind(other))
        return ALLOWED[self._fields[0]][kind]

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, JobState) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)  # type: ignore[attr-defined]
        return f"JobState.{type(self).__name__[1:]}({shown})"


_new_state = cast(Callable[[type[JobState]], JobState], object.__new__)


def _instant(place: int) -> Any:
    return property(lambda self: to_datetime(self._fields[place]))


def _field(place: int) -> Any:
    return property(lambda self: self._fields[place])


def _json(place: int) -> Any:
    return property(lambda self: None if self._fields[place] is None else json.loads(self._fields[place]))


class _Enqueued(JobState):
    __slots__ = ()
    __match_args__ = ("enqueued_at", "queue")
    enqueued_at, queue = _instant(1), _field(2)


class _Processing(JobState):
    __slots__ = ()
    __match_args__ = ("started_at", "worker_id", "server_name")
    started_at, worker_id, server_name = _instant(1), _field(2), _field(3)


class _Succeeded(JobState):
    __slots__ = ()
    __match_args__ = ("succeeded_at", "total_duration", "result")
    succeeded_at, total_duration, result = _instant(1), _field(2), _json(3)


class _Failed(JobState):
    __slots__ = ()
    __match_args__ = ("failed_at", "exception", "stack_trace", "retry_count")
    failed_at, exception, stack_trace, retry_count = _instant(1), _field(2), _field(3), _field(4)


class _Deleted(JobState):
    __slots__ = ()
    __match_args__ = ("deleted_at", "reason")
    deleted_at, reason = _instant(1), _field(2)


class _Scheduled(JobState):
    __slots__ = ()
    __match_args__ = ("scheduled_at", "enqueue_at", "reason")
    scheduled_at, enqueue_at, reason = _instant(1), _instant(2), _field(3)


class _AwaitingRetry(JobState):
    __slots__ = ()
    __match_args__ = ("scheduled_at", "retry_at", "retry_count", "last_exception")
    scheduled_at, retry_at, retry_count, last_exception = _instant(1), _instant(2), _field(3), _field(4)


_VARIANTS = (_Enqueued, _Processing, _Succeeded, _Failed, _Deleted, _Scheduled, _AwaitingRetry)
for _variant in _VARIANTS:
    setattr(JobState, _variant.__name__[1:], _variant)


def state_of(fields: Fields) -> JobState:
    state = _new_state(_VARIANTS[fields[0]])
    state._fields = fields
    return state
