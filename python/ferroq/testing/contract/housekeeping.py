"""Purge, retention, the self-audit, and whose clock counts [Q17, Q18, Q28, C1]."""

from __future__ import annotations

import asyncio
import copy
import time
from datetime import timedelta
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import JobNotFoundError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import (
    BOUND,
    LONG,
    SHORT,
    A,
    B,
    claim,
    held,
    kind,
    names,
    put,
    put_claimed,
    put_many,
    refused,
    settle,
    stored,
)

FINAL = {
    JobStateKind.SUCCEEDED: JobState.succeeded(1),
    JobStateKind.FAILED: JobState.failed("no"),
    JobStateKind.DELETED: JobState.deleted(),
}


class PurgeContract:
    """`purge`."""

    @promises("Q17", "Q6")
    @pytest.mark.parametrize(
        ("kinds", "gone"),
        [
            (JobStateKind.SUCCEEDED, {"succeeded"}),
            ("failed", {"failed"}),
            (JobState.deleted("any"), {"deleted"}),
            ([JobStateKind.SUCCEEDED, "failed"], {"succeeded", "failed"}),
            (
                ("succeeded", JobState.failed("any"), JobStateKind.DELETED, "deleted"),
                {"succeeded", "failed", "deleted"},
            ),
            ({"deleted"}, {"deleted"}),
        ],
        ids=["kind", "value", "state", "list", "mixed", "set"],
    )
    async def test_finished_jobs_of_some_kinds_are_deleted(
        self, backend: ContractBackend, storage: Storage, kinds: Any, gone: set[str]
    ) -> None:
        await put(storage, "active")
        for each, state in FINAL.items():
            await storage.enqueue(Job("work", id=each.value, state=state))
        await backend.advance(10)
        assert await storage.purge(kinds, 5) == len(gone)
        assert set(names(await storage.list())) == {"active", "succeeded", "failed", "deleted"} - gone
        counts = await storage.get_job_counts()
        assert sum(counts.values()) == 4 - len(gone)
        assert await storage.purge(kinds, 5) == 0

    @promises("Q17", "Q28")
    @pytest.mark.parametrize("as_timedelta", [True, False])
    async def test_age_counts_from_the_change_of_kind(
        self, backend: ContractBackend, storage: Storage, as_timedelta: bool
    ) -> None:
        def seconds(count: float) -> Any:
            return timedelta(seconds=count) if as_timedelta else count

        await put(storage, "late", "early")
        late, early = await storage.fetch_available_jobs_atomic(A, 2, lock_timeout=LONG)
        await settle(storage, early, JobState.failed("no"))
        await backend.advance(100)
        await settle(storage, late, JobState.failed("no"))
        await backend.advance(50)
        # A later change that leaves the kind does not make a job younger.
        early.metadata["seen"] = "1"
        await storage.update(early)
        assert await storage.purge("failed", seconds(200)) == 0
        assert await storage.purge("failed", seconds(100)) == 1
        assert names(await storage.list()) == ["late"]
        assert await storage.purge("failed", seconds(60)) == 0
        assert await storage.purge("failed", seconds(0)) == 1

    @promises("Q17")
    async def test_a_job_that_became_final_again_is_young_again(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        await storage.enqueue(Job("work", id="x", state=JobState.failed("no")))
        await backend.advance(100)
        job = await stored(storage, "x")
        job.set_state(JobState.deleted())
        await storage.update(job)
        assert await storage.purge(["failed", "deleted"], 50) == 0
        await backend.advance(60)
        assert await storage.purge(["failed", "deleted"], 50) == 1

    @promises("Q17", "Q21")
    async def test_the_oldest_go_first_up_to_the_limit(self, backend: ContractBackend, storage: Storage) -> None:
        jobs = {job.id: job for job in await put(storage, *"abcdef")}
        order = ["d", "a", "f", "c", "e", "b"]
        for index, id_ in enumerate(order):
            jobs[id_].set_state(JobState.deleted() if index % 2 else JobState.failed("no"))
            await storage.update(jobs[id_])
            await backend.advance(2)
        assert await storage.purge(["failed", "deleted"], 0, limit=0) == 0
        assert await storage.purge(["failed", "deleted"], 0, limit=2) == 2
        assert set(names(await storage.list())) == {"f", "c", "e", "b"}
        assert await storage.purge(["deleted"], 0, limit=1) == 1
        assert set(names(await storage.list())) == {"f", "e", "b"}
        assert await storage.purge(["failed", "deleted"], 0, limit=None) == 3

    @promises("Q17", "Q21")
    async def test_a_thousand_by_default_and_all_with_none(self, storage: Storage) -> None:
        await put_many(storage, [f"{index:04}" for index in range(2150)], state=JobState.deleted())
        assert await storage.purge("deleted", 0) == 1000
        assert (await storage.get_job_counts())[JobStateKind.DELETED] == 1150
        assert await storage.purge("deleted", 0, None) == 1150
        assert await storage.list() == []

    @promises("Q17", "Q4")
    async def test_a_purged_job_is_deleted_for_good(self, storage: Storage) -> None:
        job = await put_claimed(storage)
        await settle(storage, job)
        assert await storage.try_acquire_job_lock("x", B, LONG)
        assert await storage.purge("succeeded", 0) == 1
        assert await storage.get("x") is None
        await put(storage, "x")
        assert (await stored(storage, "x")).version == 1


class RetentionContract:
    """`keep_succeeded`, `keep_failed`, `keep_deleted`."""

    @promises("C1", "Q1", "Q3", "L3")
    @pytest.mark.parametrize("each", list(FINAL))
    async def test_zero_keeps_nothing(self, backend: ContractBackend, each: JobStateKind) -> None:
        storage = await backend.open(**{f"keep_{each.value}": 0})
        await put(storage, *"abc")
        one, many, twice = await storage.fetch_available_jobs_atomic(A, 3, lock_timeout=LONG)
        late = held(twice).token
        await settle(storage, one, FINAL[each])
        many.set_state(FINAL[each])
        assert await storage.update_many([many]) == [None]
        twice.set_state(FINAL[each])
        await storage.update(twice)
        assert (twice.lock, twice.version) == (None, 3)
        assert await storage.list() == []
        assert sum((await storage.get_job_counts()).values()) == 0
        assert await storage.verify() == []
        # The others are kept.
        for other, state in FINAL.items():
            assert await storage.enqueue(Job("work", id=other.value, state=state))
        assert set(names(await storage.list())) == {kind_.value for kind_ in FINAL} - {each.value}
        # The id is free again.
        again = await put_claimed(storage, "c")
        assert held(again).token > late

    @promises("C1", "L3", "Q15")
    async def test_a_repeat_finds_no_job_where_nothing_is_kept(self, backend: ContractBackend) -> None:
        storage = await backend.open(keep_succeeded=0, keep_deleted=0)
        job = await put_claimed(storage)
        job.set_state(JobState.succeeded(1))
        again = copy.copy(job)
        await storage.update(job)
        await refused(backend, storage, JobNotFoundError, "update", again)
        assert await storage.release_jobs([again]) == [False]
        # And so does a holder whose cancelled job was not kept.
        job = await put_claimed(storage)
        operator = await stored(storage, "x")
        operator.set_state(JobState.deleted())
        await storage.update(operator)
        assert await storage.get("x") is None
        await refused(backend, storage, JobNotFoundError, "update", job)
        assert await storage.extend_job_locks([job]) == [False]

    @promises("C1", "L5")
    async def test_zero_keeps_no_lock_behind(self, backend: ContractBackend) -> None:
        storage = await backend.open(keep_succeeded=0)
        job = await put_claimed(storage)
        await settle(storage, job)
        assert await storage.try_acquire_job_lock("x", B, LONG) is True
        assert await storage.release_job_lock("x", B) is True

    @promises("C1", "L5", "Q4")
    @pytest.mark.parametrize("many", [False, True])
    async def test_zero_frees_the_explicit_lock(self, backend: ContractBackend, many: bool) -> None:
        # What is deleted, by `enqueue` or `update`, is deleted with its locks.
        storage = await backend.open(keep_failed=0)
        for name in ("stored", "new", "other"):
            assert await storage.try_acquire_job_lock(name, A, LONG)
        job = Job("work", id="stored")
        await storage.enqueue(job)
        job.set_state(JobState.failed("boom"))
        new = Job("work", id="new", state=JobState.failed("boom"))
        if many:
            assert await storage.update_many([job]) == [None]
            assert await storage.enqueue_many([Job("work", id="kept"), new]) == [True, True]
        else:
            await storage.update(job)
            assert await storage.enqueue(new) is True
        assert await storage.release_job_lock("stored", A) is False
        assert await storage.release_job_lock("new", A) is False
        assert await storage.release_job_lock("other", A) is True
        assert await storage.verify() == []

    @promises("C1", "Q1")
    @pytest.mark.parametrize("each", list(FINAL))
    async def test_zero_keeps_nothing_that_is_enqueued_so(self, backend: ContractBackend, each: JobStateKind) -> None:
        storage = await backend.open(**{f"keep_{each.value}": 0})
        assert await storage.enqueue(Job("work", id="x", state=FINAL[each])) is True
        assert await storage.get("x") is None
        assert await storage.list() == []
        assert await storage.enqueue(Job("work", id="x")) is True
        assert (await claim(storage)).id == "x"

    @promises("C1", "Q28")
    @pytest.mark.parametrize("each", list(FINAL))
    async def test_seconds_purge_behind_settlements(self, backend: ContractBackend, each: JobStateKind) -> None:
        storage = await backend.open(**{f"keep_{each.value}": 60})
        other = JobStateKind.FAILED if each is JobStateKind.SUCCEEDED else JobStateKind.SUCCEEDED
        await settle(storage, await put_claimed(storage, "old"), FINAL[each])
        await settle(storage, await put_claimed(storage, "other"), FINAL[other])
        await backend.advance(50)
        await settle(storage, await put_claimed(storage, "young"), FINAL[each])
        await backend.advance(20)
        # At most one purge a second of real time, and only behind a settlement: settle until it has happened.
        rounds = 0
        deadline = time.monotonic() + BOUND
        while await storage.get("old") is not None:
            assert time.monotonic() < deadline, "never purged"
            await settle(storage, await put_claimed(storage, f"j{rounds}"), FINAL[each])
            rounds += 1
            await asyncio.sleep(0.05)
        left = set(names(await storage.list()))
        assert left == {"other", "young", *(f"j{index}" for index in range(rounds))}

    @promises("C1")
    async def test_everything_is_kept_by_default(self, backend: ContractBackend, storage: Storage) -> None:
        for each, state in FINAL.items():
            await storage.enqueue(Job("work", id=each.value, state=state))
        await backend.advance(20 * 365 * 86_400)
        await settle(storage, await put_claimed(storage))
        assert len(await storage.list()) == 4


class ClockContract:
    """The backend's clock alone decides [Q28]."""

    @promises("Q28", "Q17", "C1")
    async def test_a_client_clock_that_is_behind_changes_nothing(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        # Seen from the backend, this process now lives a day in the past.
        await backend.advance(86_400)
        job = await put_claimed(storage, lock_timeout=SHORT)
        now = await backend.now()
        assert timedelta(seconds=SHORT - 10) < held(job).expires_at - now <= timedelta(seconds=SHORT)
        await settle(storage, job)
        state = (await stored(storage, "x")).state
        assert isinstance(state, JobState.Succeeded)
        assert now - state.succeeded_at > timedelta(hours=23), "what the caller stamped is data"
        assert await storage.purge("succeeded", 3600) == 0, "it was settled just now"
        # Order too: what this process stamps is no due time.
        await put(storage, "first")
        await backend.advance(5)
        await put(storage, "second")
        assert (await claim(storage)).id == "first"

    @promises("Q28", "Q23")
    async def test_named_times_are_held_against_the_backends_clock(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        due = await backend.now() + timedelta(hours=12)
        await storage.enqueue(Job("work", id="x", state=JobState.scheduled(due)))
        assert await storage.fetch_and_lock_job(A) is None
        await backend.advance(12 * 3600 + 1)
        assert (await claim(storage)).id == "x"
        now = await backend.now()
        assert await storage.release_jobs([await _again(storage, "x")], delay=60) == [True]
        state = (await stored(storage, "x")).state
        assert isinstance(state, JobState.Scheduled)
        assert timedelta(seconds=59) < state.enqueue_at - now < timedelta(seconds=80)

    @promises("Q18")
    async def test_the_audit_changes_nothing_and_finds_nothing(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        assert await storage.verify() == []
        await put(storage, *"abcdef")
        jobs = await storage.fetch_available_jobs_atomic(A, 4, lock_timeout=SHORT)
        await settle(storage, jobs[0])
        await storage.release_jobs([jobs[1]], delay=LONG)
        await storage.try_acquire_job_lock("c", B, SHORT)
        await storage.try_acquire_job_lock("unknown", B, SHORT)
        before = await storage.list()
        assert await storage.verify() == []
        await backend.advance(SHORT + 1)
        assert await storage.verify() == []
        await storage.delete("d")
        assert await storage.verify() == []
        assert await storage.list() == [job for job in before if job.id != "d"]
        assert kind(await storage.get("c")) is JobStateKind.PROCESSING


async def _again(storage: Storage, job_id: str) -> Job:
    """Gives a claimed job back and claims it anew."""
    assert await storage.release_job_lock(job_id, A)
    job = await claim(storage)
    assert job.id == job_id
    return job
