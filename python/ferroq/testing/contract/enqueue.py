"""Storing one job, and removing one [Q1, Q4]."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import JobAlreadyExistsError, JobLockedError, JobNotFoundError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, MILLISECOND, SHORT, A, B, claim, every_state, held, kind, names, put, refused, settle, stored


class EnqueueContract:
    """`enqueue` and `delete`."""

    @promises("Q1", "Q2", "J8", "J9", "J10")
    async def test_a_new_job_is_stored_as_version_one(self, storage: Storage) -> None:
        job = Job("work", ["a", 1])
        assert (job.version, job.sequence) == (0, 0)
        assert await storage.enqueue(job) is True
        assert (job.version, job.attempt, job.crash_count, job.retry_count) == (1, 0, 0, 0)
        assert job.sequence >= 1
        assert job.lock is None
        assert await storage.get(job.id) == job

    @promises("J10", "Q5")
    async def test_sequences_grow_and_never_change(self, storage: Storage) -> None:
        first, second = await put(storage, "a", "b")
        assert first.sequence < second.sequence
        kept = first.sequence
        held_job = await claim(storage)
        assert (held_job.id, held_job.sequence) == ("a", kept)
        await settle(storage, held_job)
        assert (await stored(storage, "a")).sequence == held_job.sequence == kept

    @promises("Q1", "S1", "Q6")
    @pytest.mark.parametrize("state_kind", list(JobStateKind))
    async def test_a_job_is_stored_in_the_state_that_it_carries(
        self, backend: ContractBackend, storage: Storage, state_kind: JobStateKind
    ) -> None:
        state = every_state(await backend.now())[state_kind]
        job = Job("work", state=state)
        assert await storage.enqueue(job)
        back = await stored(storage, job.id)
        assert back == job
        assert back.state == state
        counts = await storage.get_job_counts()
        assert counts == {each: int(each is state_kind) for each in JobStateKind}
        assert await storage.list(state_kind) == [job]
        available = [job.id] if state_kind is JobStateKind.ENQUEUED else []
        assert names(await storage.get_available_jobs()) == available

    @promises("Q1", "J8")
    async def test_the_retry_count_is_that_of_the_state(self, backend: ContractBackend, storage: Storage) -> None:
        for each, expected in [(JobStateKind.FAILED, 4), (JobStateKind.AWAITING_RETRY, 2), (JobStateKind.DELETED, 0)]:
            job = Job("work", state=every_state(await backend.now())[each])
            await storage.enqueue(job)
            assert job.retry_count == expected
            assert (await stored(storage, job.id)).retry_count == expected

    @promises("Q1", "L1", "J11")
    async def test_a_processing_job_takes_a_claim_lock(self, backend: ContractBackend) -> None:
        storage = await backend.open(lock_timeout=120)
        job = Job("work", id="x", state=JobState.processing(A, "server-a"))
        low = await backend.now()
        await storage.enqueue(job)
        high = await backend.now()
        assert (job.version, job.attempt, job.crash_count) == (1, 1, 0)
        lock = held(job)
        assert lock.worker_id == A
        assert low - MILLISECOND <= lock.expires_at - timedelta(seconds=120) <= high + MILLISECOND
        assert (await stored(storage, "x")).lock is None
        assert await storage.fetch_and_lock_job(B) is None
        assert await storage.try_acquire_job_lock("x", A, LONG) is False
        await settle(storage, job)
        assert kind(await storage.get("x")) is JobStateKind.SUCCEEDED

    @promises("Q1", "L1", "L4", "Q24")
    async def test_a_processing_job_lapses_like_any_other(self, backend: ContractBackend) -> None:
        storage = await backend.open(lock_timeout=SHORT)
        await storage.enqueue(Job("work", id="x", state=JobState.processing(A, "server-a")))
        await put(storage, "later")
        await backend.advance(SHORT + 1)
        taken = await claim(storage, B)
        assert (taken.id, taken.attempt, taken.crash_count) == ("x", 2, 1)

    @promises("Q1", "L1", "L5")
    async def test_a_processing_job_meets_an_explicit_lock(self, backend: ContractBackend, storage: Storage) -> None:
        assert await storage.try_acquire_job_lock("x", A, LONG)
        theirs = Job("work", id="x", state=JobState.processing(B, "server-b"))
        error = await refused(backend, storage, JobLockedError, "enqueue", theirs)
        assert error.job_id == "x"
        assert theirs.version == 0
        assert theirs.lock is None
        assert await storage.get("x") is None
        ours = Job("work", id="x", state=JobState.processing(A, "server-a"))
        assert await storage.enqueue(ours)
        assert held(ours).worker_id == A
        # Both locks are held now; a settlement frees the claim only.
        await settle(storage, ours)
        assert await storage.try_acquire_job_lock("x", B, LONG) is False

    @promises("Q1", "J8", "J9", "J10")
    async def test_counters_start_anew_whatever_the_object_says(self, storage: Storage) -> None:
        await put(storage, "x")
        job = await claim(storage)
        await settle(storage, job, JobState.failed("no", retry_count=7))
        old = job.sequence
        assert (job.version, job.attempt, job.retry_count) == (3, 1, 7)
        assert await storage.delete("x")
        assert await storage.enqueue(job)
        assert (job.version, job.attempt, job.crash_count, job.retry_count) == (1, 0, 0, 7)
        assert job.sequence > old
        assert await storage.get("x") == job
        # And none is taken along where the state carries none.
        job.set_state(JobState.deleted())
        assert job.retry_count == 7
        assert await storage.delete("x")
        assert await storage.enqueue(job)
        assert (job.version, job.retry_count) == (1, 0)
        assert await storage.get("x") == job

    @promises("Q1", "L2")
    async def test_a_claimed_object_enqueued_again_holds_a_new_claim(self, storage: Storage) -> None:
        await put(storage, "x")
        job = await claim(storage)
        old = held(job).token
        assert await storage.delete("x")
        assert await storage.enqueue(job)
        assert held(job).token > old
        assert (job.version, job.attempt) == (1, 1)
        await settle(storage, job)
        assert kind(await storage.get("x")) is JobStateKind.SUCCEEDED

    @promises("Q1", "Q3", "J9")
    async def test_one_object_goes_through_changes_without_a_reread(self, storage: Storage) -> None:
        job = Job("work", id="x")
        await storage.enqueue(job)
        for version, priority in enumerate([5, -3, 8], start=2):
            job.priority = priority
            job.metadata["step"] = str(version)
            await storage.update(job)
            assert job.version == version
            assert await storage.get("x") == job
        job.set_state(JobState.deleted())
        await storage.update(job)
        assert await storage.get("x") == job

    @promises("Q1", "E4", "J9")
    @pytest.mark.parametrize("state_kind", list(JobStateKind))
    async def test_an_id_that_exists_is_an_error(
        self, backend: ContractBackend, storage: Storage, state_kind: JobStateKind
    ) -> None:
        await storage.enqueue(Job("work", id="x", state=every_state(await backend.now())[state_kind]))
        double = Job("other", [1], id="x")
        error = await refused(backend, storage, JobAlreadyExistsError, "enqueue", double)
        assert (error.job_id, error.job_ids, error.stored) == ("x", ("x",), 0)
        assert "x" in str(error)
        assert (double.version, double.sequence) == (0, 0)

    @promises("Q1")
    async def test_an_id_that_exists_can_be_skipped(self, storage: Storage) -> None:
        first = Job("work", id="x")
        assert await storage.enqueue(first, if_exists="skip") is True
        double = Job("other", id="x", priority=9)
        assert await storage.enqueue(double, if_exists="skip") is False
        assert (double.version, double.sequence, double.lock) == (0, 0, None)
        assert await storage.get("x") == first
        assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 1
        processing = Job("other", id="x", state=JobState.processing(A, "s"))
        assert await storage.enqueue(processing, if_exists="skip") is False
        assert processing.lock is None

    @promises("J15", "Q1", "Q2")
    async def test_what_is_stored_does_not_follow_the_object(self, storage: Storage) -> None:
        arguments = [{"list": [1]}]
        job = Job("work", arguments, id="x", metadata={"a": "1"})
        await storage.enqueue(job)
        untouched = copy.deepcopy(job)
        arguments[0]["list"].append(2)
        job.arguments.append("more")
        job.metadata["a"] = "2"
        job.add_metadata("b", "3")
        job.priority = 9
        job.queue = "other"
        job.set_state(JobState.deleted())
        assert await storage.get("x") == untouched
        # Nor does it follow what was returned, by any way of reading it.
        for read in (await stored(storage, "x"), (await storage.list())[0], (await storage.get_available_jobs())[0]):
            read.metadata["c"] = "4"
            read.priority = 3
            read.set_state(JobState.deleted())
            assert await storage.get("x") == untouched
        taken = await claim(storage)
        taken.metadata["c"] = "5"
        taken.set_state(JobState.succeeded(1))
        assert (await stored(storage, "x")).metadata == {"a": "1"}
        assert kind(await storage.get("x")) is JobStateKind.PROCESSING

    # ------------------------------------------------------------------ delete

    @promises("Q4", "Q6", "Q18")
    @pytest.mark.parametrize("state_kind", list(JobStateKind))
    async def test_a_delete_removes_a_job_in_any_state(
        self, backend: ContractBackend, storage: Storage, state_kind: JobStateKind
    ) -> None:
        await storage.enqueue(Job("work", id="x", state=every_state(await backend.now())[state_kind]))
        other = Job("work", id="y")
        await storage.enqueue(other)
        assert await storage.delete("x") is True
        assert await storage.get("x") is None
        assert await storage.list() == [other]
        assert sum((await storage.get_job_counts()).values()) == 1
        assert await storage.delete("x") is False
        await backend.advance(2 * 3600)
        assert names(await storage.get_available_jobs()) == ["y"]

    @promises("Q4")
    async def test_a_delete_of_an_unknown_id_is_false(self, storage: Storage) -> None:
        assert await storage.delete("never") is False

    @promises("Q4", "L3", "Q14", "Q15")
    async def test_after_a_delete_the_holder_finds_nothing(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        job = await claim(storage)
        assert await storage.delete("x")
        assert await storage.extend_job_locks([job], LONG) == [False]
        assert await storage.release_jobs([job]) == [False]
        job.set_state(JobState.succeeded(1))
        error = await refused(backend, storage, JobNotFoundError, "update", job)
        assert error.job_id == "x"
        assert isinstance(error, KeyError)

    @promises("Q4", "L5")
    async def test_a_delete_frees_both_locks(self, storage: Storage) -> None:
        assert await storage.try_acquire_job_lock("x", A, LONG)
        await storage.enqueue(Job("work", id="x", state=JobState.processing(A, "s")))
        assert await storage.delete("x")
        assert await storage.release_job_lock("x", A) is False
        await put(storage, "x")
        assert (await claim(storage, B)).id == "x"

    @promises("Q4", "Q1", "L2", "L3")
    async def test_an_id_used_again_knows_nothing_of_its_past(self, storage: Storage) -> None:
        await put(storage, "x")
        old = await claim(storage)
        assert await storage.delete("x")
        await put(storage, "x")
        new = await claim(storage, B)
        assert held(new).token > held(old).token
        assert (new.attempt, new.version) == (1, 2)
        await settle(storage, new)
        assert kind(await storage.get("x")) is JobStateKind.SUCCEEDED
