"""Claiming: what is available, to whom, and what a claim hands out [Q7, Q8, Q11, Q22, Q23, Q25]."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
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
    drain,
    every_state,
    held,
    kind,
    names,
    put,
    put_many,
    settle,
    soon,
    stored,
    unchanged,
)


class ClaimContract:
    """`fetch_and_lock_job`, `fetch_available_jobs_atomic`, `get_available_jobs`."""

    @promises("Q8", "J8", "J9", "J11", "L1", "S1")
    async def test_a_claim_hands_out_a_locked_job(self, backend: ContractBackend) -> None:
        storage = await backend.open(server_name="here", lock_timeout=120)
        job = Job("work", [1], id="x", queue="mail", priority=2, metadata={"a": "b"})
        await storage.enqueue(job)
        # Far ahead of every client's clock: what a claim stamps is the backend's.
        await backend.advance(10 * 86_400)
        low = await backend.now()
        taken = await storage.fetch_and_lock_job(A)
        high = await backend.now()
        assert taken is not None
        assert (taken.id, taken.arguments, taken.queue, taken.priority) == ("x", [1], "mail", 2)
        assert taken.metadata == {"a": "b"}
        assert (taken.created_at, taken.sequence) == (job.created_at, job.sequence)
        assert (taken.attempt, taken.crash_count, taken.retry_count, taken.version) == (1, 0, 0, 2)
        state = taken.state
        assert isinstance(state, JobState.Processing)
        assert (state.worker_id, state.server_name) == (A, "here")
        assert low - MILLISECOND <= state.started_at <= high + MILLISECOND
        lock = held(taken)
        assert lock.worker_id == A
        assert lock.token >= 1
        assert low - MILLISECOND <= lock.expires_at - timedelta(seconds=120) <= high + MILLISECOND
        assert await storage.get("x") == taken

    @promises("Q8", "Q11", "L1")
    @pytest.mark.parametrize("seconds", [0.001, 1, 2.5, 31_536_000])
    async def test_a_claim_lasts_as_long_as_it_asks_for(
        self, backend: ContractBackend, storage: Storage, seconds: float
    ) -> None:
        await put(storage, "x", "y")
        low = await backend.now()
        one = await storage.fetch_and_lock_job(A, lock_timeout=seconds)
        [two] = await storage.fetch_available_jobs_atomic(A, 1, lock_timeout=seconds)
        high = await backend.now()
        for job in (one, two):
            lasts = timedelta(seconds=seconds)
            assert low - MILLISECOND <= held(job).expires_at - lasts <= high + MILLISECOND

    @promises("L1", "C1")
    async def test_a_claim_lasts_half_an_hour_by_default(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        low = await backend.now()
        job = await storage.fetch_and_lock_job(A)
        high = await backend.now()
        assert low - MILLISECOND <= held(job).expires_at - timedelta(seconds=1800) <= high + MILLISECOND

    @promises("Q8", "Q11")
    async def test_nothing_available_is_none_or_empty(self, storage: Storage) -> None:
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.fetch_available_jobs_atomic(A) == []
        assert await storage.get_available_jobs() == []

    @promises("L1", "Q23")
    async def test_a_claimed_job_is_kept_from_everybody(self, storage: Storage) -> None:
        await put(storage, "x")
        await claim(storage, A)
        for worker in (A, B):
            assert await storage.fetch_and_lock_job(worker) is None
            assert await storage.fetch_available_jobs_atomic(worker, 10) == []
        assert await storage.get_available_jobs() == []

    @promises("Q11", "Q21")
    async def test_a_batch_has_a_limit(self, storage: Storage) -> None:
        ids = [f"{index:04}" for index in range(1015)]
        await put_many(storage, ids)
        async with unchanged(storage):
            assert await storage.fetch_available_jobs_atomic(A, 0) == []
        assert names(await storage.fetch_available_jobs_atomic(A)) == ids[:10]
        assert names(await storage.fetch_available_jobs_atomic(A, 1)) == ids[10:11]
        assert names(await storage.fetch_available_jobs_atomic(A, 1000)) == ids[11:1011]
        assert names(await storage.fetch_available_jobs_atomic(A, 1000)) == ids[1011:]

    @promises("Q11", "L2", "J11", "J15")
    async def test_each_job_of_a_batch_has_its_own_claim(self, storage: Storage) -> None:
        await put(storage, *"abcde")
        jobs = await storage.fetch_available_jobs_atomic(A, 5, lock_timeout=LONG)
        assert names(jobs) == list("abcde")
        assert len({held(job).token for job in jobs}) == 5
        for job in jobs:
            assert await storage.get(job.id) == job
        await settle(storage, jobs[2])
        assert jobs[2].lock is None
        assert held(jobs[1]).worker_id == A
        assert [kind(job) for job in await storage.list()].count(JobStateKind.PROCESSING) == 4

    @promises("Q11")
    async def test_a_batch_is_cut_at_sixteen_mebibytes(self, storage: Storage) -> None:
        text = "x" * 1_000_000
        ids = [f"{index:02}" for index in range(18)]
        for part in (ids[:9], ids[9:]):
            await storage.enqueue_many([Job("work", [text], id=id_) for id_ in part])
        first = await storage.fetch_available_jobs_atomic(A, 18)
        assert 1 <= len(first) <= 16
        assert (await storage.get_job_counts())[JobStateKind.PROCESSING] == len(first)
        second = await storage.fetch_available_jobs_atomic(A, 18)
        assert names(first) + names(second) == ids

    # ------------------------------------------------------------------ availability

    @promises("Q23", "Q7", "L4")
    async def test_what_is_available(self, backend: ContractBackend, storage: Storage) -> None:
        now = await backend.now()
        past, future = now - timedelta(seconds=5), now + timedelta(hours=2)
        states = {
            "scheduled, due": JobState.scheduled(past),
            "scheduled, not due": JobState.scheduled(future),
            "retry, due": JobState.awaiting_retry(past, 1, "no"),
            "retry, not due": JobState.awaiting_retry(future, 1, "no"),
            "succeeded": JobState.succeeded(1),
            "failed": JobState.failed("no"),
            "deleted": JobState.deleted(),
        }
        await put(storage, "lapsed")
        await claim(storage, lock_timeout=SHORT)
        await backend.advance(SHORT + 1)
        await put(storage, "claimed", priority=9)
        await claim(storage)
        await put(storage, "enqueued", "locked", "lock lapsed")
        for id_, state in states.items():
            await storage.enqueue(Job("work", id=id_, state=state))
        assert await storage.try_acquire_job_lock("locked", B, LONG)
        assert await storage.try_acquire_job_lock("lock lapsed", B, SHORT)
        expected = {"lapsed", "enqueued", "scheduled, due", "retry, due"}
        assert set(names(await storage.get_available_jobs())) == expected
        await backend.advance(SHORT + 1)
        expected.add("lock lapsed")
        available = await storage.get_available_jobs()
        assert set(names(available)) == expected
        # Nothing happened at the moment itself: reads show the stored state until a claim touches the job.
        assert kind(await storage.get("lapsed")) is JobStateKind.PROCESSING
        assert kind(await storage.get("scheduled, due")) is JobStateKind.SCHEDULED
        assert {job.id: job.state.kind for job in available}["retry, due"] is JobStateKind.AWAITING_RETRY
        claimed = await drain(storage)
        assert names(claimed) == names(available)
        assert {job.id: job.crash_count for job in claimed} == {id_: int(id_ == "lapsed") for id_ in expected}

    @promises("Q23")
    @pytest.mark.parametrize("state_kind", [JobStateKind.SCHEDULED, JobStateKind.AWAITING_RETRY])
    async def test_a_job_comes_due(self, backend: ContractBackend, storage: Storage, state_kind: JobStateKind) -> None:
        job = Job("work", id="x", state=every_state(await backend.now())[state_kind])
        await storage.enqueue(job)
        await backend.advance(3600 - 60)
        assert await storage.get_available_jobs() == []
        assert await storage.fetch_and_lock_job(A) is None
        await backend.advance(61)
        assert await storage.get_available_jobs() == [job]
        taken = await claim(storage)
        assert (taken.id, taken.attempt, taken.retry_count) == ("x", 1, job.retry_count)
        assert await storage.get_available_jobs() == []

    @promises("Q7", "Q21", "Q24")
    async def test_get_available_jobs_shows_what_claims_will_take(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        now = await backend.now()
        await put(storage, "a", "b", priority=1)
        await put(storage, "c", priority=7, queue="other")
        await storage.enqueue(Job("work", id="d", priority=7, state=JobState.scheduled(now - timedelta(hours=1))))
        expected = ["d", "c", "a", "b"]
        before = await storage.list()
        for limit in (None, 0, 1, 3, 4, 100):
            assert names(await storage.get_available_jobs(limit)) == expected[:limit]
        assert await storage.list() == before
        assert await storage.get_available_jobs() == [await stored(storage, id_) for id_ in expected]
        assert names(await drain(storage)) == expected

    @promises("Q7", "Q21")
    async def test_more_available_jobs_than_a_page(self, storage: Storage) -> None:
        ids = [f"{index:04}" for index in range(1203)]
        await put_many(storage, ids)
        assert names(await storage.get_available_jobs()) == ids
        assert names(await storage.get_available_jobs(1100)) == ids[:1100]

    # ------------------------------------------------------------------ queues

    @promises("Q22", "Q8", "Q11")
    async def test_claims_take_from_the_queues_they_name(self, storage: Storage) -> None:
        for queue in ("a", "b", "c", "A", "ab", "a*"):
            await storage.enqueue(Job("work", id=queue, queue=queue))
        assert await storage.fetch_and_lock_job(B, ["z"]) is None
        assert await storage.fetch_available_jobs_atomic(B, 10, ["z", "B", "*", "a "]) == []
        assert (await claim(storage, queues=["a*"])).id == "a*"
        assert (await claim(storage, queues=["b"])).id == "b"
        jobs = await storage.fetch_available_jobs_atomic(A, 10, ("A", "z", "a"))
        assert names(jobs) == ["a", "A"]
        assert names(await storage.fetch_available_jobs_atomic(A, 10, None)) == ["c", "ab"]

    @promises("Q22", "Q24")
    async def test_priority_not_position_orders_queues(self, storage: Storage) -> None:
        await put(storage, "low", queue="first", priority=1)
        await put(storage, "high", queue="second", priority=2)
        await put(storage, "lowest", queue="first", priority=-1)
        jobs = await storage.fetch_available_jobs_atomic(A, 10, ["first", "second"])
        assert names(jobs) == ["high", "low", "lowest"]

    @promises("Q22")
    async def test_a_queue_named_twice_counts_once(self, storage: Storage) -> None:
        await put(storage, "x", "y", queue="q")
        jobs = await storage.fetch_available_jobs_atomic(A, 10, ["q"] * 300)
        assert names(jobs) == ["x", "y"]
        assert await soon(storage.wait_for_jobs(["q"] * 300, timeout=0)) is False

    @promises("Q22", "Q24")
    async def test_256_queues_can_be_named(self, storage: Storage) -> None:
        queues = [f"q{index}" for index in range(256)]
        jobs = [Job("work", id=queue, queue=queue, priority=index % 7) for index, queue in enumerate(queues)]
        await storage.enqueue_many([*jobs, Job("work", id="other", queue="other", priority=9)])
        taken = await storage.fetch_available_jobs_atomic(A, 1000, queues)
        assert names(taken) == names(sorted(jobs, key=lambda job: (-job.priority, job.sequence)))
        assert (await claim(storage)).id == "other"

    # ------------------------------------------------------------------ many claimers

    @promises("Q25", "Q11", "L2")
    async def test_concurrent_claimers_share_without_gaps(self, backend: ContractBackend, storage: Storage) -> None:
        ids = [f"{index:02}" for index in range(40)]
        await put_many(storage, ids)
        clients = [storage, await backend.reopen(storage)]
        batches = await asyncio.gather(
            *(clients[index % 2].fetch_available_jobs_atomic(f"w{index}", 5, lock_timeout=LONG) for index in range(8))
        )
        # Forty jobs, eight claims of five: as long as one is short, a job was free the whole time.
        assert [len(batch) for batch in batches] == [5] * 8
        taken = [job for batch in batches for job in batch]
        assert sorted(names(taken)) == ids
        assert len({held(job).token for job in taken}) == 40
        for batch in batches:
            assert names(batch) == sorted(names(batch))

    @promises("Q25", "Q22")
    async def test_two_claimers_over_two_queues_both_get_one(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        for round_ in range(20):
            await put(storage, f"a{round_}", queue="a")
            await put(storage, f"b{round_}", queue="b")
            first, second = await asyncio.gather(
                storage.fetch_and_lock_job(A, ["a", "b"]), other.fetch_and_lock_job(B, ["a", "b"])
            )
            assert first is not None
            assert second is not None
            assert {first.id, second.id} == {f"a{round_}", f"b{round_}"}

    @promises("Q25", "L1")
    async def test_one_job_goes_to_one_of_many(self, backend: ContractBackend, storage: Storage) -> None:
        other = await backend.reopen(storage)
        for round_ in range(10):
            await put(storage, f"x{round_}")
            taken = await asyncio.gather(
                *((storage, other)[index % 2].fetch_and_lock_job(f"w{index}") for index in range(10))
            )
            winners = [job for job in taken if job is not None]
            assert names(winners) == [f"x{round_}"]
            await settle(storage, winners[0])
