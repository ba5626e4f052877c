"""What `update` does with a claim in hand: the first two branches of its order [L3, L2]."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    ConcurrentModificationError,
    ConflictError,
    JobNotFoundError,
    LockLostError,
)
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import (
    LONG,
    SHORT,
    A,
    B,
    claim,
    held,
    kind,
    names,
    put_claimed,
    refused,
    settle,
    stored,
    unchanged,
)


async def outcomes(backend: ContractBackend) -> dict[str, JobState]:
    """The four ways in which a claim can be settled by `update`."""
    return {
        "succeeded": JobState.succeeded(5, ["done"]),
        "failed": JobState.failed("no", retry_count=1),
        "awaiting_retry": JobState.awaiting_retry(await backend.now() + timedelta(hours=1), 1, "no"),
        "deleted": JobState.deleted("not wanted"),
    }


OUTCOMES = ["succeeded", "failed", "awaiting_retry", "deleted"]


class HeldUpdateContract:
    """`update` of an object that holds a claim."""

    # ------------------------------------------------------------------ 1: no such job

    @promises("L3", "Q3")
    async def test_an_unknown_job_is_not_found(self, backend: ContractBackend, storage: Storage) -> None:
        error = await refused(backend, storage, JobNotFoundError, "update", Job("work", id="x"))
        assert error.job_id == "x"
        job = await put_claimed(storage)
        await storage.delete("x")
        # Also with a lock, and before anything is said about versions.
        await refused(backend, storage, JobNotFoundError, "update", job)

    # ------------------------------------------------------------------ 2: with a claim

    @promises("L3", "J9", "J11", "S4")
    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_a_holder_settles(self, backend: ContractBackend, storage: Storage, outcome: str) -> None:
        job = await put_claimed(storage)
        state = (await outcomes(backend))[outcome]
        job.set_state(state)
        job.metadata["by"] = A
        await storage.update(job)
        assert (job.lock, job.version, job.attempt) == (None, 3, 1)
        assert job.state == state
        assert await storage.get("x") == job
        assert await storage.list(outcome) == [job]
        assert await storage.get_available_jobs() == []
        assert await storage.extend_job_locks([job], LONG) == [False]

    @promises("L3", "J11")
    async def test_a_holder_reports_progress_and_keeps_its_claim(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        before = held(job)
        job.metadata["progress"] = "50 %"
        await storage.update(job)
        assert job.version == 3
        assert (held(job).token, held(job).expires_at) == (before.token, before.expires_at)
        back = await stored(storage, "x")
        assert back == job
        assert (back.attempt, kind(back)) == (1, JobStateKind.PROCESSING)
        # The expiry was kept, not moved.
        await backend.advance(SHORT + 1)
        assert names(await storage.get_available_jobs()) == ["x"]

    @promises("L3")
    async def test_a_holder_is_not_bound_to_a_version(self, storage: Storage) -> None:
        job = await put_claimed(storage)
        behind = copy.copy(job)
        for step in range(3):
            job.metadata["step"] = str(step)
            await storage.update(job)
        assert (job.version, behind.version) == (5, 2)
        await settle(storage, behind)
        assert behind.version == 6
        assert await storage.get("x") == behind

    @promises("L3", "L4")
    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_a_lapsed_claim_settles_while_nobody_took_over(
        self, backend: ContractBackend, storage: Storage, outcome: str
    ) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 100)
        await settle(storage, job, (await outcomes(backend))[outcome])
        assert (job.crash_count, job.attempt, job.lock) == (0, 1, None)
        assert await storage.get("x") == job
        assert await storage.fetch_and_lock_job(B) is None

    @promises("L3", "L2", "Q14", "Q15")
    @pytest.mark.parametrize("outcome", [*OUTCOMES, "progress"])
    async def test_a_successor_is_never_overwritten(
        self, backend: ContractBackend, storage: Storage, outcome: str
    ) -> None:
        old = await put_claimed(storage, worker=A, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        # The same worker id on purpose: names give no right.
        new = await claim(storage, A)
        assert held(new).token > held(old).token
        if outcome == "progress":
            old.metadata["progress"] = "99 %"
        else:
            old.set_state((await outcomes(backend))[outcome])
        error = await refused(backend, storage, LockLostError, "update", old)
        assert error.job_id == "x"
        assert isinstance(error, ConflictError)
        async with unchanged(storage):
            assert await storage.extend_job_locks([old], LONG) == [False]
            assert await storage.release_jobs([old]) == [False]
            assert await storage.release_jobs([old], delay=5) == [False]
            [verdict] = await storage.update_many([old])
            assert type(verdict) is LockLostError
        await settle(storage, new)
        for job in (old,):
            await refused(backend, storage, LockLostError, "update", job)

    @promises("L3", "L2")
    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_a_repeated_settlement_changes_nothing(
        self, backend: ContractBackend, storage: Storage, outcome: str
    ) -> None:
        job = await put_claimed(storage)
        job.set_state((await outcomes(backend))[outcome])
        again, once_more = copy.copy(job), copy.copy(job)
        await storage.update(job)
        async with unchanged(storage):
            again.metadata["late"] = "1"
            await storage.update(again)
            assert await storage.update_many([once_more]) == [None]
        for each in (again, once_more):
            assert (each.version, each.lock) == (job.version, None)

    @promises("L3")
    @pytest.mark.parametrize("first", OUTCOMES)
    @pytest.mark.parametrize("second", OUTCOMES)
    async def test_a_claim_settles_once(
        self, backend: ContractBackend, storage: Storage, first: str, second: str
    ) -> None:
        if first == second:
            first, second = "release", first
        job = await put_claimed(storage)
        other = copy.copy(job)
        if first == "release":
            assert await storage.release_jobs([job]) == [True]
        else:
            await settle(storage, job, (await outcomes(backend))[first])
        other.set_state((await outcomes(backend))[second])
        await refused(backend, storage, LockLostError, "update", other)
        assert held(other).worker_id == A

    @promises("L3", "L2")
    @pytest.mark.parametrize("one", [True, False])
    async def test_a_copy_from_before_a_renewal_and_a_change_settles(
        self, backend: ContractBackend, storage: Storage, one: bool
    ) -> None:
        job = await put_claimed(storage)
        renewed, changed = copy.copy(job), copy.copy(job)
        assert await storage.extend_job_locks([job], LONG) == [True]
        renewed.metadata["by"] = "a copy"
        await storage.update(renewed)
        assert renewed.version == changed.version + 1
        changed.set_state(JobState.succeeded(5))
        if one:
            await storage.update(changed)
        else:
            await storage.enqueue(Job("work", id="y"))
            beside = await claim(storage, A)
            beside.set_state(JobState.succeeded(5))
            assert await storage.update_many([changed, beside]) == [None, None]
            assert (beside.version, beside.lock) == ((await stored(storage, "y")).version, None)
        assert (changed.version, changed.lock) == (renewed.version + 1, None)
        assert (await stored(storage, "x")).version == changed.version

    @promises("L3", "Q15", "L2")
    async def test_a_repeat_is_accepted_until_the_next_settlement(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage)
        job.set_state(JobState.awaiting_retry(await backend.now(), 1, "no"))
        during, after = copy.copy(job), copy.copy(job)
        await storage.update(job)
        settled = job.version
        await backend.advance(1)
        # A claim by somebody else is no settlement: the repeat still answers as the first call did.
        successor = await claim(storage, B)
        async with unchanged(storage):
            await storage.update(during)
        assert (during.version, during.lock) == (settled, None)
        successor.set_state(JobState.awaiting_retry(await backend.now() + timedelta(hours=1), 2, "no"))
        await storage.update(successor)
        await refused(backend, storage, LockLostError, "update", after)

    @promises("L3")
    async def test_a_repeat_shows_the_version_of_its_settlement(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage)
        job.set_state(JobState.failed("no"))
        again = copy.copy(job)
        await storage.update(job)
        assert job.version == 3
        # An administrator's change afterwards is no settlement.
        job.metadata["seen"] = "yes"
        await storage.update(job)
        assert job.version == 4
        async with unchanged(storage):
            await storage.update(again)
        assert again.version == 3
        # So a decision on the ground of the repeated answer is a stale one.
        again.metadata["seen"] = "no"
        await refused(backend, storage, ConcurrentModificationError, "update", again)

    @promises("L3", "L4")
    async def test_a_repeat_survives_lapse_and_crash_failing(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1)
        job = await put_claimed(storage)
        job.set_state(JobState.awaiting_retry(await backend.now(), 1, "no"))
        again = copy.copy(job)
        await storage.update(job)
        await backend.advance(1)
        crashed = await claim(storage, B, SHORT)
        await backend.advance(SHORT + 1)
        assert await storage.fetch_and_lock_job(A) is None
        assert kind(await storage.get("x")) is JobStateKind.FAILED
        # Crash-failing is no settlement either.
        async with unchanged(storage):
            await storage.update(again)
        assert again.version == job.version
        crashed.set_state(JobState.failed("no"))
        await refused(backend, storage, LockLostError, "update", crashed)

    @promises("L3", "L6")
    async def test_a_claim_given_back_by_worker_id_is_lost(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage)
        assert await storage.release_job_lock("x", A)
        job.set_state(JobState.succeeded(1))
        await refused(backend, storage, LockLostError, "update", job)
        assert await storage.extend_job_locks([job], LONG) == [False]
        assert await storage.release_jobs([job]) == [False]
