"""Fields of a job: what they take, what they refuse, what they say [J1, J2, J4 - J11]."""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import InvalidJobDataError
from ferroq.testing.contract import promises

BAD_NAMES = ["", "x" * 256, "é" * 128, "a\nb", "\x00", "\x1f", "\x7f", "\x80", "a\x9f", "\ud800", "a\udfff"]
GOOD_NAMES = ["x", "x" * 255, "é" * 127, " ", "a b", "\u00a0", "\u2028", "\ufeff", "\ue000", "\U0010ffff", "e\u0301"]
NO_TEXT = [1, 1.5, True, b"bytes", ["x"], object()]


def invalid(field: str, value: Any) -> None:
    """The constructor and, where there is one, the assignment refuse a value and name the field; nothing changes."""
    with pytest.raises(InvalidJobDataError, match=rf"\b{field}\b") as caught:
        Job(**{"method": "work", field: value})
    assert isinstance(caught.value, ValueError)
    assert (caught.value.backend, caught.value.operation, caught.value.outcome) == (None, None, "not_applied")
    if field not in ("id", "method"):
        job = Job("work", queue="q", priority=3, max_retries=4, job_type="t", timeout_seconds=5)
        before = getattr(job, field)
        with pytest.raises(InvalidJobDataError, match=rf"\b{field}\b"):
            setattr(job, field, value)
        assert getattr(job, field) == before


def wrong_type(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"\b{field}\b"):
        Job(**{"method": "work", field: value})
    if field not in ("id", "method", "arguments", "metadata", "state"):
        job = Job("work")
        before = getattr(job, field)
        with pytest.raises(TypeError, match=rf"\b{field}\b"):
            setattr(job, field, value)
        assert getattr(job, field) == before


@promises("J1", "J2", "J4", "J5", "J6", "J7", "J8", "J9", "J10", "J11")
def test_a_plain_job() -> None:
    before = datetime.now(UTC)
    job = Job("send")
    after = datetime.now(UTC)
    assert job.method == "send"
    assert job.arguments == []
    assert before - timedelta(milliseconds=1) <= job.created_at <= after + timedelta(milliseconds=1)
    assert (job.queue, job.priority, job.max_retries, job.job_type, job.timeout_seconds) == (
        "default",
        0,
        0,
        None,
        None,
    )
    assert job.metadata == {}
    assert (job.attempt, job.crash_count, job.retry_count, job.version, job.sequence) == (0, 0, 0, 0, 0)
    assert job.lock is None
    assert job.state.kind is JobStateKind.ENQUEUED
    assert isinstance(job.state, JobState.Enqueued)
    assert job.state.queue == "default"
    assert before - timedelta(milliseconds=1) <= job.state.enqueued_at <= after + timedelta(milliseconds=1)


@promises("J1")
def test_a_fresh_id_is_a_time_ordered_uuid() -> None:
    ids = []
    for _ in range(2000):
        job = Job("work")
        parsed = uuid.UUID(job.id)
        assert str(parsed) == job.id, "the canonical spelling"
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert abs((parsed.int >> 80) / 1000 - job.created_at.timestamp()) < 5
        ids.append(job.id)
    assert len(set(ids)) == 2000
    # In order of time: the leading milliseconds never go back.
    assert [id_[:13] for id_ in ids] == sorted(id_[:13] for id_ in ids)


@promises("J1", "J2", "J6", "E2")
@pytest.mark.parametrize("field", ["id", "method", "queue", "job_type"])
def test_names(field: str) -> None:
    for name in GOOD_NAMES:
        job = Job(**{"method": "work", field: name})  # type: ignore[arg-type]
        assert getattr(job, field) == name
        assert type(getattr(job, field)) is str
    for name in BAD_NAMES:
        invalid(field, name)
    for value in NO_TEXT:
        wrong_type(field, value)


@promises("J1", "J2")
@pytest.mark.parametrize("field", ["id", "method", "queue", "job_type"])
def test_a_name_of_a_subclass_is_taken_by_its_text(field: str) -> None:
    class Text(str):
        def __str__(self) -> str:
            raise AssertionError("no method of it is called")

        __repr__ = __str__

        def __len__(self) -> int:
            raise AssertionError("no method of it is called")

        def encode(self, *args: Any) -> bytes:
            raise AssertionError("no method of it is called")

    job = Job(**{"method": "work", field: Text("name")})  # type: ignore[arg-type]
    value = getattr(job, field)
    assert value == "name"
    assert type(value) is str


@promises("J6", "E2")
@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("priority", [0, -(2**31), 2**31 - 1], [-(2**31) - 1, 2**31, 2**64, -(2**80), True, False]),
        ("max_retries", [0, 2**31 - 1], [-1, 2**31, 2**64, True, False]),
        ("timeout_seconds", [None, 1, 2**31 - 1], [0, -1, 2**31, 2**64, True, False]),
    ],
)
def test_numbers(field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        job = Job(**{"method": "work", field: value})
        assert getattr(job, field) == value
        job = Job("work")
        setattr(job, field, value)
        assert getattr(job, field) == value
    for value in bad:
        invalid(field, value)
    for value in ("1", 1.0, 1.5, math.nan, math.inf, b"1", [1], 1j, object()):
        wrong_type(field, value)


@promises("J6", "E2")
def test_what_may_be_none() -> None:
    job = Job("work", job_type="t", timeout_seconds=5)
    job.job_type = None
    job.timeout_seconds = None
    assert (job.job_type, job.timeout_seconds) == (None, None)
    for field in ("queue", "priority", "max_retries"):
        with pytest.raises(TypeError, match=field):
            setattr(job, field, None)
    for field in ("method", "priority", "max_retries", "arguments"):
        with pytest.raises(TypeError, match=field):
            Job(**{"method": "work", field: None})  # type: ignore[arg-type]
    assert Job("work", id=None, queue=None, metadata=None, state=None).queue == "default"


@promises("J6", "J5")
def test_the_queue_and_the_enqueued_state_are_one() -> None:
    assert Job("work", state=JobState.enqueued("mail")).queue == "mail"
    job = Job("work", queue="web", state=JobState.enqueued("mail"))
    assert (job.queue, _enqueued(job).queue) == ("web", "web")
    job.queue = "other"
    assert _enqueued(job).queue == "other"
    assert Job("work", queue="web", state=JobState.deleted()).queue == "web"
    job.set_state(JobState.failed("no"))
    job.set_state(JobState.enqueued("again"))
    assert (job.queue, _enqueued(job).queue) == ("again", "again")


def _enqueued(job: Job) -> Any:
    assert isinstance(job.state, JobState.Enqueued)
    return job.state


@promises("J8", "S1")
def test_a_job_may_begin_in_any_state() -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)
    for state in (
        JobState.processing("w", "s"),
        JobState.succeeded(1),
        JobState.failed("no", None, 3),
        JobState.deleted(),
        JobState.scheduled(when),
        JobState.awaiting_retry(when, 2, "no"),
    ):
        job = Job("work", state=state)
        assert job.state == state
        assert job.queue == "default"
        assert job.version == 0
    with pytest.raises(TypeError, match="state"):
        Job("work", state="enqueued")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="state"):
        Job("work", state=JobStateKind.ENQUEUED)  # type: ignore[arg-type]


@promises("J1", "J2", "J3", "J4", "J5", "J7", "J8", "J9", "J10", "J11")
@pytest.mark.parametrize(
    "field",
    [
        "id",
        "method",
        "arguments",
        "created_at",
        "state",
        "metadata",
        "attempt",
        "crash_count",
        "retry_count",
        "version",
        "sequence",
        "lock",
    ],
)
def test_what_is_read_only(field: str) -> None:
    job = Job("work", ["a"], metadata={"a": "b"})
    value = getattr(job, field)
    with pytest.raises(AttributeError):
        setattr(job, field, value)
    with pytest.raises(AttributeError):
        delattr(job, field)
    assert getattr(job, field) == value


@promises("J13")
def test_there_is_no_room_for_more_attributes() -> None:
    job = Job("work")
    with pytest.raises(AttributeError):
        job.prioritty = 5  # type: ignore[attr-defined]
    with pytest.raises((AttributeError, TypeError)):
        del job.queue


@promises("J4")
def test_times_are_aware_and_utc() -> None:
    job = Job("work")
    assert job.created_at.utcoffset() == timedelta(0)
    assert job.created_at.tzinfo is not None


@promises("E2")
def test_the_signature() -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        (("work", [], "id"), {}),
        (("work",), {"nonsense": 1}),
        (("work",), {"created_at": None}),
        (("work",), {"version": 1}),
    ]
    for arguments, keywords in calls:
        with pytest.raises(TypeError):
            Job(*arguments, **keywords)
    assert Job(method="work", arguments=[1]).arguments == [1]


# ---------------------------------------------------------------- metadata


@promises("J7", "J15")
def test_metadata_is_a_dict_of_the_job() -> None:
    given = {"a": "1"}
    job = Job("work", metadata=given)
    assert type(job.metadata) is dict
    assert job.metadata is job.metadata
    assert job.metadata is not given
    given["b"] = "2"
    assert job.metadata == {"a": "1"}
    job.metadata["c"] = "3"
    del job.metadata["a"]
    assert job.metadata == {"c": "3"}
    assert given == {"a": "1", "b": "2"}
    assert Job("work").metadata is not Job("work").metadata


@promises("J7", "J12", "E2")
def test_add_metadata() -> None:
    job = Job("work")
    assert job.add_metadata("a", "1") is None  # type: ignore[func-returns-value]
    job.add_metadata("k" * 255, "x\u0000y")
    job.add_metadata("a", "2")
    assert job.metadata == {"a": "2", "k" * 255: "x\u0000y"}
    for key, value in [*((name, "v") for name in BAD_NAMES), ("a", "\ud800")]:
        with pytest.raises(InvalidJobDataError, match="metadata"):
            job.add_metadata(key, value)
    for key, value in [(1, "v"), (b"a", "v"), ("a", 1), ("a", None), ("a", b"v"), ("a", True)]:  # type: ignore[assignment]
        with pytest.raises((TypeError, InvalidJobDataError), match=r"metadata|key|value"):
            job.add_metadata(key, value)
    assert job.metadata == {"a": "2", "k" * 255: "x\u0000y"}


@promises("J7", "E2")
def test_metadata_at_construction() -> None:
    for name in BAD_NAMES:
        with pytest.raises(InvalidJobDataError, match="metadata"):
            Job("work", metadata={name: "v"})
    for bad in ({1: "v"}, {"a": 1}, {"a": None}, {"a": b"v"}, {"a": "\ud800"}, {None: "v"}, {"a": ["v"]}):
        with pytest.raises(InvalidJobDataError, match="metadata"):
            Job("work", metadata=bad)  # type: ignore[arg-type]
    for no_dict in ([], [("a", "b")], "a", 1, object()):
        with pytest.raises(TypeError, match="metadata"):
            Job("work", metadata=no_dict)  # type: ignore[arg-type]
    assert Job("work", metadata={"": "v"} and {"a": ""}).metadata == {"a": ""}


@promises("J7", "J3")
def test_metadata_of_subclasses_is_taken_by_value() -> None:
    class Text(str):
        def __str__(self) -> str:
            raise AssertionError("no method of it is called")

    class Mapping(dict[str, str]):
        def items(self) -> Any:
            raise AssertionError("no method of it is called")

        keys = values = __iter__ = items

    job = Job("work", metadata=Mapping({Text("a"): Text("b")}))
    assert type(job.metadata) is dict
    assert job.metadata == {"a": "b"}
    assert [type(text) for pair in job.metadata.items() for text in pair] == [str, str]


@promises("E4", "E2")
def test_an_error_of_a_job_is_about_no_store() -> None:
    with pytest.raises(InvalidJobDataError) as caught:
        Job("work", priority=2**31)
    error = caught.value
    assert (error.code, error.backend, error.operation) == ("invalid_job_data", None, None)
    assert (error.outcome, error.retryable, error.stored) == ("not_applied", False, 0)
    assert re.search(r"priority", str(error))
