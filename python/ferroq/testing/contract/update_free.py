"""What `update` does without a claim: by version, and never past a live lock [L3, Q3, J8, J9]."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    ConcurrentModificationError,
    ConflictError,
    JobLockedError,
    LockLostError,
)
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import (
    LONG,
    MILLISECOND,
    SHORT,
    A,
    B,
    claim,
    held,
    kind,
    names,
    put,
    put_claimed,
    refused,
    settle,
    stored,
)
from .update_held import OUTCOMES, outcomes


class FreeUpdateContract:
    """`update` of an object that holds no claim."""

    # ------------------------------------------------------------------ 3: without a claim, under a live one

    @promises("L3")
    @pytest.mark.parametrize("change", ["fields", "succeeded", "failed", "awaiting_retry"])
    async def test_a_live_claim_refuses_everybody_else(
        self, backend: ContractBackend, storage: Storage, change: str
    ) -> None:
        await put_claimed(storage)
        copy_ = await stored(storage, "x")
        if change == "fields":
            copy_.priority = 5
        else:
            copy_.set_state((await outcomes(backend))[change])
        error = await refused(backend, storage, JobLockedError, "update", copy_)
        assert error.job_id == "x"
        assert isinstance(error, ConflictError)

    @promises("L3")
    async def test_the_lock_speaks_before_the_version(self, backend: ContractBackend, storage: Storage) -> None:
        [stale] = await put(storage, "x")
        await claim(storage)
        stale.priority = 5
        await refused(backend, storage, JobLockedError, "update", stale)
        # But a cancellation goes on to the version.
        stale.set_state(JobState.deleted())
        await refused(backend, storage, ConcurrentModificationError, "update", stale)

    @promises("L3", "Q14", "Q15")
    @pytest.mark.parametrize("outcome", OUTCOMES)
    async def test_an_operator_cancels(self, backend: ContractBackend, storage: Storage, outcome: str) -> None:
        job = await put_claimed(storage)
        operator = await stored(storage, "x")
        operator.set_state(JobState.deleted("cancelled"))
        await storage.update(operator)
        assert operator.version == 3
        assert await storage.get("x") == operator
        assert operator.lock is None
        # The holder learns of it whatever it does, even where it wants the same.
        assert await storage.extend_job_locks([job], LONG) == [False]
        assert await storage.release_jobs([job]) == [False]
        job.set_state((await outcomes(backend))[outcome])
        await refused(backend, storage, LockLostError, "update", job)

    # ------------------------------------------------------------------ 4: without a claim, by version

    @promises("L3", "Q3", "J9")
    async def test_a_stale_copy_never_overwrites(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        first, second = await stored(storage, "x"), await stored(storage, "x")
        first.priority = 1
        await storage.update(first)
        second.priority = 2
        error = await refused(backend, storage, ConcurrentModificationError, "update", second)
        assert error.job_id == "x"
        assert second.version == 1
        assert isinstance(error, ConflictError)
        second.set_state(JobState.deleted())
        await refused(backend, storage, ConcurrentModificationError, "update", second)
        await refused(backend, storage, ConcurrentModificationError, "update", Job("work", id="x"))
        assert (await stored(storage, "x")).priority == 1

    @promises("L3", "J9", "L6")
    async def test_every_accepted_change_makes_copies_stale(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")

        async def stale_after(step: str) -> None:
            copy_ = await stored(storage, "x")
            job: Job | None = None
            if step == "release_jobs":
                job = await claim(storage)
                await storage.release_jobs([job])
            elif step == "release_job_lock":
                await claim(storage)
                await storage.release_job_lock("x", A)
            else:
                job = await claim(storage)
                await settle(storage, job, JobState.failed("no"))
            copy_.priority = 9
            await refused(backend, storage, ConcurrentModificationError, "update", copy_)

        for step in ("release_jobs", "release_job_lock", "settlement"):
            await stale_after(step)

    @promises("J9", "L5", "Q14")
    async def test_renewals_and_explicit_locks_make_no_version(self, storage: Storage) -> None:
        await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        assert (await stored(storage, "x")).version == 1
        assert await storage.release_job_lock("x", A)
        assert (await stored(storage, "x")).version == 1
        job = await claim(storage)
        assert await storage.extend_job_locks([job], LONG) == [True]
        assert (await stored(storage, "x")).version == job.version == 2

    # ------------------------------------------------------------------ 5: to Processing, and staying there

    @promises("L3", "L1", "L2", "J8", "J11")
    async def test_an_update_to_processing_takes_a_claim(self, backend: ContractBackend) -> None:
        storage = await backend.open(lock_timeout=120)
        [job] = await put(storage, "x")
        job.set_state(JobState.processing(A, "here"))
        low = await backend.now()
        await storage.update(job)
        high = await backend.now()
        assert (job.version, job.attempt) == (2, 1)
        assert held(job).worker_id == A
        assert low - MILLISECOND <= held(job).expires_at - timedelta(seconds=120) <= high + MILLISECOND
        assert await storage.get("x") == job
        assert (await stored(storage, "x")).lock is None
        assert await storage.fetch_and_lock_job(B) is None
        token = held(job).token
        await settle(storage, job, JobState.failed("no"))
        job.set_state(JobState.enqueued("default"))
        await storage.update(job)
        assert held(await claim(storage)).token > token

    @promises("L3", "L5", "Q9")
    async def test_an_explicit_lock_of_another_refuses_processing(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        [job] = await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, SHORT)
        stale = copy.copy(job)
        job.priority = 3
        await storage.update(job)
        job.set_state(JobState.processing(B, "s"))
        error = await refused(backend, storage, JobLockedError, "update", job)
        assert error.job_id == "x"
        assert job.lock is None
        # The version speaks before the explicit lock.
        stale.set_state(JobState.processing(B, "s"))
        await refused(backend, storage, ConcurrentModificationError, "update", stale)
        # Once it has lapsed it binds nobody.
        await backend.advance(SHORT + 1)
        await storage.update(job)
        assert held(job).worker_id == B

    @promises("L3", "L1", "L4")
    async def test_an_unlocked_update_of_a_lapsed_job_takes_no_lock(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        visitor = await stored(storage, "x")
        visitor.metadata["note"] = "seen lapsed"
        await storage.update(visitor)
        assert (visitor.version, visitor.attempt, visitor.lock) == (3, 1, None)
        assert kind(await storage.get("x")) is JobStateKind.PROCESSING
        assert names(await storage.get_available_jobs()) == ["x"]
        # The holder is still the holder.
        await settle(storage, job)
        assert job.version == 4

    @promises("L3", "L5")
    async def test_a_job_that_stays_processing_ignores_explicit_locks(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        assert await storage.try_acquire_job_lock("x", B, LONG)
        visitor = await stored(storage, "x")
        visitor.priority = 4
        await storage.update(visitor)
        job.metadata["progress"] = "1"
        await storage.update(job)
        assert held(job).worker_id == A

    @promises("L3", "L4")
    async def test_an_operator_may_settle_a_lapsed_job(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        operator = await stored(storage, "x")
        operator.set_state(JobState.succeeded(1))
        await storage.update(operator)
        assert await storage.fetch_and_lock_job(B) is None
        # That settlement carries no token, so the holder's of the same kind is no repeat of it.
        job.set_state(JobState.succeeded(2))
        await refused(backend, storage, LockLostError, "update", job)

    @promises("S4", "Q3")
    async def test_the_store_trusts_set_state(self, storage: Storage) -> None:
        [job] = await put(storage, "x")
        job.set_state(JobState.processing(A, "s"))
        job.set_state(JobState.succeeded(3))
        await storage.update(job)
        assert (job.version, job.attempt, job.lock) == (2, 0, None)
        assert await storage.get("x") == job
        assert kind(job) is JobStateKind.SUCCEEDED

    @promises("J8", "Q3")
    async def test_retry_count_is_that_of_the_last_failure(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage)
        await settle(storage, job, JobState.awaiting_retry(await backend.now(), 2, "no"))
        assert job.retry_count == (await stored(storage, "x")).retry_count == 2
        await backend.advance(1)
        job = await claim(storage)
        assert (job.retry_count, job.attempt) == (2, 2)
        assert await storage.release_jobs([job]) == [True]
        assert (await stored(storage, "x")).retry_count == job.retry_count == 2
        job = await claim(storage)
        await settle(storage, job, JobState.failed("no", retry_count=3))
        assert job.retry_count == (await stored(storage, "x")).retry_count == 3
        job.set_state(JobState.enqueued("default"))
        await storage.update(job)
        assert job.retry_count == (await stored(storage, "x")).retry_count == 0
        assert job.attempt == 2
        job = await claim(storage)
        await settle(storage, job)
        assert (job.retry_count, job.attempt) == (0, 3)

    @promises("J8")
    async def test_success_keeps_the_last_retry_count(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage)
        await settle(storage, job, JobState.awaiting_retry(await backend.now(), 2, "no"))
        await backend.advance(1)
        job = await claim(storage)
        await settle(storage, job)
        assert job.retry_count == (await stored(storage, "x")).retry_count == 2
