"""Storing many jobs [Q12]."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import InvalidJobDataError, JobAlreadyExistsError, JobLockedError, PayloadTooLargeError, StorageError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, A, B, drain, every_state, held, names, put, put_many, refused, said, stored

CHUNK = 1000


def jobs_of(count: int, prefix: str = "j") -> list[Job]:
    return [Job("work", id=f"{prefix}{index}") for index in range(count)]


class EnqueueManyContract:
    """`enqueue_many`."""

    @promises("Q12", "Q1", "J8", "J9", "J10")
    async def test_many_jobs_are_stored_in_order(self, backend: ContractBackend, storage: Storage) -> None:
        states = every_state(await backend.now())
        jobs = [Job("work", [index], id=each.value, state=state) for index, (each, state) in enumerate(states.items())]
        assert await storage.enqueue_many(jobs) == [True] * len(jobs)
        assert [job.sequence for job in jobs] == sorted({job.sequence for job in jobs})
        for job in jobs:
            assert (job.version, job.crash_count) == (1, 0)
            assert job.attempt == (job.id == "processing")
            assert await storage.get(job.id) == job
        assert held(jobs[list(states).index(JobStateKind.PROCESSING)]).worker_id == A
        assert await storage.get_job_counts() == dict.fromkeys(JobStateKind, 1)
        assert await storage.list() == jobs[::-1]

    @promises("Q12")
    async def test_any_iterable_will_do_and_none_is_fine(self, storage: Storage) -> None:
        def generate() -> Iterator[Job]:
            yield from jobs_of(3)

        assert await storage.enqueue_many([]) == []
        assert await storage.enqueue_many(generate()) == [True] * 3
        assert await storage.enqueue_many(tuple(jobs_of(2, "t"))) == [True] * 2
        assert names(await drain(storage)) == ["j0", "j1", "j2", "t0", "t1"]

    @promises("Q12", "Q24")
    async def test_the_order_of_the_call_is_the_order_of_claims(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        await put_many(storage, ["c", "a", "b"])
        await backend.advance(1)
        await put_many(storage, ["e", "d"])
        assert names(await drain(storage)) == ["c", "a", "b", "e", "d"]

    @promises("Q12", "Q24")
    async def test_an_id_that_comes_twice_keeps_its_first_place(self, storage: Storage) -> None:
        first, second = jobs_of(2)
        answers = await storage.enqueue_many([first, second, Job("work", id="j0")], if_exists="skip")
        assert answers == [True, True, False]
        assert first.sequence < second.sequence
        assert names(await drain(storage)) == ["j0", "j1"]

    @promises("Q12")
    async def test_a_single_id_that_exists_refuses_its_whole_chunk(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        await put(storage, "j3", "j1")
        jobs = jobs_of(5)
        error = await refused(backend, storage, JobAlreadyExistsError, "enqueue_many", jobs)
        assert error.stored == 0
        assert set(error.job_ids) == {"j1", "j3"}
        assert all(job.version == 0 for job in jobs)

    @promises("Q12")
    async def test_ids_that_exist_can_be_skipped(self, storage: Storage) -> None:
        [first] = await put(storage, "j1")
        jobs = jobs_of(3)
        assert await storage.enqueue_many(jobs, if_exists="skip") == [True, False, True]
        assert [job.version for job in jobs] == [1, 0, 1]
        assert await storage.get("j1") == first
        assert names(await storage.list()) == ["j2", "j0", "j1"]

    @promises("Q12")
    async def test_an_id_twice_counts_as_existing_the_second_time(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        error = await refused(backend, storage, JobAlreadyExistsError, "enqueue_many", [*jobs_of(2), *jobs_of(1)])
        assert (error.stored, error.job_ids) == (0, ("j0",))
        first, second = Job("first", id="x"), Job("second", id="x")
        assert await storage.enqueue_many([first, second], if_exists="skip") == [True, False]
        assert await storage.get("x") == first
        assert second.version == 0

    @promises("Q12", "Q21")
    async def test_chunks_before_the_error_stay_stored(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "j1500")
        jobs = jobs_of(2 * CHUNK + 100)
        with pytest.raises(JobAlreadyExistsError) as caught:
            await storage.enqueue_many(jobs)
        said(caught.value, backend, "enqueue_many")
        assert caught.value.stored == CHUNK
        assert caught.value.job_ids == ("j1500",)
        assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == CHUNK + 1
        assert [job.version for job in jobs] == [1] * CHUNK + [0] * (CHUNK + 100)
        assert names(await storage.list(limit=2)) == ["j999", "j998"]
        # What was stored tells where to go on.
        assert await storage.enqueue_many(jobs[CHUNK:], if_exists="skip") == [job.id != "j1500" for job in jobs[CHUNK:]]
        assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == len(jobs)

    @promises("Q12")
    async def test_an_id_twice_is_seen_across_chunks(self, backend: ContractBackend, storage: Storage) -> None:
        jobs = [*jobs_of(CHUNK), Job("again", id="j0")]
        with pytest.raises(JobAlreadyExistsError) as caught:
            await storage.enqueue_many(jobs)
        assert (caught.value.stored, caught.value.job_ids) == (CHUNK, ("j0",))
        assert (await stored(storage, "j0")).method == "work"
        fresh = [*jobs_of(CHUNK, "k"), Job("again", id="k0")]
        assert await storage.enqueue_many(fresh, if_exists="skip") == [True] * CHUNK + [False]

    @promises("Q12", "J14", "E2")
    async def test_all_is_checked_before_the_first_chunk(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_payload_bytes=1000)
        broken = Job("work", id="broken")
        broken.metadata["\n"] = "not a name"
        large = Job("work", ["x" * 1000], id="large")
        cases: list[tuple[Job, type[StorageError]]] = [(broken, InvalidJobDataError), (large, PayloadTooLargeError)]
        for bad, error in cases:
            raised = await refused(backend, storage, error, "enqueue_many", [*jobs_of(CHUNK + 10), bad])
            assert raised.stored == 0
            # Even in a call that would have failed anyway.
            await refused(backend, storage, error, "enqueue_many", [bad, *jobs_of(2), *jobs_of(2)])
        await refused(backend, storage, TypeError, "enqueue_many", [*jobs_of(CHUNK + 10), "no job"])
        assert await storage.list() == []

    @promises("Q12", "L1", "L5")
    async def test_an_explicit_lock_refuses_the_whole_chunk(self, backend: ContractBackend, storage: Storage) -> None:
        assert await storage.try_acquire_job_lock("p", A, LONG)
        jobs = [*jobs_of(2), Job("work", id="p", state=JobState.processing(B, "s"))]
        error = await refused(backend, storage, JobLockedError, "enqueue_many", jobs)
        assert (error.stored, error.job_ids) == (0, ("p",))
        jobs[-1] = Job("work", id="p", state=JobState.processing(A, "s"))
        assert await storage.enqueue_many(jobs) == [True] * 3
        assert held(jobs[-1]).worker_id == A

    @promises("Q12")
    async def test_chunks_are_also_cut_by_bytes(self, storage: Storage) -> None:
        # 20 MB in 20 jobs: a first chunk of at most 16 MiB, then another; an id that exists in the second one.
        text = "x" * 1_000_000
        jobs = [Job("work", [text], id=f"j{index}") for index in range(20)]
        await put(storage, "j19")
        with pytest.raises(JobAlreadyExistsError) as caught:
            await storage.enqueue_many(jobs)
        assert 1 <= caught.value.stored <= 16
        counts = await storage.get_job_counts()
        assert counts[JobStateKind.ENQUEUED] == caught.value.stored + 1
        # Claims hand out at most 16 MiB at once too, and the rest with the next call.
        taken = await storage.fetch_available_jobs_atomic(A, 100)
        assert len(taken) == counts[JobStateKind.ENQUEUED]
        assert all(job.arguments == [text] for job in taken if job.id != "j19")

    @promises("Q12", "C1")
    async def test_a_kind_that_is_not_kept_is_gone_at_once(self, backend: ContractBackend) -> None:
        storage = await backend.open(keep_succeeded=0)
        done = Job("work", id="done", state=JobState.succeeded(1))
        assert await storage.enqueue_many([*jobs_of(1), done]) == [True, True]
        assert await storage.get("done") is None
        assert names(await storage.list()) == ["j0"]
