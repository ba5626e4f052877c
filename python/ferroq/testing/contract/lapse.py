"""Workers that die: lapses, crash counts, the end of a job that kills [L4, L2, J8]."""

from __future__ import annotations

import pytest

from ferroq import JobState, JobStateKind
from ferroq.errors import LockLostError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, held, kind, names, put, put_claimed, refused, settle, stored, unchanged


async def crash(backend: ContractBackend, storage: Storage, worker: str = A) -> None:
    """Claims a job and lets the claim lapse."""
    await claim(storage, worker, SHORT)
    await backend.advance(SHORT + 1)


class LapseContract:
    """What becomes of a job whose holder is gone."""

    @promises("L4", "L2", "J8", "J9")
    async def test_the_next_claim_takes_a_lapsed_job_over(self, backend: ContractBackend, storage: Storage) -> None:
        old = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT - 10)
        assert await storage.fetch_and_lock_job(B) is None
        await backend.advance(11)
        async with unchanged(storage):
            assert kind(await storage.get("x")) is JobStateKind.PROCESSING
        new = await claim(storage, B)
        assert (new.id, new.attempt, new.crash_count, new.version) == ("x", 2, 1, 3)
        assert held(new).token > held(old).token
        state = new.state
        assert isinstance(state, JobState.Processing)
        assert state.worker_id == B
        assert await storage.get("x") == new
        await settle(storage, new)
        assert (new.attempt, new.crash_count) == (2, 1)

    @promises("L4", "Q11")
    async def test_a_batch_takes_over_as_well(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, *"abc")
        await storage.fetch_available_jobs_atomic(A, 2, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        jobs = await storage.fetch_available_jobs_atomic(B, 10)
        assert [(job.id, job.attempt, job.crash_count) for job in jobs] == [("a", 2, 1), ("b", 2, 1), ("c", 1, 0)]

    @promises("L4", "Q22")
    async def test_a_lapsed_job_stays_in_its_queue(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x", queue="mail")
        await crash(backend, storage)
        assert await storage.fetch_and_lock_job(B, ["web"]) is None
        assert (await claim(storage, B, queues=["mail"])).id == "x"

    @promises("L4", "J8", "J9", "Q7")
    @pytest.mark.parametrize("max_crashes", [1, 2, 3, 5])
    async def test_too_many_lapses_fail_a_job(self, backend: ContractBackend, max_crashes: int) -> None:
        storage = await backend.open(max_crashes=max_crashes)
        await put(storage, "x")
        held_jobs = []
        for crashes in range(max_crashes):
            job = await claim(storage, A, SHORT)
            assert (job.attempt, job.crash_count) == (crashes + 1, crashes)
            held_jobs.append(job)
            await backend.advance(SHORT + 1)
        job = held_jobs[-1]
        await put(storage, "next", priority=-1)
        # It is not on offer, and until a claim meets it nothing has happened to it.
        assert names(await storage.get_available_jobs()) == ["next"]
        assert await storage.get("x") == job
        assert (await claim(storage, B)).id == "next", "the claim goes on to the next job"
        failed = await stored(storage, "x")
        state = failed.state
        assert isinstance(state, JobState.Failed)
        assert state.exception.startswith(f"lock lapsed {max_crashes} time")
        assert (failed.attempt, failed.crash_count, failed.retry_count) == (max_crashes, max_crashes, 0)
        assert failed.version == job.version + 1
        await refused(backend, storage, LockLostError, "update", job)
        async with unchanged(storage):
            assert await storage.extend_job_locks([job], LONG) == [False]
            assert await storage.release_jobs([job]) == [False]
            assert await storage.fetch_and_lock_job(B) is None

    @promises("L4", "C1")
    async def test_three_lapses_by_default(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        for _ in range(3):
            await crash(backend, storage)
        assert await storage.fetch_and_lock_job(A) is None
        assert (await stored(storage, "x")).crash_count == 3
        assert kind(await storage.get("x")) is JobStateKind.FAILED

    @promises("L4", "Q11")
    async def test_a_batch_fills_up_behind_a_failed_job(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1)
        await put(storage, "bad", priority=9)
        await crash(backend, storage)
        await put(storage, "a", "b", "c")
        assert names(await storage.fetch_available_jobs_atomic(B, 2)) == ["a", "b"]
        assert kind(await storage.get("bad")) is JobStateKind.FAILED

    @promises("L4", "J8")
    async def test_lapses_count_over_the_life_of_a_job(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=2)
        await put(storage, "x")
        await crash(backend, storage)
        job = await claim(storage, B)
        await settle(storage, job, JobState.awaiting_retry(await backend.now(), 1, "no"))
        assert job.crash_count == 1
        await backend.advance(1)
        await crash(backend, storage)
        assert await storage.fetch_and_lock_job(B) is None
        failed = await stored(storage, "x")
        assert kind(failed) is JobStateKind.FAILED
        assert (failed.attempt, failed.crash_count, failed.retry_count) == (3, 2, 1), "retries are another budget"

    @promises("L4", "J8", "Q3")
    async def test_a_failed_job_enqueued_again_starts_anew(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1)
        await put(storage, "x")
        await crash(backend, storage)
        assert await storage.fetch_and_lock_job(B) is None
        job = await stored(storage, "x")
        job.set_state(JobState.enqueued("default"))
        await storage.update(job)
        assert (job.attempt, job.crash_count, job.retry_count) == (1, 0, 0)
        assert await storage.get("x") == job
        taken = await claim(storage, A, SHORT)
        assert (taken.attempt, taken.crash_count) == (2, 0)
        await backend.advance(SHORT + 1)
        assert await storage.fetch_and_lock_job(B) is None
        assert (await stored(storage, "x")).crash_count == 1

    @promises("L4", "J8")
    async def test_a_failed_job_sent_to_a_retry_keeps_its_crashes(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=2)
        await put(storage, "x")
        await crash(backend, storage)
        await settle(storage, await claim(storage), JobState.failed("no", retry_count=1))
        job = await stored(storage, "x")
        job.set_state(JobState.awaiting_retry(await backend.now(), 2, "again"))
        await storage.update(job)
        assert (job.crash_count, job.retry_count) == (1, 2)
        assert await storage.get("x") == job

    @promises("L4", "C1")
    async def test_a_crash_failed_job_is_kept(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1, keep_failed=0)
        await put(storage, "x")
        await crash(backend, storage)
        assert await storage.fetch_and_lock_job(B) is None
        assert kind(await storage.get("x")) is JobStateKind.FAILED
        assert (await storage.get_job_counts())[JobStateKind.FAILED] == 1

    @promises("L4")
    async def test_max_retries_is_no_matter_of_lapses(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x", max_retries=0)
        await crash(backend, storage)
        job = await claim(storage, B)
        assert (job.max_retries, job.crash_count, job.retry_count) == (0, 1, 0)

    @promises("L4", "L3")
    async def test_a_crashed_out_job_may_be_settled_until_a_claim_meets_it(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1)
        job = await put_claimed(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        assert await storage.get_available_jobs() == []
        await settle(storage, job)
        assert await storage.fetch_and_lock_job(B) is None
        assert await storage.get("x") == job
        assert kind(job) is JobStateKind.SUCCEEDED

    @promises("L2")
    async def test_tokens_grow_with_every_claim_of_an_id(self, backend: ContractBackend, storage: Storage) -> None:
        tokens: list[int] = []
        for round_ in range(12):
            way = round_ % 4
            if not await storage.get("x"):
                await put(storage, "x")
            job = await claim(storage, A, SHORT)
            tokens.append(held(job).token)
            if way == 0:
                await storage.release_jobs([job])
            elif way == 1:
                await storage.release_job_lock("x", A)
            elif way == 2:
                await storage.delete("x")
            else:
                await settle(storage, job, JobState.awaiting_retry(await backend.now(), 1, "no"))
                await backend.advance(1)
        assert tokens == sorted(set(tokens))

    @promises("L2", "J11")
    async def test_tokens_are_unique_in_the_store(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        await put(storage, *"abcdef")
        first = await storage.fetch_available_jobs_atomic(A, 2)
        second = await other.fetch_available_jobs_atomic(B, 2)
        manual = [await stored(storage, "e"), await stored(other, "f")]
        for job, client in zip(manual, (storage, other), strict=True):
            job.set_state(JobState.processing(A, "s"))
            await client.update(job)
        tokens = {held(job).token for job in (*first, *second, *manual)}
        assert len(tokens) == 6
        assert all(type(token) is int and token >= 1 for token in tokens)
