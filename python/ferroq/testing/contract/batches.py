"""Batches on claims: verdicts, renewals, giving back [Q13, Q14, Q15]."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    ConcurrentModificationError,
    InvalidJobDataError,
    JobLockedError,
    JobNotFoundError,
    LockLostError,
    PayloadTooLargeError,
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
    put_many,
    refused,
    said,
    settle,
    stored,
    unchanged,
)


class UpdateManyContract:
    """`update_many`."""

    @promises("Q13", "L3", "E4")
    async def test_each_job_gets_its_own_verdict(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, *"abcdef")
        done, lost, gone, locked, stale, plain = await storage.fetch_available_jobs_atomic(A, 6, lock_timeout=LONG)
        assert await storage.release_jobs([stale, plain]) == [True, True]
        operator = await stored(storage, "b")
        operator.set_state(JobState.deleted())
        await storage.update(operator)
        await storage.delete("c")
        visitor = await stored(storage, "d")
        newer = await stored(storage, "e")
        newer.priority = 1
        await storage.update(newer)
        for job in (done, lost, gone):
            job.set_state(JobState.succeeded(1))
        visitor.priority = 9
        stale.priority = 9
        plain.priority = 9
        unknown = Job("work", id="never")
        jobs = [done, lost, gone, visitor, stale, plain, unknown]
        verdicts = await storage.update_many(jobs)
        expected = [
            None,
            LockLostError,
            JobNotFoundError,
            JobLockedError,
            ConcurrentModificationError,
            None,
            JobNotFoundError,
        ]
        assert [None if verdict is None else type(verdict) for verdict in verdicts] == expected
        for job, verdict in zip(jobs, verdicts, strict=True):
            if isinstance(verdict, LockLostError | JobNotFoundError | JobLockedError | ConcurrentModificationError):
                assert verdict.job_ids == (job.id,)
                said(verdict, backend, "update", "update_many")
        for job in (done, plain):
            assert await storage.get(job.id) == job
        assert (done.lock, done.version) == (None, 3)
        assert held(lost).worker_id == A
        assert held(locked).worker_id == A
        assert kind(await storage.get("b")) is JobStateKind.DELETED
        assert (await stored(storage, "e")).priority == 1

    @promises("Q13", "E2", "J14", "J7")
    async def test_bad_data_is_a_verdict_too(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_payload_bytes=1000)
        jobs = await put(storage, *"abcd")
        jobs[1].metadata["\n"] = "not a name"
        jobs[2].metadata["long"] = "v" * 1000
        for job in jobs:
            job.priority = 7
        verdicts = await storage.update_many(jobs)
        assert [type(verdict) for verdict in verdicts] == [
            type(None),
            InvalidJobDataError,
            PayloadTooLargeError,
            type(None),
        ]
        assert [(await stored(storage, job.id)).priority for job in jobs] == [7, 0, 0, 7]
        assert [job.version for job in jobs] == [2, 1, 1, 2]

    @promises("Q13")
    async def test_any_iterable_will_do_and_none_is_fine(self, storage: Storage) -> None:
        jobs = await put(storage, "a", "b")

        def generate() -> Iterator[Job]:
            for job in jobs:
                job.priority = 3
                yield job

        assert await storage.update_many([]) == []
        assert await storage.update_many(generate()) == [None, None]
        assert await storage.list() == jobs[::-1]

    @promises("Q13", "Q21")
    async def test_more_than_a_thousand(self, storage: Storage) -> None:
        jobs = await put_many(storage, [f"{index:04}" for index in range(1203)])
        jobs[0].set_state(JobState.failed("no"))
        assert await storage.update_many(jobs[:1]) == [None]
        assert await storage.delete("1100")
        claimed = {job.id: job for job in await storage.fetch_available_jobs_atomic(A, 1000, lock_timeout=LONG)}
        for job in claimed.values():
            job.set_state(JobState.succeeded(1))
        everything = [claimed.get(job.id, job) for job in jobs]
        verdicts = await storage.update_many(everything)
        assert [index for index, verdict in enumerate(verdicts) if verdict is not None] == [1100]
        assert type(verdicts[1100]) is JobNotFoundError
        counts = await storage.get_job_counts()
        assert counts[JobStateKind.SUCCEEDED] == 1000
        assert counts[JobStateKind.ENQUEUED] == 201
        assert counts[JobStateKind.FAILED] == 1

    @promises("Q13", "L3")
    async def test_a_claim_twice_in_one_call_settles_once(self, storage: Storage) -> None:
        job = await put_claimed(storage)
        job.set_state(JobState.succeeded(1))
        twin = copy.copy(job)
        assert await storage.update_many([job, twin]) == [None, None]
        assert job.version == twin.version == (await stored(storage, "x")).version == 3
        assert job.lock is twin.lock is None

    @promises("Q13", "L1", "L5")
    async def test_claims_are_taken_in_a_batch(self, storage: Storage) -> None:
        jobs = await put(storage, *"abc")
        assert await storage.try_acquire_job_lock("b", B, LONG)
        for job in jobs:
            job.set_state(JobState.processing(A, "s"))
        first, second, third = await storage.update_many(jobs)
        assert (first, type(second), third) == (None, JobLockedError, None)
        assert held(jobs[0]).token != held(jobs[2]).token
        assert jobs[1].lock is None
        assert [job.attempt for job in jobs] == [1, 0, 1]


class RenewalContract:
    """`extend_job_locks`."""

    @promises("Q14", "L1", "J9")
    @pytest.mark.parametrize("seconds", [0.5, 60, 31_536_000, None])
    async def test_a_renewal_counts_from_now(self, backend: ContractBackend, seconds: float | None) -> None:
        storage = await backend.open(lock_timeout=120)
        job = await put_claimed(storage, lock_timeout=SHORT)
        token, version = held(job).token, job.version
        await backend.advance(10)
        low = await backend.now()
        assert await storage.extend_job_locks([job], seconds) == [True]
        high = await backend.now()
        lasts = timedelta(seconds=120 if seconds is None else seconds)
        assert low - MILLISECOND <= held(job).expires_at - lasts <= high + MILLISECOND
        assert (held(job).token, held(job).worker_id, job.version) == (token, A, version)
        assert await storage.get("x") == job

    @promises("Q14", "Q23")
    async def test_a_renewed_claim_lives_on(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        for _ in range(3):
            await backend.advance(SHORT - 10)
            assert await storage.extend_job_locks([job], SHORT) == [True]
            assert await storage.fetch_and_lock_job(B) is None
        await backend.advance(SHORT + 1)
        assert (await claim(storage, B)).crash_count == 1

    @promises("Q14")
    async def test_a_renewal_may_shorten_a_claim(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=LONG)
        assert await storage.extend_job_locks([job], SHORT) == [True]
        await backend.advance(SHORT + 1)
        assert names(await storage.get_available_jobs()) == ["x"]

    @promises("Q14", "L4")
    async def test_a_lapsed_claim_that_nobody_took_is_renewed(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 50)
        assert names(await storage.get_available_jobs()) == ["x"]
        assert await storage.extend_job_locks([job], SHORT) == [True]
        assert await storage.get_available_jobs() == []
        assert await storage.fetch_and_lock_job(B) is None
        await settle(storage, job)
        assert job.crash_count == 0

    @promises("Q14", "L2")
    async def test_a_lost_claim_is_not_renewed(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "unclaimed", "deleted", "released", "settled", "kept", "given back", "lapsed")
        jobs = await storage.fetch_available_jobs_atomic(A, 7, lock_timeout=SHORT)
        by_id = {job.id: job for job in jobs}
        await storage.release_jobs([by_id["unclaimed"]])
        await storage.delete("deleted")
        await storage.release_jobs([copy.copy(by_id["released"])])
        other = copy.copy(by_id["settled"])
        await settle(storage, other)
        assert await storage.release_job_lock("given back", A)
        assert await storage.extend_job_locks([by_id["kept"]], LONG) == [True]
        await backend.advance(SHORT + 1)
        assert "lapsed" in names(await storage.fetch_available_jobs_atomic(B, 10, lock_timeout=LONG))
        expiry = held(by_id["lapsed"]).expires_at
        order = ["unclaimed", "kept", "deleted", "released", "kept", "settled", "given back", "lapsed"]
        async with unchanged(storage):
            answers = await storage.extend_job_locks([by_id[id_] for id_ in order], LONG)
        assert answers == [id_ == "kept" for id_ in order]
        assert held(by_id["lapsed"]).expires_at == expiry

    @promises("Q14")
    async def test_what_holds_no_claim_is_not_renewed(self, storage: Storage) -> None:
        await put_claimed(storage)
        assert await storage.extend_job_locks([]) == []
        assert await storage.extend_job_locks(iter([await stored(storage, "x"), Job("never")]), LONG) == [False, False]

    @promises("Q14", "Q21")
    async def test_more_than_a_thousand_renewals(self, backend: ContractBackend, storage: Storage) -> None:
        await put_many(storage, [f"{index:04}" for index in range(1100)])
        jobs = await storage.fetch_available_jobs_atomic(A, 1000, lock_timeout=SHORT)
        jobs += await storage.fetch_available_jobs_atomic(A, 1000, lock_timeout=SHORT)
        assert await storage.release_jobs([copy.copy(jobs[1050])]) == [True]
        answers = await storage.extend_job_locks(jobs, LONG)
        assert [index for index, answer in enumerate(answers) if not answer] == [1050]
        await backend.advance(SHORT + 1)
        assert names(await storage.get_available_jobs()) == ["1050"]


class ReleaseContract:
    """`release_jobs`."""

    @promises("Q15", "J8", "J9", "J11")
    async def test_a_claim_is_given_back_unspent(self, storage: Storage) -> None:
        await put(storage, "x", queue="mail")
        job = await claim(storage)
        assert await storage.release_jobs([job]) == [True]
        assert (job.attempt, job.crash_count, job.version, job.lock) == (0, 0, 3, None)
        state = job.state
        assert isinstance(state, JobState.Enqueued)
        assert state.queue == "mail"
        assert await storage.get("x") == job
        again = await claim(storage, B)
        assert (again.id, again.attempt, again.crash_count) == ("x", 1, 0)

    @promises("Q15", "Q23", "S1")
    @pytest.mark.parametrize("delay", [0.25, 20, 20.5, timedelta(seconds=20), timedelta(days=3)])
    async def test_a_delay_schedules_it(self, backend: ContractBackend, storage: Storage, delay: Any) -> None:
        job = await put_claimed(storage)
        lasts = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        low = await backend.now()
        assert await storage.release_jobs([job], delay=delay) == [True]
        high = await backend.now()
        assert (job.attempt, job.version, job.lock) == (0, 3, None)
        state = job.state
        assert isinstance(state, JobState.Scheduled)
        assert low - MILLISECOND <= state.enqueue_at - lasts <= high + MILLISECOND
        assert await storage.get("x") == job
        await backend.advance(lasts.total_seconds() + 1)
        assert names(await storage.get_available_jobs()) == ["x"]

    @promises("Q15", "Q23")
    async def test_a_delayed_job_waits(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage)
        assert await storage.release_jobs([job], delay=timedelta(seconds=SHORT)) == [True]
        await backend.advance(SHORT - 10)
        assert await storage.fetch_and_lock_job(B) is None
        await backend.advance(11)
        assert (await claim(storage, B)).attempt == 1

    @promises("Q15")
    @pytest.mark.parametrize("delay", [None, 0, 0.0, timedelta(0)])
    async def test_no_delay_is_no_delay(self, storage: Storage, delay: Any) -> None:
        job = await put_claimed(storage)
        assert await storage.release_jobs([job], delay=delay) == [True]
        assert kind(job) is kind(await storage.get("x")) is JobStateKind.ENQUEUED

    @promises("Q15", "J8")
    async def test_only_the_last_attempt_is_refunded(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        job = await claim(storage, B)
        assert (job.attempt, job.crash_count) == (2, 1)
        assert await storage.release_jobs([job]) == [True]
        assert (job.attempt, job.crash_count) == (1, 1)
        assert await storage.get("x") == job

    @promises("Q15", "L4")
    async def test_a_lapsed_claim_that_nobody_took_is_given_back(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        assert await storage.release_jobs([job]) == [True]
        again = await claim(storage, B)
        assert (again.attempt, again.crash_count) == (1, 0)

    @promises("Q15", "L2")
    @pytest.mark.parametrize("delay", [None, 7200])
    async def test_a_repeat_is_true_until_the_next_settlement(
        self, backend: ContractBackend, storage: Storage, delay: float | None
    ) -> None:
        job = await put_claimed(storage)
        copies = [copy.copy(job) for _ in range(5)]
        assert await storage.release_jobs([job], delay=delay) == [True]
        async with unchanged(storage):
            assert await storage.release_jobs([copies[0]], delay=delay) == [True]
        assert (copies[0].version, copies[0].lock, kind(copies[0])) == (job.version, None, kind(job))
        # To the other kind it is no repeat.
        async with unchanged(storage):
            assert await storage.release_jobs([copies[1]], delay=7200 if delay is None else None) == [False]
        assert held(copies[1]).worker_id == A
        # A claim by somebody else does not end that.
        await backend.advance(7201)
        successor = await claim(storage, B, LONG * 10)
        async with unchanged(storage):
            assert await storage.release_jobs([copies[2]], delay=delay) == [True]
        assert copies[2].version == job.version
        # A settlement does, here one to the same kind.
        assert await storage.release_jobs([successor], delay=delay) == [True]
        async with unchanged(storage):
            assert await storage.release_jobs([copies[3]], delay=delay) == [False]
        await refused(backend, storage, LockLostError, "update", copies[4])

    @promises("Q15", "L3")
    async def test_a_settled_job_cannot_be_given_back(self, storage: Storage) -> None:
        job = await put_claimed(storage)
        late = copy.copy(job)
        await settle(storage, job)
        async with unchanged(storage):
            assert await storage.release_jobs([late]) == [False]
            assert await storage.release_jobs([late], delay=5) == [False]
            assert await storage.release_jobs([job]) == [False]

    @promises("Q15")
    async def test_each_job_gets_its_own_answer(self, storage: Storage) -> None:
        await put(storage, *"abcd")
        a, b, c, d = await storage.fetch_available_jobs_atomic(A, 4, lock_timeout=LONG)
        await settle(storage, copy.copy(b))
        await storage.delete("c")
        jobs = [a, b, await stored(storage, "d"), c, copy.copy(a), Job("never"), d]
        assert await storage.release_jobs(iter(jobs)) == [True, False, False, False, True, False, True]
        assert await storage.release_jobs([]) == []
        assert names(await storage.get_available_jobs()) == ["a", "d"]
        assert (await stored(storage, "a")).version == a.version == 3

    @promises("Q15", "Q21", "Q24")
    async def test_more_than_a_thousand_given_back(self, storage: Storage) -> None:
        ids = [f"{index:04}" for index in range(1100)]
        await put_many(storage, ids)
        jobs = await storage.fetch_available_jobs_atomic(A, 1000, lock_timeout=LONG)
        jobs += await storage.fetch_available_jobs_atomic(A, 1000, lock_timeout=LONG)
        assert await storage.release_jobs(jobs[::-1]) == [True] * 1100
        assert names(await storage.get_available_jobs()) == ids
        assert {(job.attempt, job.version) for job in await storage.list()} == {(0, 3)}

    @promises("Q15", "L5")
    async def test_an_explicit_lock_outlives_the_claim(self, storage: Storage) -> None:
        assert await storage.try_acquire_job_lock("x", A, LONG)
        job = Job("work", id="x", state=JobState.processing(A, "s"))
        await storage.enqueue(job)
        assert await storage.release_jobs([job]) == [True]
        assert job.attempt == 0
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.release_job_lock("x", A)
        assert (await claim(storage, B)).id == "x"
