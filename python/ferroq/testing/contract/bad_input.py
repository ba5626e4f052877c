"""Bad input: the named error, with the name of what is wrong in its text, and nothing changed [E2, E4, Q21, Q22]."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import InvalidArgumentError, StorageError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, A, B, claim, names, put, put_claimed, refused, settle, stored

NAN: Final = math.nan
INF: Final = math.inf

BAD_NAMES: Final = ["", "x" * 256, "é" * 128, "a\nb", "\x00", "\x1f", "\x7f", "\x80", "a\x9f", "\ud800", "a\udfff"]
NO_TEXT: Final = [None, 1, 1.5, True, b"bytes", ["x"], object()]

NO_INTEGER: Final = ["1", 1.5, 1.0, NAN, INF, b"1", [1], {}, object()]
BAD_LIMITS: Final = [-1, True, False, 2**31, -(2**31), 2**64, -(2**80)]
BAD_CLAIM_LIMITS: Final = [*BAD_LIMITS, 1001, 2**31 - 1]

NO_SECONDS: Final = ["1", b"1", [1], {}, 1j, object()]
BAD_LOCKS: Final = [0, -1, 0.0, 0.0009, -0.5, 31_536_001, 31_536_000.1, NAN, INF, -INF, True, False, 2**64, 10**400]

# Two of these, counted in microseconds, come out small where 64 bits wrap around.
HUGE: Final = [timedelta.max, timedelta(days=106_751_992), timedelta(days=213_503_984)]

NO_QUEUES: Final = ["mail", b"mail", 5, object(), [1], ["a", None], [b"a"]]
BAD_QUEUES: Final = [[], (), [""], ["a", "x" * 256], ["a\nb"], ["\ud800"], [f"q{index}" for index in range(257)]]

NO_JOB: Final = [None, "x", 1, {}, object(), JobState.deleted(), Job]
NO_JOBS: Final = [None, 5, Job("work"), "x", [Job("work"), "x"], [None], [[Job("work")]]]

NO_FILTER: Final = [True, 1, 1.5, b"failed", ["failed"], object()]
BAD_FILTERS: Final = ["", "FAILED", "Failed", "failed ", "done", "processing\x00"]

# method, parameter, the other arguments, values of a wrong type, values out of range
CASES: Final[list[tuple[str, str, dict[str, Any], list[Any], list[Any]]]] = [
    ("enqueue", "job", {}, NO_JOB, []),
    ("enqueue", "if_exists", {"job": Job("work")}, [None, 1, True, b"skip"], ["", "SKIP", "replace"]),
    ("get", "job_id", {}, NO_TEXT, BAD_NAMES),
    ("update", "job", {}, NO_JOB, []),
    ("delete", "job_id", {}, NO_TEXT, BAD_NAMES),
    ("list", "state_filter", {}, NO_FILTER, BAD_FILTERS),
    ("list", "limit", {}, NO_INTEGER, BAD_LIMITS),
    ("list", "offset", {}, NO_INTEGER, BAD_LIMITS),
    ("list", "queue", {}, [1, b"q", ["q"], object()], BAD_NAMES),
    ("list", "after", {}, ["1", 1.5, NAN, b"1", [1], object()], [0, -1, True, False, 2**64, Job("never stored")]),
    ("get_available_jobs", "limit", {}, NO_INTEGER, BAD_LIMITS),
    ("fetch_and_lock_job", "worker_id", {}, NO_TEXT, BAD_NAMES),
    ("fetch_and_lock_job", "queues", {"worker_id": A}, NO_QUEUES, BAD_QUEUES),
    ("fetch_and_lock_job", "lock_timeout", {"worker_id": A}, [*NO_SECONDS, timedelta(seconds=1)], BAD_LOCKS),
    ("fetch_available_jobs_atomic", "worker_id", {}, NO_TEXT, BAD_NAMES),
    ("fetch_available_jobs_atomic", "limit", {"worker_id": A}, NO_INTEGER, BAD_CLAIM_LIMITS),
    ("fetch_available_jobs_atomic", "queues", {"worker_id": A}, NO_QUEUES, BAD_QUEUES),
    ("fetch_available_jobs_atomic", "lock_timeout", {"worker_id": A}, [*NO_SECONDS, timedelta(seconds=1)], BAD_LOCKS),
    ("try_acquire_job_lock", "job_id", {"worker_id": A, "timeout_seconds": 5}, NO_TEXT, BAD_NAMES),
    ("try_acquire_job_lock", "worker_id", {"job_id": "free", "timeout_seconds": 5}, NO_TEXT, BAD_NAMES),
    (
        "try_acquire_job_lock",
        "timeout_seconds",
        {"job_id": "free", "worker_id": A},
        [None, *NO_SECONDS, timedelta(seconds=1)],
        BAD_LOCKS,
    ),
    ("release_job_lock", "job_id", {"worker_id": A}, NO_TEXT, BAD_NAMES),
    ("release_job_lock", "worker_id", {"job_id": "claimed"}, NO_TEXT, BAD_NAMES),
    ("enqueue_many", "jobs", {}, NO_JOBS, []),
    ("enqueue_many", "if_exists", {"jobs": [Job("work")]}, [None, 1, True, b"skip"], ["", "SKIP", "replace"]),
    ("enqueue_many", "if_exists", {"jobs": []}, [None], ["replace"]),
    ("update_many", "jobs", {}, NO_JOBS, []),
    ("extend_job_locks", "jobs", {}, NO_JOBS, []),
    ("extend_job_locks", "lock_timeout", {"jobs": [Job("work")]}, [*NO_SECONDS, timedelta(seconds=1)], BAD_LOCKS),
    ("extend_job_locks", "lock_timeout", {"jobs": []}, ["1"], [0, NAN]),
    ("release_jobs", "jobs", {}, NO_JOBS, []),
    (
        "release_jobs",
        "delay",
        {"jobs": [Job("work")]},
        NO_SECONDS,
        [-1, -0.001, NAN, INF, -INF, True, False, 1e12, timedelta(seconds=-1), *HUGE, 10**400],
    ),
    ("wait_for_jobs", "queues", {"timeout": 0}, NO_QUEUES, BAD_QUEUES),
    ("wait_for_jobs", "timeout", {}, NO_SECONDS, [-1, -0.001, NAN, -INF, True, False]),
    (
        "purge",
        "kinds",
        {"older_than": 0},
        [None, 5, b"failed", object(), [1], [None], ["failed", 2]],
        [
            [],
            (),
            "",
            "done",
            "FAILED",
            "enqueued",
            ["failed", "done"],
            *(each for each in JobStateKind if not each.is_final),
            ["failed", JobStateKind.PROCESSING],
            [JobState.enqueued("q")],
        ],
    ),
    (
        "purge",
        "older_than",
        {"kinds": "failed"},
        [None, *NO_SECONDS],
        [-1, -0.001, NAN, INF, -INF, True, timedelta(seconds=-1), 10**400],
    ),
    ("purge", "limit", {"kinds": "failed", "older_than": 0}, NO_INTEGER, BAD_LIMITS),
]


def shorten(value: Any) -> str:
    """A value, short enough for a list of complaints."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}… ({type(value).__name__})"


async def furnish(storage: Storage) -> None:
    """Something in every place that a call which goes too far could damage."""
    await put(storage, "claimed", priority=9)
    await claim(storage)
    await put(storage, "enqueued")
    await storage.enqueue(Job("work", id="failed", state=JobState.failed("no")))
    await storage.try_acquire_job_lock("locked", B, LONG)


class BadInputContract:
    """Every method and every parameter."""

    @promises("E2", "E4", "Q21", "Q22")
    @pytest.mark.parametrize(
        ("method", "parameter", "others", "wrong_types", "out_of_range"),
        CASES,
        ids=[f"{method}-{parameter}-{index}" for index, (method, parameter, *_) in enumerate(CASES)],
    )
    async def test_each_parameter_is_checked(
        self,
        backend: ContractBackend,
        storage: Storage,
        method: str,
        parameter: str,
        others: dict[str, Any],
        wrong_types: list[Any],
        out_of_range: list[Any],
    ) -> None:
        await furnish(storage)
        call = getattr(storage, method)
        before = (await storage.get_job_counts(), await storage.list(), names(await storage.get_available_jobs()))
        complaints: list[str] = []
        for value in [*wrong_types, *out_of_range]:
            # A bool is an int to Python, and refused as a value; where a text is wanted it is just another type.
            expected = InvalidArgumentError if any(value is each for each in out_of_range) else TypeError
            try:
                answer = await call(**others, **{parameter: value})
            except Exception as error:
                if type(error) is not expected:
                    complaints.append(f"{shorten(value)}: {type(error).__name__}({error}), not {expected.__name__}")
                elif parameter not in str(error):
                    complaints.append(f"{shorten(value)}: its text does not name it: {error}")
                elif isinstance(error, StorageError):
                    carried = (error.backend, error.operation, error.outcome, error.retryable, error.stored)
                    if carried != (backend.name, method, "not_applied", False, 0):
                        complaints.append(f"{shorten(value)}: carries {carried}")
            else:
                complaints.append(f"{shorten(value)}: accepted, answered {shorten(answer)}")
        assert complaints == []
        after = (await storage.get_job_counts(), await storage.list(), names(await storage.get_available_jobs()))
        assert after == before

    @promises("E2", "Q21")
    async def test_what_is_at_the_edge_of_a_range_is_fine(self, storage: Storage) -> None:
        await furnish(storage)
        longest = "é" * 127 + "x"
        assert len(longest.encode()) == 255
        most = 2**31 - 1
        assert await storage.get(longest) is None
        assert len(await storage.list(None, most, 0, queue=longest)) == 0
        assert len(await storage.list("failed", most)) == 1
        assert await storage.list(after=2**63 - 1, offset=most) == []
        assert names(await storage.get_available_jobs(most)) == ["enqueued"]
        assert await storage.fetch_and_lock_job(longest, [longest], lock_timeout=31_536_000) is None
        assert await storage.fetch_available_jobs_atomic(A, 1000, [longest], lock_timeout=0.001) == []
        assert await storage.try_acquire_job_lock(longest, longest, 0.001) is True
        assert await storage.release_jobs([Job("work")], delay=31_536_000) == [False]
        assert await storage.purge("failed", timedelta(days=36_500), most) == 0
        assert await storage.wait_for_jobs([longest], 0) is False

    @promises("E2", "Q1", "Q13")
    async def test_a_generator_that_fails_is_the_callers_error(self, storage: Storage) -> None:
        class Mine(Exception):
            pass

        def generate() -> Iterator[Job]:
            yield Job("work", id="x")
            raise Mine

        before = await storage.list()
        for call in (
            storage.enqueue_many,
            storage.update_many,
            storage.extend_job_locks,
            storage.release_jobs,
        ):
            with pytest.raises(Mine):
                await call(generate())
        assert await storage.list() == before

    @promises("E2", "E4", "Q17")
    async def test_a_range_speaks_before_the_store_is_touched(self, backend: ContractBackend, storage: Storage) -> None:
        await storage.enqueue(Job("work", id="x", state=JobState.failed("no")))
        await refused(backend, storage, InvalidArgumentError, "purge", ["failed", "enqueued"], 0)
        await refused(backend, storage, InvalidArgumentError, "purge", "failed", 0, -1)
        job = await put_claimed(storage, "y")
        await refused(backend, storage, InvalidArgumentError, "release_jobs", [job], delay=-1)
        await refused(backend, storage, InvalidArgumentError, "extend_job_locks", [job], 0)
        await refused(backend, storage, TypeError, "update_many", [job, None])
        await refused(backend, storage, TypeError, "release_jobs", [job, None])
        await refused(backend, storage, TypeError, "extend_job_locks", [job, None], LONG)
        await settle(storage, job)
        assert await storage.get("y") == job

    @promises("E2", "Q17")
    async def test_an_age_beyond_all_time_deletes_nothing(self, backend: ContractBackend, storage: Storage) -> None:
        await furnish(storage)
        await backend.advance(10 * 86_400)
        before = await storage.list()
        ages: list[Any] = [*HUGE, 1e13, 2**63, 10**30]
        for age in ages:
            with suppress(InvalidArgumentError):
                assert await storage.purge("failed", age) == 0
        assert await storage.list() == before

    @promises("Q21", "E2")
    async def test_zero_is_empty(self, storage: Storage) -> None:
        await furnish(storage)
        before = await storage.list()
        assert await storage.list(limit=0) == []
        assert await storage.get_available_jobs(0) == []
        assert await storage.fetch_available_jobs_atomic(A, 0) == []
        assert await storage.purge("failed", 0, 0) == 0
        assert await storage.list() == before

    @promises("E4")
    async def test_no_secret_and_no_payload_in_a_text(self, backend: ContractBackend, storage: Storage) -> None:
        secret = "hunter2-is-a-secret"
        await storage.enqueue(Job("work", [secret], id="x", metadata={"key": secret}))
        job = await stored(storage, "x")
        texts = []
        for method, argument in [("enqueue", Job("work", [secret], id="x")), ("update", Job("work", [secret], id="x"))]:
            with pytest.raises(StorageError) as caught:
                await getattr(storage, method)(argument)
            texts.append(str(caught.value) + repr(caught.value))
        job.metadata["bad"] = 5  # type: ignore[assignment]
        with pytest.raises(StorageError) as caught:
            await storage.update(job)
        texts.append(str(caught.value))
        assert not any(secret in text for text in texts)
