"""Reading many: lists, counts, pages [Q5, Q6, Q21]."""

from __future__ import annotations

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, every_state, names, put, put_many, settle, stored


async def walk(storage: Storage, limit: int, **filters: object) -> list[Job]:
    """The whole list, page by page."""
    seen: list[Job] = []
    while page := await storage.list(limit=limit, after=seen[-1] if seen else None, **filters):  # type: ignore[arg-type]
        assert len(page) <= limit
        seen += page
    return seen


class ListContract:
    """`list` and `get_job_counts`."""

    @promises("Q5")
    async def test_newest_comes_first_by_insertion(self, backend: ContractBackend, storage: Storage) -> None:
        now = await backend.now()
        await put(storage, "a", priority=-5)
        await storage.enqueue(Job("work", id="b", state=every_state(now)[JobStateKind.SCHEDULED]))
        await put(storage, "c", priority=5)
        await backend.advance(1)
        await put_many(storage, ["d", "e"])
        assert names(await storage.list()) == ["e", "d", "c", "b", "a"]
        # No change of a job moves it.
        job = await claim(storage)
        assert job.id == "c"
        await settle(storage, job)
        job = await stored(storage, "a")
        job.priority, job.queue = 100, "z"
        await storage.update(job)
        assert names(await storage.list()) == ["e", "d", "c", "b", "a"]

    @promises("Q5")
    async def test_an_empty_store_lists_nothing(self, storage: Storage) -> None:
        assert await storage.list() == []
        assert await storage.list(JobStateKind.FAILED, 10, 0, queue="q", after=1) == []

    @promises("Q5", "S2")
    @pytest.mark.parametrize("state_kind", list(JobStateKind))
    async def test_a_filter_takes_a_kind_its_value_or_a_state(
        self, backend: ContractBackend, storage: Storage, state_kind: JobStateKind
    ) -> None:
        states = every_state(await backend.now())
        for each, state in states.items():
            await storage.enqueue_many([Job("work", id=f"{each}-{index}", state=state) for index in range(2)])
        expected = [f"{state_kind}-1", f"{state_kind}-0"]
        assert names(await storage.list(state_kind)) == expected
        assert names(await storage.list(state_kind.value)) == expected
        # Of a state only the kind matters.
        fields = {
            JobStateKind.ENQUEUED: JobState.enqueued("elsewhere"),
            JobStateKind.PROCESSING: JobState.processing(B, "other"),
            JobStateKind.SUCCEEDED: JobState.succeeded(999),
            JobStateKind.FAILED: JobState.failed("other"),
            JobStateKind.DELETED: JobState.deleted(),
            JobStateKind.SCHEDULED: JobState.scheduled(await backend.now()),
            JobStateKind.AWAITING_RETRY: JobState.awaiting_retry(await backend.now(), 0, ""),
        }
        assert names(await storage.list(fields[state_kind])) == expected
        assert names(await storage.list(state_kind, 1, 1)) == expected[1:]

    @promises("Q5", "Q21")
    async def test_limit_and_offset_cut_the_walk(self, storage: Storage) -> None:
        await put(storage, *"abcdef")
        newest_first = list("fedcba")
        for limit in (None, 0, 1, 3, 6, 7, 2**31 - 1):
            for offset in (None, 0, 1, 5, 6, 100, 2**31 - 1):
                start = offset or 0
                end = None if limit is None else start + limit
                assert names(await storage.list(None, limit, offset)) == newest_first[start:end], (limit, offset)

    @promises("Q5")
    async def test_after_goes_on_behind_a_job_or_a_sequence(self, storage: Storage) -> None:
        jobs = {job.id: job for job in await put(storage, *"abcdef")}
        assert names(await storage.list(after=jobs["d"])) == ["c", "b", "a"]
        assert names(await storage.list(after=jobs["d"].sequence)) == ["c", "b", "a"]
        assert names(await storage.list(limit=1, after=jobs["d"])) == ["c"]
        assert names(await storage.list(limit=2, offset=1, after=jobs["e"])) == ["c", "b"]
        assert await storage.list(after=jobs["a"]) == []
        assert await storage.list(after=1) == []
        assert names(await storage.list(after=2**63 - 1)) == list("fedcba")

    @promises("Q5")
    async def test_a_walk_survives_what_happens_to_its_jobs(self, storage: Storage) -> None:
        await put(storage, *"abcdefgh")
        page = await storage.list(limit=3)
        assert names(page) == ["h", "g", "f"]
        # The job to go on from is deleted, others too, new ones come, one changes its kind.
        for gone in ("f", "d", "h"):
            assert await storage.delete(gone)
        await put(storage, "new", priority=9)
        await settle(storage, await claim(storage))
        rest = await storage.list(limit=10, after=page[-1])
        assert names(rest) == ["e", "c", "b", "a"]
        filtered = await storage.list(JobStateKind.ENQUEUED, limit=2)
        assert names(filtered) == ["g", "e"]
        assert await storage.delete("e")
        assert names(await storage.list(JobStateKind.ENQUEUED, after=filtered[-1])) == ["c", "b", "a"]

    @promises("Q5", "J6")
    async def test_a_queue_filters_the_walk(self, backend: ContractBackend, storage: Storage) -> None:
        for index in range(12):
            state = JobState.deleted() if index % 4 == 0 else None
            await storage.enqueue(Job("work", id=f"{index:02}", queue="even" if index % 2 == 0 else "odd", state=state))
        assert names(await storage.list(queue="even")) == ["10", "08", "06", "04", "02", "00"]
        assert names(await storage.list(queue="even", limit=2, offset=1)) == ["08", "06"]
        assert names(await storage.list(JobStateKind.DELETED, queue="even")) == ["08", "04", "00"]
        assert names(await storage.list("enqueued", 1, queue="even", after=await stored(storage, "06"))) == ["02"]
        assert await storage.list(queue="none") == []
        assert names(await walk(storage, 2, queue="odd")) == ["11", "09", "07", "05", "03", "01"]
        # The queue moves with an update.
        job = await stored(storage, "02")
        job.queue = "odd"
        await storage.update(job)
        assert names(await storage.list(JobStateKind.ENQUEUED, queue="even")) == ["10", "06"]
        assert names(await storage.list(queue="odd", limit=2, offset=4)) == ["03", "02"]

    @promises("Q5", "Q21", "Q6")
    async def test_more_than_a_page_comes_back_whole(self, storage: Storage) -> None:
        ids = [f"{index:04}" for index in range(2345)]
        await put_many(storage, ids)
        newest_first = ids[::-1]
        assert names(await storage.list()) == newest_first
        assert names(await storage.list(limit=1001)) == newest_first[:1001]
        assert names(await storage.list(JobStateKind.ENQUEUED, 1500, 700)) == newest_first[700:2200]
        assert names(await storage.list(offset=2300)) == newest_first[2300:]
        assert names(await storage.list(queue="default", offset=1)) == newest_first[1:]
        assert names(await walk(storage, 999)) == newest_first
        assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 2345

    @promises("J11", "Q5", "Q2", "Q7")
    async def test_a_claim_is_never_shown_to_others(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        await claim(storage, lock_timeout=SHORT)
        assert (await stored(storage, "x")).lock is None
        assert [job.lock for job in await storage.list()] == [None]
        await backend.advance(SHORT + 1)
        assert [job.lock for job in await storage.get_available_jobs()] == [None]

    # ------------------------------------------------------------------ counts

    @promises("Q6")
    async def test_an_empty_store_counts_seven_zeros(self, storage: Storage) -> None:
        counts = await storage.get_job_counts()
        assert counts == dict.fromkeys(JobStateKind, 0)
        assert all(type(each) is JobStateKind for each in counts)

    @promises("Q6", "Q18", "S4")
    async def test_counts_equal_lists_through_a_life(self, backend: ContractBackend, storage: Storage) -> None:
        async def check(**expected: int) -> None:
            counts = await storage.get_job_counts()
            assert {each.value: count for each, count in counts.items() if count} == expected
            for each in JobStateKind:
                assert len(await storage.list(each)) == counts[each]
            assert await storage.verify() == []

        await put(storage, "x", "y")
        await check(enqueued=2)
        job = await claim(storage)
        await check(enqueued=1, processing=1)
        retry = await backend.now()
        await settle(storage, job, JobState.awaiting_retry(retry, 1, "no"))
        await check(enqueued=1, awaiting_retry=1)
        await backend.advance(5)
        await storage.get_available_jobs()
        await check(enqueued=1, awaiting_retry=1)
        first, second = await storage.fetch_available_jobs_atomic(A, lock_timeout=SHORT)
        await check(processing=2)
        await settle(storage, first)
        await check(processing=1, succeeded=1)
        await backend.advance(SHORT + 1)
        await check(processing=1, succeeded=1)
        taken = await claim(storage, B)
        assert taken.id == second.id
        await check(processing=1, succeeded=1)
        assert await storage.release_jobs([taken], delay=LONG) == [True]
        await check(scheduled=1, succeeded=1)
        taken.set_state(JobState.deleted())
        await storage.update(taken)
        await check(deleted=1, succeeded=1)
        await storage.delete(taken.id)
        await check(succeeded=1)
        await storage.enqueue(Job("work", id="z", state=JobState.failed("no")))
        await check(succeeded=1, failed=1)
        job = await stored(storage, "z")
        job.set_state(JobState.enqueued("q"))
        await storage.update(job)
        await check(succeeded=1, enqueued=1)
        assert await storage.purge("succeeded", 0) == 1
        await check(enqueued=1)
