"""Explicit locks [Q9, Q10, L5, L6]."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import JobLockedError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, held, kind, names, put, put_claimed, refused, settle, stored, unchanged


class ExplicitLockContract:
    """`try_acquire_job_lock` and `release_job_lock`."""

    @promises("L5", "L6", "Q9", "Q10")
    @pytest.mark.parametrize("exists", [True, False])
    async def test_one_worker_holds_an_id(self, storage: Storage, exists: bool) -> None:
        if exists:
            await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, LONG) is True
        assert await storage.try_acquire_job_lock("x", B, LONG) is False
        assert await storage.try_acquire_job_lock("x", A, LONG) is False, "not re-entrant"
        assert await storage.release_job_lock("x", B) is False
        assert await storage.release_job_lock("x", A) is True
        assert await storage.release_job_lock("x", A) is False
        assert await storage.try_acquire_job_lock("x", B, LONG) is True

    @promises("L5", "Q23")
    @pytest.mark.parametrize("exists", [True, False])
    async def test_an_explicit_lock_lapses(self, backend: ContractBackend, storage: Storage, exists: bool) -> None:
        if exists:
            await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, SHORT)
        await backend.advance(SHORT - 10)
        assert await storage.try_acquire_job_lock("x", B, LONG) is False
        await backend.advance(11)
        assert await storage.release_job_lock("x", A) is False
        assert names(await storage.get_available_jobs()) == (["x"] if exists else [])
        assert await storage.try_acquire_job_lock("x", B, LONG) is True
        # The first one's time is over: it cannot free its successor's.
        assert await storage.release_job_lock("x", A) is False
        assert await storage.try_acquire_job_lock("x", A, LONG) is False

    @promises("L5", "L1")
    @pytest.mark.parametrize("seconds", [0.001, 0.5, 31_536_000])
    async def test_a_lock_may_be_short_or_long(
        self, backend: ContractBackend, storage: Storage, seconds: float
    ) -> None:
        assert await storage.try_acquire_job_lock("x", A, seconds) is True
        await backend.advance(min(seconds, 31_000_000) + 1)
        assert await storage.try_acquire_job_lock("x", B, SHORT) is (seconds < 1)

    @promises("L5", "Q23", "L1")
    @pytest.mark.parametrize("worker", [A, B])
    async def test_a_live_lock_keeps_every_claim_away(self, storage: Storage, worker: str) -> None:
        await put(storage, "x", priority=9)
        await put(storage, "y")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        assert names(await storage.get_available_jobs()) == ["y"]
        assert names(await storage.fetch_available_jobs_atomic(worker, 10)) == ["y"]
        assert await storage.fetch_and_lock_job(worker) is None
        assert await storage.release_job_lock("x", A)
        assert (await claim(storage, worker)).id == "x"

    @promises("L5", "Q1", "Q23")
    async def test_a_lock_on_an_unknown_id_waits_for_its_job(self, backend: ContractBackend, storage: Storage) -> None:
        assert await storage.try_acquire_job_lock("one", A, LONG)
        assert await storage.try_acquire_job_lock("many", A, LONG)
        assert await storage.try_acquire_job_lock("due", A, SHORT)
        await put(storage, "one")
        await storage.enqueue_many(
            [
                Job("work", id="many"),
                Job("work", id="due", state=JobState.scheduled(await backend.now() + timedelta(seconds=5))),
                Job("work", id="free"),
            ]
        )
        assert names(await storage.get_available_jobs()) == ["free"]
        assert (await claim(storage)).id == "free"
        await backend.advance(SHORT + 1)
        assert (await claim(storage)).id == "due"
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.release_job_lock("many", A)
        assert (await claim(storage)).id == "many"

    @promises("L5", "Q24")
    @pytest.mark.parametrize("state", ["scheduled", "awaiting_retry", "lapsed"])
    async def test_a_lock_holds_back_what_comes_due(
        self, backend: ContractBackend, storage: Storage, state: str
    ) -> None:
        soon = await backend.now() + timedelta(seconds=SHORT)
        if state == "lapsed":
            await put_claimed(storage, lock_timeout=SHORT)
            await backend.advance(SHORT + 1)
        else:
            due = JobState.scheduled(soon) if state == "scheduled" else JobState.awaiting_retry(soon, 1, "no")
            await storage.enqueue(Job("work", id="x", state=due))
        assert await storage.try_acquire_job_lock("x", B, LONG)
        await backend.advance(SHORT + 1)
        await put(storage, "y")
        assert names(await storage.get_available_jobs()) == ["y"]
        assert names(await storage.fetch_available_jobs_atomic(A, 10)) == ["y"]
        async with unchanged(storage):
            assert await storage.fetch_and_lock_job(A) is None
        assert await storage.release_job_lock("x", B)
        taken = await claim(storage)
        assert (taken.id, taken.crash_count) == ("x", int(state == "lapsed"))

    @promises("L5", "L1", "Q9")
    async def test_a_live_claim_is_a_lock_too(self, backend: ContractBackend, storage: Storage) -> None:
        job = await put_claimed(storage, lock_timeout=SHORT)
        for worker in (A, B):
            assert await storage.try_acquire_job_lock("x", worker, LONG) is False
        await backend.advance(SHORT + 1)
        assert await storage.try_acquire_job_lock("x", B, LONG) is True
        # The holder of the lapsed claim may still settle.
        await settle(storage, job)
        assert await storage.release_job_lock("x", B) is True

    @promises("L5", "Q3", "Q4")
    async def test_a_lock_stops_neither_update_nor_delete(self, storage: Storage) -> None:
        [job] = await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", B, LONG)
        job.priority = 4
        await storage.update(job)
        job.set_state(JobState.failed("given up"))
        await storage.update(job)
        job.set_state(JobState.enqueued("other"))
        await storage.update(job)
        assert await storage.get("x") == job
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.delete("x") is True
        assert await storage.release_job_lock("x", B) is False, "delete frees it"
        await put(storage, "x")
        assert (await claim(storage)).id == "x"

    @promises("L5", "L6", "L1", "Q9", "Q10", "J8")
    async def test_the_manual_flow(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        job = await stored(storage, "x")
        job.set_state(JobState.processing(A, "here"))
        await storage.update(job)
        assert held(job).worker_id == A
        assert job.attempt == 1
        job.set_state(JobState.awaiting_retry(await backend.now(), 1, "no"))
        await storage.update(job)
        assert job.lock is None
        # Settling freed the claim only: the explicit lock still keeps claims away.
        await backend.advance(1)
        for worker in (A, B):
            assert await storage.fetch_and_lock_job(worker) is None
        assert await storage.release_job_lock("x", A) is True
        assert await storage.release_job_lock("x", A) is False
        assert (await claim(storage, B)).attempt == 2

    @promises("L6", "L5")
    async def test_release_frees_the_explicit_lock_first(self, storage: Storage) -> None:
        [job] = await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        job.set_state(JobState.processing(A, "s"))
        await storage.update(job)
        assert await storage.release_job_lock("x", A) is True
        # The claim is still there.
        assert kind(await storage.get("x")) is JobStateKind.PROCESSING
        assert await storage.extend_job_locks([job], LONG) == [True]
        assert await storage.release_job_lock("x", A) is True
        assert kind(await storage.get("x")) is JobStateKind.ENQUEUED
        assert await storage.release_job_lock("x", A) is False

    @promises("L6", "J8", "J9", "Q24")
    async def test_release_gives_a_live_claim_back(self, storage: Storage) -> None:
        await put(storage, "x", queue="mail")
        job = await claim(storage, A)
        assert await storage.release_job_lock("x", B) is False
        assert await storage.release_job_lock("x", A) is True
        back = await stored(storage, "x")
        assert (kind(back), back.queue) == (JobStateKind.ENQUEUED, "mail")
        assert (back.attempt, back.crash_count) == (1, 0), "attempt kept, not a crash"
        assert back.version == job.version + 1
        again = await claim(storage, B)
        assert (again.attempt, again.crash_count) == (2, 0)
        # By worker id: the former holder has no claim any more.
        assert await storage.release_job_lock("x", A) is False

    @promises("L6")
    async def test_a_lapsed_claim_cannot_be_given_back_by_name(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        async with unchanged(storage):
            assert await storage.release_job_lock("x", A) is False

    @promises("L6")
    async def test_processes_of_one_name_share_its_power(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        job = await put_claimed(storage)
        assert await other.release_job_lock("x", A) is True
        assert await storage.extend_job_locks([job], LONG) == [False]
        assert await storage.try_acquire_job_lock("x", A, LONG)
        assert await other.release_job_lock("x", A) is True

    @promises("L6", "Q10")
    async def test_release_of_what_is_not_held(self, storage: Storage) -> None:
        assert await storage.release_job_lock("never", A) is False
        await put(storage, "x")
        async with unchanged(storage):
            assert await storage.release_job_lock("x", A) is False
        job = await claim(storage)
        await settle(storage, job)
        assert await storage.release_job_lock("x", A) is False

    @promises("L5", "L1")
    async def test_an_expired_explicit_lock_leaves_the_claim(self, backend: ContractBackend, storage: Storage) -> None:
        [job] = await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, SHORT)
        job.set_state(JobState.processing(A, "s"))
        await storage.update(job)
        await backend.advance(SHORT + 1)
        assert await storage.try_acquire_job_lock("x", B, LONG) is False, "the claim is live"
        assert await storage.fetch_and_lock_job(B) is None
        # Now the release finds no live explicit lock and gives the claim back.
        assert await storage.release_job_lock("x", A) is True
        assert kind(await storage.get("x")) is JobStateKind.ENQUEUED

    @promises("L5", "L4")
    async def test_a_lapsed_claim_under_an_own_explicit_lock_stays(self, backend: ContractBackend) -> None:
        storage = await backend.open(lock_timeout=SHORT)
        [job] = await put(storage, "x")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        job.set_state(JobState.processing(A, "s"))
        await storage.update(job)
        await backend.advance(SHORT + 1)
        # The claim has lapsed, but a live lock of either kind keeps claims away.
        assert await storage.fetch_and_lock_job(B) is None
        assert await storage.try_acquire_job_lock("x", B, LONG) is False
        await settle(storage, job)
        assert job.crash_count == 0

    @promises("L5", "Q4", "Q23")
    async def test_a_job_that_leaves_under_a_lock_does_not_come_back(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        settled, deleted, delayed = await put(storage, "settled", "deleted", "delayed")
        for job in (settled, deleted, delayed):
            assert await storage.try_acquire_job_lock(job.id, B, SHORT)
        settled.set_state(JobState.failed("no"))
        delayed.set_state(JobState.scheduled(await backend.now() + timedelta(hours=2)))
        assert await storage.update_many([settled, delayed]) == [None, None]
        await storage.delete("deleted")
        await backend.advance(SHORT + 1)
        assert await storage.get_available_jobs() == []
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.verify() == []
        await backend.advance(2 * 3600)
        assert names(await storage.get_available_jobs()) == ["delayed"]

    @promises("L5", "Q9")
    async def test_many_ask_and_one_gets_it(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        for round_ in range(10):
            answers = await asyncio.gather(
                *(
                    (storage, other)[index % 2].try_acquire_job_lock(f"x{round_}", f"w{index}", LONG)
                    for index in range(8)
                )
            )
            assert sum(answers) == 1

    @promises("L5", "L1", "Q9")
    async def test_never_an_explicit_lock_beside_a_newer_claim(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        other = await backend.reopen(storage)
        for round_ in range(60):
            job_id = f"x{round_}"
            if round_ % 2:
                await put(storage, job_id)
                job, locked = await asyncio.gather(
                    storage.fetch_and_lock_job(A, lock_timeout=LONG), other.try_acquire_job_lock(job_id, B, LONG)
                )
                assert (job is None) is locked, "one of the two has it"
            else:
                _, locked = await asyncio.gather(put(storage, job_id), other.try_acquire_job_lock(job_id, B, LONG))
                assert locked
                assert await storage.fetch_and_lock_job(A) is None
            if locked:
                assert await other.release_job_lock(job_id, B)
                await claim(storage)

    @promises("L5", "L3")
    async def test_the_holder_of_another_id_has_no_say(self, backend: ContractBackend, storage: Storage) -> None:
        jobs = await put(storage, "x", "y")
        assert await storage.try_acquire_job_lock("x", A, LONG)
        assert await storage.try_acquire_job_lock("y", B, LONG)
        for job in jobs:
            job.set_state(JobState.processing(A, "s"))
        await storage.update(jobs[0])
        await refused(backend, storage, JobLockedError, "update", jobs[1])
