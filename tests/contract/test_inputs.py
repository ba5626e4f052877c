"""Inputs are checked before anything connects [E2, J14]: over a dead address an unopened storage says what is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ferroq import (
    InvalidArgumentError,
    InvalidJobDataError,
    Job,
    JobState,
    PayloadTooLargeError,
    PostgresConfig,
    PostgresStorage,
    RedisConfig,
    RedisStorage,
    Storage,
    StorageClosedError,
    StorageConnectionError,
)
from ferroq.testing.contract import promises

pytestmark = pytest.mark.anyio

# A reserved port: nothing listens.
DEAD: dict[str, Callable[[], Storage]] = {
    "redis": lambda: RedisStorage(RedisConfig(url="redis://127.0.0.1:1", connection_timeout=2)),
    "postgres": lambda: PostgresStorage(
        PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nothing", connect_timeout=2)
    ),
}
Call = Callable[[Any], Awaitable[object]]
BIG = ["x" * 2_000_000]


def changed() -> Job:
    """A job whose metadata holds a value that no job can carry, found at the snapshot."""
    job = Job("work")
    job.metadata["key"] = 1  # type: ignore[assignment]
    return job


def bad(value: Any) -> Any:
    return value


WRONG: dict[str, tuple[type[Exception], Call]] = {
    "enqueue a big job": (PayloadTooLargeError, lambda s: s.enqueue(Job("work", BIG))),
    "enqueue a big job that may exist": (PayloadTooLargeError, lambda s: s.enqueue(Job("work", BIG), if_exists="skip")),
    "enqueue a big job in another state": (
        PayloadTooLargeError,
        lambda s: s.enqueue(Job("work", BIG, state=JobState.failed("why"))),
    ),
    "enqueue no job": (TypeError, lambda s: s.enqueue(bad("job"))),
    "enqueue bad metadata": (InvalidJobDataError, lambda s: s.enqueue(changed())),
    "enqueue if_exists": (InvalidArgumentError, lambda s: s.enqueue(Job("work"), if_exists=bad("perhaps"))),
    "enqueue_many a big job": (PayloadTooLargeError, lambda s: s.enqueue_many([Job("work"), Job("work", BIG)])),
    "enqueue_many no jobs": (TypeError, lambda s: s.enqueue_many(bad([Job("work"), 1]))),
    "enqueue_many nothing to iterate": (TypeError, lambda s: s.enqueue_many(bad(1))),
    "get": (InvalidArgumentError, lambda s: s.get("")),
    "update a big job": (PayloadTooLargeError, lambda s: s.update(Job("work", BIG))),
    "update no job": (TypeError, lambda s: s.update(bad(None))),
    "update bad metadata": (InvalidJobDataError, lambda s: s.update(changed())),
    "update_many": (TypeError, lambda s: s.update_many(bad([None]))),
    "delete": (InvalidArgumentError, lambda s: s.delete("a\n")),
    "list a kind": (InvalidArgumentError, lambda s: s.list("nothing")),
    "list a limit": (InvalidArgumentError, lambda s: s.list(limit=-1)),
    "get_available_jobs": (InvalidArgumentError, lambda s: s.get_available_jobs(True)),
    "fetch_and_lock_job a worker": (InvalidArgumentError, lambda s: s.fetch_and_lock_job("")),
    "fetch_and_lock_job queues": (InvalidArgumentError, lambda s: s.fetch_and_lock_job("w", [])),
    "fetch_available_jobs_atomic": (InvalidArgumentError, lambda s: s.fetch_available_jobs_atomic("w", 1001)),
    "extend_job_locks no jobs": (TypeError, lambda s: s.extend_job_locks(bad([1]))),
    "extend_job_locks a length": (InvalidArgumentError, lambda s: s.extend_job_locks([], 0)),
    "release_jobs no jobs": (TypeError, lambda s: s.release_jobs(bad([1]))),
    "release_jobs a delay": (InvalidArgumentError, lambda s: s.release_jobs([], delay=-1)),
    "try_acquire_job_lock": (InvalidArgumentError, lambda s: s.try_acquire_job_lock("id", "w", 0)),
    "release_job_lock": (InvalidArgumentError, lambda s: s.release_job_lock("id", "")),
    "wait_for_jobs queues": (TypeError, lambda s: s.wait_for_jobs(bad("queue"))),
    "wait_for_jobs a timeout": (InvalidArgumentError, lambda s: s.wait_for_jobs(timeout=-1)),
    "purge": (InvalidArgumentError, lambda s: s.purge(["enqueued"], 1)),
}

WRONG_FOR_POSTGRES: dict[str, tuple[type[Exception], Call]] = {
    "enqueue wake": (TypeError, lambda s: s.enqueue(Job("work"), wake=bad(1))),
    "enqueue connection": (TypeError, lambda s: s.enqueue(Job("work"), connection=object())),
}

RIGHT: dict[str, Call] = {
    "open": lambda s: s.open(),
    "enqueue": lambda s: s.enqueue(Job("work")),
    "enqueue in another state": lambda s: s.enqueue(Job("work", state=JobState.failed("why"))),
    "enqueue_many": lambda s: s.enqueue_many([Job("work")]),
    "get": lambda s: s.get("id"),
    "update": lambda s: s.update(Job("work")),
    "update_many": lambda s: s.update_many([Job("work")]),
    "delete": lambda s: s.delete("id"),
    "list": lambda s: s.list(),
    "get_job_counts": lambda s: s.get_job_counts(),
    "get_available_jobs": lambda s: s.get_available_jobs(),
    "fetch_and_lock_job": lambda s: s.fetch_and_lock_job("w"),
    "fetch_available_jobs_atomic": lambda s: s.fetch_available_jobs_atomic("w"),
    "extend_job_locks": lambda s: s.extend_job_locks([]),
    "release_jobs": lambda s: s.release_jobs([]),
    "try_acquire_job_lock": lambda s: s.try_acquire_job_lock("id", "w", 1),
    "release_job_lock": lambda s: s.release_job_lock("id", "w"),
    "wait_for_jobs": lambda s: s.wait_for_jobs(timeout=1),
    "purge": lambda s: s.purge(["failed"], 1),
    "verify": lambda s: s.verify(),
}


def each(*tables: dict[str, Any]) -> pytest.MarkDecorator:
    """Every entry of the first table on both backends, of the second on Postgres."""
    return pytest.mark.parametrize(
        ("backend", "name"),
        [
            pytest.param(backend, name, marks=pytest.mark.scope(backend))
            for backend in DEAD
            for table in (tables if backend == "postgres" else tables[:1])
            for name in table
        ],
    )


@promises("E2", "J14")
@each(WRONG, WRONG_FOR_POSTGRES)
async def test_what_is_wrong_with_an_input_is_said_before_anything_connects(backend: str, name: str) -> None:
    error, call = (WRONG | WRONG_FOR_POSTGRES)[name]
    with pytest.raises(error) as caught:
        await call(DEAD[backend]())
    assert getattr(caught.value, "outcome", "not_applied") == "not_applied"


@each(RIGHT)
async def test_what_is_right_connects(backend: str, name: str) -> None:
    with pytest.raises(StorageConnectionError) as caught:
        await RIGHT[name](DEAD[backend]())
    assert caught.value.outcome == "not_applied"


@each(WRONG, WRONG_FOR_POSTGRES)
async def test_a_closed_storage_says_so_before_it_looks_at_inputs(backend: str, name: str) -> None:
    closed = DEAD[backend]()
    await closed.close()
    with pytest.raises(StorageClosedError):
        await (WRONG | WRONG_FOR_POSTGRES)[name][1](closed)


@pytest.mark.parametrize("backend", [pytest.param(backend, marks=pytest.mark.scope(backend)) for backend in DEAD])
def test_every_method_is_here(backend: str) -> None:
    storage = type(DEAD[backend]())
    methods = {name for name in dir(storage) if not name.startswith("_") and name not in ("config", "clone", "close")}
    assert {name.split()[0] for name in RIGHT} == methods
    without_inputs = {"open", "get_job_counts", "verify"}
    assert {name.split()[0] for name in WRONG} == methods - without_inputs
