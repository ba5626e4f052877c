"""Other forms of a job: JSON, clones, copies, pickles, equality, repr [J12, J13]."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from ferroq import Job, JobLock, JobState, JobStateKind, ManualClock, MemoryStorage
from ferroq.errors import InvalidJobDataError
from ferroq.testing.contract import promises
from ferroq.testing.contract.record import FIDELITY, ODD_NAMES
from ferroq.testing.contract.support import same

from .test_state import FIELDS, STATES


def full(**fields: Any) -> Job:
    return Job(
        "send",
        ["a", 1, 1.0, None, {"k": []}],
        queue="mail",
        priority=-3,
        max_retries=4,
        metadata={"tenant": "x", "é": "\u0000"},
        job_type="t",
        timeout_seconds=30,
        **fields,
    )


def claimed() -> Job:
    storage = MemoryStorage(clock=ManualClock())
    job = full(id="x")
    storage.enqueue_nowait(job)
    taken = storage.fetch_and_lock_job_nowait("w")
    assert taken is not None
    assert taken.lock is not None
    return taken


# ---------------------------------------------------------------- JSON


@promises("J12")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_json_has_the_shape_of_the_reference(kind: JobStateKind) -> None:
    job = full(id="x", state=STATES[kind]())
    flat = json.loads(job.to_json())
    assert flat["id"] == "x"
    assert flat["method"] == "send"
    assert same(flat["arguments"], job.arguments)
    assert (flat["queue"], flat["priority"], flat["max_retries"]) == (job.queue, -3, 4)
    assert (flat["job_type"], flat["timeout_seconds"], flat["metadata"]) == ("t", 30, job.metadata)
    assert datetime.fromisoformat(flat["created_at"]) == job.created_at
    assert "lock" not in flat
    name, fields, _ = FIELDS[kind]
    assert list(flat["state"]) == [name]
    inner = flat["state"][name]
    assert set(inner) == set(fields)
    for field in fields:
        value = getattr(job.state, field)
        if isinstance(value, datetime):
            assert inner[field][10] == "T"
            assert datetime.fromisoformat(inner[field]) == value
        else:
            assert same(inner[field], value)


@promises("J12", "J13")
@pytest.mark.parametrize("kind", list(JobStateKind))
def test_json_there_and_back(kind: JobStateKind) -> None:
    job = full(state=STATES[kind]())
    assert Job.from_json(job.to_json()) == job


@promises("J12", "J3")
@pytest.mark.parametrize("case", FIDELITY)
def test_json_keeps_arguments_and_names(case: str) -> None:
    job = Job("work", FIDELITY[case], metadata={name: name for name in ODD_NAMES})
    back = Job.from_json(job.to_json())
    assert back == job
    assert same(back.arguments, FIDELITY[case])


@promises("J12", "J11")
def test_json_of_a_stored_job() -> None:
    job = claimed()
    back = Job.from_json(job.to_json())
    assert back == job, "all attributes but the lock"
    assert (back.version, back.sequence, back.attempt) == (2, 1, 1)
    assert back.lock is None
    assert "lock" not in json.loads(job.to_json())


@promises("J12")
def test_json_of_the_reference_is_read() -> None:
    text = """
    {
        "id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        "method": "send_email",
        "arguments": ["user@example.com", "Welcome!"],
        "created_at": "2024-05-06T07:08:09.123456Z",
        "state": {"Processing": {
            "started_at": "2024-05-06T07:08:10.000001+00:00", "worker_id": "w", "server_name": "s"}},
        "queue": "mail",
        "priority": 5,
        "max_retries": 3,
        "metadata": {"tenant": "x"},
        "job_type": null,
        "timeout_seconds": 300
    }
    """
    job = Job.from_json(text)
    assert (job.id, job.method, job.queue) == ("1b4e28ba-2fa1-11d2-883f-0016d3cca427", "send_email", "mail")
    assert job.created_at == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert isinstance(job.state, JobState.Processing)
    assert job.state.started_at == datetime(2024, 5, 6, 7, 8, 10, 1, tzinfo=UTC)
    assert (job.timeout_seconds, job.job_type, job.metadata) == (300, None, {"tenant": "x"})
    assert (job.version, job.sequence, job.attempt) == (0, 0, 0)


@promises("J12", "E2")
def test_json_that_is_no_job() -> None:
    good = json.loads(full(id="x").to_json())

    def spoiled(**changes: Any) -> str:
        return json.dumps({**good, **changes})

    def without(field: str) -> str:
        return json.dumps({key: value for key, value in good.items() if key != field})

    assert Job.from_json(spoiled()).id == "x"
    cases = {
        "": "",
        "not json": "{",
        "a list": "[]",
        "null": "null",
        "twice": json.dumps(good) * 2,
        "no method": without("method"),
        "no state": without("state"),
        "id": spoiled(id=""),
        "id type": spoiled(id=5),
        "method": spoiled(method="a\nb"),
        "arguments": spoiled(arguments="text"),
        "text NaN": spoiled(arguments=[float("nan")]),
        "arguments big": spoiled(arguments=[2**64]),
        "text surrogate": json.dumps({**good, "arguments": ["\ud800"]}),
        "created_at": spoiled(created_at="yesterday"),
        "created_at naive": spoiled(created_at="2024-05-06T07:08:09"),
        "created_at early": spoiled(created_at="1969-05-06T07:08:09Z"),
        "queue": spoiled(queue=None),
        "priority": spoiled(priority=2**31),
        "priority type": spoiled(priority=1.5),
        "priority bool": spoiled(priority=True),
        "max_retries": spoiled(max_retries=-1),
        "timeout_seconds": spoiled(timeout_seconds=0),
        "metadata": spoiled(metadata={"a": 1}),
        "metadata key": spoiled(metadata={"": "1"}),
        "state": spoiled(state={"Unknown": {}}),
        "state shape": spoiled(state="Enqueued"),
        "state two": spoiled(state={**good["state"], "Deleted": {"deleted_at": good["created_at"], "reason": None}}),
        "state fields": spoiled(state={"Processing": {"worker_id": "w"}}),
    }
    for name, text in cases.items():
        with pytest.raises(InvalidJobDataError) as caught:
            Job.from_json(text)
        assert str(caught.value), name
        field = name.split()[0] if name else ""
        if field in good:
            assert field in str(caught.value)
    for wrong in (None, 5, b"{}", good):
        with pytest.raises(TypeError):
            Job.from_json(wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------- clones, copies


@promises("J12")
def test_a_clone_is_the_same_work_anew() -> None:
    job = claimed()
    job.metadata["later"] = "1"
    clone = job.clone_with_new_id()
    assert clone.id != job.id
    assert clone.created_at >= job.created_at
    for field in ("method", "arguments", "queue", "priority", "max_retries", "metadata", "job_type", "timeout_seconds"):
        assert getattr(clone, field) == getattr(job, field)
    assert isinstance(clone.state, JobState.Enqueued)
    assert clone.state.queue == "mail"
    assert (clone.attempt, clone.crash_count, clone.retry_count, clone.version, clone.sequence) == (0, 0, 0, 0, 0)
    assert clone.lock is None
    clone.metadata["own"] = "1"
    assert "own" not in job.metadata
    storage = MemoryStorage()
    storage.enqueue_nowait(clone)
    assert clone.version == 1


@promises("J13", "J11", "J15")
@pytest.mark.parametrize(
    "make",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda job, p=p: pickle.loads(pickle.dumps(job, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
    ids=["copy", "deepcopy", *(f"pickle{p}" for p in range(pickle.HIGHEST_PROTOCOL + 1))],
)
def test_copies_are_equal_and_independent(make: Any) -> None:
    job = claimed()
    twin = make(job)
    assert type(twin) is Job
    assert twin is not job
    assert twin == job
    assert isinstance(twin.lock, JobLock)
    assert job.lock is not None
    assert (twin.lock.token, twin.lock.worker_id, twin.lock.expires_at) == (
        job.lock.token,
        job.lock.worker_id,
        job.lock.expires_at,
    )
    twin.metadata["own"] = "1"
    twin.priority = 9
    twin.set_state(JobState.succeeded(1))
    assert "own" not in job.metadata
    assert job.priority == -3
    assert job.state.kind is JobStateKind.PROCESSING


@promises("J13", "J3")
def test_a_pickle_keeps_arguments_type_for_type() -> None:
    for arguments in FIDELITY.values():
        assert same(pickle.loads(pickle.dumps(Job("work", arguments))).arguments, arguments)


# ---------------------------------------------------------------- equality, hash, repr


@promises("J13")
def test_equality_compares_every_attribute() -> None:
    base = full(id="x")
    twin = copy.deepcopy(base)
    assert twin == base
    assert (twin != base) is False

    def different(change: Any) -> None:
        other = copy.deepcopy(base)
        change(other)
        assert other != base
        assert (other == base) is False

    different(lambda job: setattr(job, "queue", "q"))
    different(lambda job: setattr(job, "priority", 1))
    different(lambda job: setattr(job, "max_retries", 1))
    different(lambda job: setattr(job, "job_type", None))
    different(lambda job: setattr(job, "timeout_seconds", 1))
    different(lambda job: job.metadata.update(a="b"))
    different(lambda job: job.set_state(JobState.deleted()))
    state = base.state
    changes: list[dict[str, Any]] = [{"id": "y"}, {"method": "other"}, {"arguments": []}]
    for fields in changes:
        given: dict[str, Any] = {"method": "send", "arguments": base.arguments, "id": "x", "state": state, **fields}
        assert Job(**given) != Job("send", base.arguments, id="x", state=state)
    # Attributes that only a store sets.
    storage = MemoryStorage()
    stored = copy.deepcopy(base)
    storage.enqueue_nowait(stored)
    assert stored != base
    # The lock is left out.
    holder = claimed()
    shown = Job.from_json(holder.to_json())
    assert shown.lock is None
    assert shown == holder


@promises("J13", "J3")
def test_arguments_are_compared_by_their_text() -> None:
    state = JobState.enqueued("default")
    base = Job("work", id="x", state=state)

    def twin(*arguments: Any) -> Job:
        text = json.loads(base.to_json())
        return Job.from_json(json.dumps({**text, "arguments": list(arguments)}))

    assert twin() == base
    assert twin(1) == twin(1)
    assert twin(1) != twin(1.0)
    assert twin(1) != twin(True)
    assert twin(0.0) != twin(-0.0)
    assert twin({"a": 1, "b": 2}) != twin({"b": 2, "a": 1})
    assert Job("work", [(1,)]).arguments == [[1]]


@promises("J13")
def test_a_job_is_equal_to_jobs_only() -> None:
    job = Job("work")
    for other in (None, "x", 1, job.id, object(), job.to_json()):
        assert (job == other) is False
        assert (job != other) is True

    # The other side has its say, as `mock.ANY` needs it.
    assert job == mock.ANY
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(job, compare)(job) is NotImplemented


@promises("J13")
def test_a_job_is_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Job("work"))
    with pytest.raises(TypeError, match="unhashable"):
        {Job("work")}


@promises("J13")
def test_repr_says_which_job_it_is() -> None:
    job = full(id="the-id")
    text = repr(job)
    assert text.startswith("Job(")
    for part in ("the-id", "send", "mail", "nqueued"):
        assert part in text
    assert len(repr(Job("work", ["x" * 1_000_000]))) < 2000, "for logs: a payload does not belong there"
    taken = claimed()
    assert taken.lock is not None
    assert "w" in repr(taken.lock)
    assert str(taken.lock.token) in repr(taken.lock)


@promises("J11", "J13")
def test_a_lock_is_a_value_that_only_a_store_makes() -> None:
    lock = claimed().lock
    assert lock is not None
    assert type(lock.token) is int
    assert lock.expires_at.utcoffset() == timedelta(0)
    for field in ("token", "worker_id", "expires_at"):
        with pytest.raises(AttributeError):
            setattr(lock, field, getattr(lock, field))
    with pytest.raises(TypeError):
        JobLock()
    for twin in (copy.copy(lock), pickle.loads(pickle.dumps(lock))):
        assert (twin.token, twin.worker_id, twin.expires_at) == (lock.token, lock.worker_id, lock.expires_at)
