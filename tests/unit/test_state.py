"""JobState and JobStateKind [S1 - S4]."""

from __future__ import annotations

import copy
import enum
import itertools
import math
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import InvalidJobDataError, InvalidTransitionError
from ferroq.testing.contract import promises

WHEN = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
CUT = 64 * 1024

STATES: dict[JobStateKind, Callable[[], JobState]] = {
    JobStateKind.ENQUEUED: lambda: JobState.enqueued("mail"),
    JobStateKind.PROCESSING: lambda: JobState.processing("worker", "server"),
    JobStateKind.SUCCEEDED: lambda: JobState.succeeded(12, [1, {"a": None}]),
    JobStateKind.FAILED: lambda: JobState.failed("ValueError", "trace", 3),
    JobStateKind.DELETED: lambda: JobState.deleted("why"),
    JobStateKind.SCHEDULED: lambda: JobState.scheduled(WHEN, "at night"),
    JobStateKind.AWAITING_RETRY: lambda: JobState.awaiting_retry(WHEN, 2, "ValueError"),
}

FIELDS: dict[JobStateKind, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    # the class, its fields in order (the first one is stamped, unless it is among those given), the others' values
    JobStateKind.ENQUEUED: ("Enqueued", ("enqueued_at", "queue"), {"queue": "mail"}),
    JobStateKind.PROCESSING: (
        "Processing",
        ("started_at", "worker_id", "server_name"),
        {"worker_id": "worker", "server_name": "server"},
    ),
    JobStateKind.SUCCEEDED: (
        "Succeeded",
        ("succeeded_at", "total_duration", "result"),
        {"total_duration": 12, "result": [1, {"a": None}]},
    ),
    JobStateKind.FAILED: (
        "Failed",
        ("failed_at", "exception", "stack_trace", "retry_count"),
        {"exception": "ValueError", "stack_trace": "trace", "retry_count": 3},
    ),
    JobStateKind.DELETED: ("Deleted", ("deleted_at", "reason"), {"reason": "why"}),
    JobStateKind.SCHEDULED: (
        "Scheduled",
        ("scheduled_at", "enqueue_at", "reason"),
        {"enqueue_at": WHEN, "reason": "at night"},
    ),
    JobStateKind.AWAITING_RETRY: (
        "AwaitingRetry",
        ("scheduled_at", "retry_at", "retry_count", "last_exception"),
        {"retry_at": WHEN, "retry_count": 2, "last_exception": "ValueError"},
    ),
}

ALLOWED = {
    "enqueued": {"processing", "scheduled", "failed", "deleted"},
    "processing": {"succeeded", "failed", "awaiting_retry", "deleted"},
    "scheduled": {"enqueued", "scheduled", "deleted"},
    "awaiting_retry": {"enqueued", "awaiting_retry", "deleted"},
    "failed": {"enqueued", "awaiting_retry", "deleted"},
    "succeeded": {"deleted"},
    "deleted": set(),
}


@promises("S1")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_a_builder_stamps_the_time_and_fills_the_fields(kind: JobStateKind) -> None:
    before = datetime.now(UTC)
    state = STATES[kind]()
    after = datetime.now(UTC)
    name, fields, values = FIELDS[kind]
    variant: Any = getattr(JobState, name)
    assert variant.__match_args__ == fields
    assert isinstance(state, JobState)
    assert type(state) is variant
    assert state.kind is kind
    for field, value in values.items():
        assert getattr(state, field) == value
    stamped = getattr(state, fields[0])
    assert before - timedelta(milliseconds=1) <= stamped <= after + timedelta(milliseconds=1)
    assert stamped.utcoffset() == timedelta(0)


@promises("S1")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_a_state_never_changes(kind: JobStateKind) -> None:
    state = STATES[kind]()
    for field in (*FIELDS[kind][1], "kind", "is_final", "is_active", "novelty"):
        with pytest.raises(AttributeError):
            setattr(state, field, None)


@promises("S1")
def test_states_match() -> None:
    def describe(state: JobState) -> str:
        match state:
            case JobState.Processing(worker_id=worker):
                return f"by {worker}"
            case JobState.Succeeded(_, duration, result):
                return f"after {duration}: {result}"
            case JobState.Enqueued():
                return "waits"
            case JobState.Failed(exception=text) | JobState.AwaitingRetry(last_exception=text):
                return text
            case _:
                return "else"

    answers = [describe(make()) for make in STATES.values()]
    assert answers == ["waits", "by worker", "after 12: [1, {'a': None}]", "ValueError", "else", "else", "ValueError"]


@promises("S1")
def test_variants_come_from_builders_only() -> None:
    with pytest.raises(TypeError):
        JobState()
    for name, *_ in FIELDS.values():
        with pytest.raises(TypeError):
            getattr(JobState, name)()


@promises("S1")
def test_defaults() -> None:
    succeeded, failed = JobState.succeeded(0), JobState.failed("x")
    deleted, scheduled = JobState.deleted(), JobState.scheduled(WHEN)
    assert isinstance(succeeded, JobState.Succeeded)
    assert isinstance(failed, JobState.Failed)
    assert isinstance(deleted, JobState.Deleted)
    assert isinstance(scheduled, JobState.Scheduled)
    assert succeeded.result is None
    assert (failed.stack_trace, failed.retry_count) == (None, 0)
    assert deleted.reason is None
    assert scheduled.reason == ""


@promises("S1", "J13")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_states_are_values(kind: JobStateKind) -> None:
    state = STATES[kind]()
    for twin in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(twin) is type(state)
        assert twin == state
    assert state != STATES[JobStateKind.FAILED if kind is not JobStateKind.FAILED else JobStateKind.DELETED]()
    assert (state == "state") is False
    assert FIELDS[kind][0] in repr(state)
    for field, value in FIELDS[kind][2].items():
        if isinstance(value, str):
            assert value in repr(state), field


@promises("S1", "J3")
def test_a_result_is_decoded_on_each_read() -> None:
    given = {"a": [1]}
    state = JobState.succeeded(1, given)
    given["a"].append(2)
    assert isinstance(state, JobState.Succeeded)
    first: Any = state.result
    assert first == {"a": [1]}
    first["a"].append(3)
    assert state.result == {"a": [1]}


# ---------------------------------------------------------------- kinds


@promises("S2")
def test_kinds_are_a_str_enum() -> None:
    assert issubclass(JobStateKind, enum.StrEnum)
    assert [each.name for each in JobStateKind] == [each.value.upper() for each in JobStateKind]
    assert {str(each) for each in JobStateKind} == set(ALLOWED)
    assert JobStateKind.AWAITING_RETRY == "awaiting_retry"  # type: ignore[comparison-overlap]
    assert JobStateKind("failed") is JobStateKind.FAILED


@promises("S2")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_final_or_active(kind: JobStateKind) -> None:
    final = kind.value in {"succeeded", "failed", "deleted"}
    for each in (kind, STATES[kind]()):
        assert each.is_final is final
        assert each.is_active is not final


@promises("S2", "S4")
@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobStateKind, JobStateKind)))
def test_transitions(old: JobStateKind, new: JobStateKind) -> None:
    allowed = new.value in ALLOWED[old.value]
    before, after = STATES[old](), STATES[new]()
    assert before.can_transition_to(after) is allowed
    assert before.can_transition_to(new) is allowed
    job = Job("work", [1], queue="mail", state=before, metadata={"a": "b"})
    untouched = copy.deepcopy(job)
    if allowed:
        job.set_state(after)
        assert job.state == after
        assert job.version == 0
    else:
        with pytest.raises(InvalidTransitionError) as caught:
            job.set_state(after)
        assert isinstance(caught.value, ValueError)
        assert (caught.value.backend, caught.value.operation) == (None, None)
        assert old.value in str(caught.value).lower()
        assert new.value in str(caught.value).lower()
        assert job == untouched
        assert job.state == before


@promises("S4", "J12", "E2")
def test_set_state_takes_a_state() -> None:
    job = Job("work")
    for wrong in (None, "deleted", JobStateKind.DELETED, JobState, 1):
        with pytest.raises(TypeError, match="state"):
            job.set_state(wrong)  # type: ignore[arg-type]
    assert job.state.kind is JobStateKind.ENQUEUED
    for no_kind in (None, 1, object()):
        with pytest.raises(TypeError):
            job.state.can_transition_to(no_kind)  # type: ignore[arg-type]


@promises("J8", "J12")
def test_set_state_shows_the_retry_count_of_a_failure() -> None:
    job = Job("work", state=JobState.processing("w", "s"))
    job.set_state(JobState.awaiting_retry(WHEN, 2, "no"))
    assert job.retry_count == 2
    job = Job("work", state=JobState.processing("w", "s"))
    job.set_state(JobState.failed("no", retry_count=5))
    assert job.retry_count == 5


@promises("J5", "J6")
def test_set_state_to_enqueued_assigns_the_queue() -> None:
    job = Job("work", queue="one", state=JobState.scheduled(WHEN))
    job.set_state(JobState.enqueued("two"))
    assert job.queue == "two"


# ---------------------------------------------------------------- texts, names, numbers, times


def text_of(state: JobState, field: str) -> str:
    value = getattr(state, field)
    assert type(value) is str
    return value


CUT_FIELDS: list[tuple[str, Callable[[str], JobState]]] = [
    ("exception", lambda text: JobState.failed(text)),
    ("stack_trace", lambda text: JobState.failed("x", text)),
    ("last_exception", lambda text: JobState.awaiting_retry(WHEN, 0, text)),
    ("reason", lambda text: JobState.deleted(text)),
    ("reason", lambda text: JobState.scheduled(WHEN, text)),
]


@promises("S3")
@pytest.mark.parametrize(
    ("field", "build"), CUT_FIELDS, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CUT_FIELDS)]
)
@pytest.mark.parametrize("character", ["x", "é", "€", "\U0001f980"])
def test_long_texts_are_cut_with_a_mark(field: str, build: Callable[[str], JobState], character: str) -> None:
    size = len(character.encode())
    # Whatever the phase of the characters against the cut.
    for lead in range(4):
        fits = "x" * lead + character * ((CUT - lead) // size)
        assert text_of(build(fits), field) == fits
        long = fits + character
        cut = text_of(build(long), field)
        assert CUT - 200 < len(cut.encode()) <= CUT
        kept = len([None for left, right in zip(cut, long, strict=False) if left == right])
        mark = cut[kept:]
        assert cut[:kept] == long[:kept]
        assert mark.strip(character), "a visible mark at the end"
        assert mark.isprintable() or "\n" in mark


@promises("S3", "E2")
@pytest.mark.parametrize(
    ("field", "build"), CUT_FIELDS, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CUT_FIELDS)]
)
def test_texts(field: str, build: Callable[[Any], JobState]) -> None:
    for text in ("", "a\u0000b", "\U0010ffff", "\n"):
        assert text_of(build(text), field) == text
    for text in ("\ud800", "a" * 100_000 + "\udfff"):
        with pytest.raises(InvalidJobDataError, match=field):
            build(text)
    for wrong in (1, b"x", ["x"], True):
        with pytest.raises(TypeError, match=field):
            build(wrong)


@promises("S3", "E2")
@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("queue", lambda name: JobState.enqueued(name)),
        ("worker_id", lambda name: JobState.processing(name, "s")),
        ("server_name", lambda name: JobState.processing("w", name)),
    ],
)
def test_names(field: str, build: Callable[[Any], JobState]) -> None:
    for name in ("x", "é" * 127, " ", "\u2028"):
        assert text_of(build(name), field) == name
    for name in ("", "x" * 256, "a\nb", "\x7f", "\x85", "\ud800"):
        with pytest.raises(InvalidJobDataError, match=field):
            build(name)
    for wrong in (None, 1, b"x", True):
        with pytest.raises(TypeError, match=field):
            build(wrong)


@promises("S1", "E2")
@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("total_duration", lambda number: JobState.succeeded(number)),
        ("retry_count", lambda number: JobState.failed("x", None, number)),
        ("retry_count", lambda number: JobState.awaiting_retry(WHEN, number, "x")),
    ],
    ids=["total_duration", "failed", "awaiting_retry"],
)
def test_numbers(field: str, build: Callable[[Any], JobState]) -> None:
    for number in (0, 1, 2**31 - 1):
        assert getattr(build(number), field) == number
    for number in (-1, True, False, 2**64, -(2**80)):
        with pytest.raises(InvalidJobDataError, match=field):
            build(number)
    for wrong in (None, "1", 1.0, 1.5, math.nan, b"1"):
        with pytest.raises(TypeError, match=field):
            build(wrong)


@promises("Q28", "S1", "E2")
@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("enqueue_at", lambda when: JobState.scheduled(when)),
        ("retry_at", lambda when: JobState.awaiting_retry(when, 0, "")),
    ],
)
def test_times(field: str, build: Callable[[Any], JobState]) -> None:
    good = [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2254, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2030, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(2030, 6, 1, 12, tzinfo=timezone(-timedelta(hours=9, seconds=7))),
    ]
    for when in good:
        back = getattr(build(when), field)
        assert back == when
        assert back.utcoffset() == timedelta(0)
        assert back.microsecond == when.microsecond
    bad = [
        datetime(2030, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2255, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ]
    for when in bad:
        with pytest.raises(InvalidJobDataError, match=field):
            build(when)
    for wrong in (None, 0, 1.5, "2030-01-01", date(2030, 1, 1), timedelta(1), True):
        with pytest.raises(TypeError, match=field):
            build(wrong)
