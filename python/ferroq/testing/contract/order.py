"""The order of claims, and waves of jobs that come due at once [Q24, Q26]."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, B, claim, drain, names, put, put_many, settle, soon, stored

WAVE = 100


class OrderContract:
    """Priority highest first, then due time, then sequence."""

    @promises("Q24")
    async def test_priority_then_due_time_then_sequence(self, backend: ContractBackend, storage: Storage) -> None:
        now = await backend.now()

        def at(seconds: float) -> JobState:
            return JobState.scheduled(now - timedelta(seconds=seconds))

        jobs = [
            Job("work", id="g", priority=0),
            Job("work", id="f", priority=0, state=at(10)),
            Job("work", id="d", priority=0, state=at(3600)),
            Job("work", id="e", priority=0, state=at(3600)),
            Job("work", id="b", priority=2**31 - 1),
            Job("work", id="a", priority=2**31 - 1, state=at(1)),
            Job("work", id="c", priority=1),
            Job("work", id="h", priority=0),
            Job("work", id="i", priority=-1, state=at(9000)),
            Job("work", id="j", priority=-(2**31), state=at(9000)),
        ]
        await storage.enqueue_many(jobs)
        assert names(await storage.get_available_jobs()) == list("abcdefghij")
        singles = [(await claim(storage)).id for _ in range(4)]
        assert singles + names(await drain(storage, limit=3)) == list("abcdefghij")

    @promises("Q24", "Q22")
    async def test_the_order_runs_across_queues(self, backend: ContractBackend, storage: Storage) -> None:
        rng = random.Random(7)
        now = await backend.now()
        jobs = []
        for index in range(60):
            due = now - timedelta(seconds=rng.randrange(1, 20))
            state = JobState.scheduled(due) if index % 2 else JobState.awaiting_retry(due, 1, "no")
            job = Job(
                "work", [due.timestamp()], queue=f"q{rng.randrange(5)}", priority=rng.randrange(-2, 3), state=state
            )
            jobs.append(job)
        await storage.enqueue_many(jobs)
        some = ["q3", "q0", "q4"]
        expected = sorted(jobs, key=lambda job: (-job.priority, job.arguments[0], job.sequence))
        assert names(await storage.get_available_jobs()) == names(expected)
        taken = await storage.fetch_available_jobs_atomic(A, 20, some, lock_timeout=LONG)
        assert names(taken) == [job.id for job in expected if job.queue in some][:20]
        left = [job.id for job in expected if job.id not in set(names(taken))]
        assert names(await drain(storage, limit=7)) == left

    @promises("Q24", "Q28")
    async def test_created_at_is_no_order(self, backend: ContractBackend, storage: Storage) -> None:
        older = Job("work", id="older")
        newer = Job("work", id="newer")
        assert older.created_at <= newer.created_at
        await storage.enqueue(newer)
        await backend.advance(1)
        await storage.enqueue(older)
        assert names(await drain(storage)) == ["newer", "older"]

    @promises("Q24", "Q15", "L6", "L4", "L1")
    @pytest.mark.parametrize("way", ["release_jobs", "release_job_lock", "lapse", "lapse and release", "twice"])
    async def test_a_job_given_back_stands_where_it_stood(
        self, backend: ContractBackend, storage: Storage, way: str
    ) -> None:
        async def release() -> None:
            assert await storage.release_jobs([await claim(storage)]) == [True]

        async def unlock() -> None:
            assert await storage.release_job_lock((await claim(storage)).id, A)

        async def lapse() -> None:
            await claim(storage, lock_timeout=SHORT)
            await backend.advance(SHORT + 1)

        ways: dict[str, list[Callable[[], Awaitable[None]]]] = {
            "release_jobs": [release],
            "release_job_lock": [unlock],
            "lapse": [lapse],
            "lapse and release": [lapse, release],
            "twice": [release, release],
        }
        for job_id in "abc":
            await put(storage, job_id)
            await backend.advance(1)
        for step in ways[way]:
            await step()
            await backend.advance(1)
        assert names(await storage.get_available_jobs()) == ["a", "b", "c"]
        assert names(await drain(storage)) == ["a", "b", "c"]

    @promises("Q24", "Q3")
    async def test_a_change_of_queue_or_priority_keeps_the_due_time(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        for job_id, priority in [("a", 0), ("b", 0), ("c", 5)]:
            await put(storage, job_id, priority=priority, queue="one")
            await backend.advance(1)
        moved = await stored(storage, "a")
        moved.queue = "two"
        await storage.update(moved)
        await backend.advance(1)
        lowered = await stored(storage, "c")
        lowered.priority = 0
        await storage.update(lowered)
        await backend.advance(1)
        await put(storage, "d", queue="two")
        assert names(await storage.get_available_jobs()) == ["a", "b", "c", "d"]
        assert (await claim(storage, queues=["one"])).id == "b"
        assert (await claim(storage, queues=["two"])).id == "a"
        assert names(await drain(storage)) == ["c", "d"]

    @promises("Q24", "Q3", "J7")
    async def test_any_other_update_keeps_the_place_too(self, backend: ContractBackend, storage: Storage) -> None:
        for job_id in "ab":
            await put(storage, job_id)
            await backend.advance(1)
        job = await stored(storage, "a")
        job.add_metadata("note", "1")
        await storage.update(job)
        assert names(await drain(storage)) == ["a", "b"]

    @promises("Q24", "Q3", "S4")
    async def test_a_job_that_becomes_enqueued_is_due_from_then(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        now = await backend.now()
        await storage.enqueue(Job("work", id="failed", state=JobState.failed("no")))
        await storage.enqueue(Job("work", id="scheduled", state=JobState.scheduled(now + timedelta(days=1))))
        await storage.enqueue(Job("work", id="early", state=JobState.scheduled(now - timedelta(days=1))))
        await put(storage, "a")
        await backend.advance(1)
        for job_id in ("scheduled", "failed", "early"):
            job = await stored(storage, job_id)
            job.set_state(JobState.enqueued("default"))
            await storage.update(job)
            await backend.advance(1)
        await put(storage, "b")
        assert names(await drain(storage)) == ["a", "scheduled", "failed", "early", "b"]

    @promises("Q24", "Q3")
    async def test_a_new_due_time_moves_a_job(self, backend: ContractBackend, storage: Storage) -> None:
        now = await backend.now()
        await storage.enqueue(Job("work", id="a", state=JobState.scheduled(now + timedelta(seconds=100))))
        await storage.enqueue(Job("work", id="b", state=JobState.awaiting_retry(now + timedelta(seconds=200), 1, "no")))
        await storage.enqueue(Job("work", id="c", state=JobState.scheduled(now + timedelta(seconds=300))))
        job = await stored(storage, "a")
        job.set_state(JobState.scheduled(now + timedelta(seconds=400)))
        await storage.update(job)
        await backend.advance(350)
        assert names(await storage.get_available_jobs()) == ["b", "c"]
        job = await stored(storage, "b")
        job.set_state(JobState.awaiting_retry(now + timedelta(seconds=320), 2, "no"))
        await storage.update(job)
        assert names(await storage.get_available_jobs()) == ["c", "b"]
        await backend.advance(100)
        assert names(await drain(storage)) == ["c", "b", "a"]

    @promises("Q24", "Q15")
    async def test_a_release_with_a_delay_sets_a_new_due_time(self, backend: ContractBackend, storage: Storage) -> None:
        for job_id in "ab":
            await put(storage, job_id)
            await backend.advance(1)
        assert await storage.release_jobs([await claim(storage)], delay=20) == [True]
        await backend.advance(10)
        await put(storage, "c")
        await backend.advance(11)
        assert names(await drain(storage)) == ["b", "c", "a"]

    @promises("Q24", "L1")
    async def test_a_job_enqueued_as_processing_stands_at_its_enqueue(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        await put(storage, "a")
        await backend.advance(1)
        job = Job("work", id="b", state=JobState.processing(A, "s"))
        await storage.enqueue(job)
        await backend.advance(1)
        await put(storage, "c")
        assert await storage.release_jobs([job]) == [True]
        assert names(await drain(storage)) == ["a", "b", "c"]

    @promises("Q24", "L1")
    async def test_the_manual_way_to_processing_keeps_the_place(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        for job_id in "ab":
            await put(storage, job_id)
            await backend.advance(1)
        job = await stored(storage, "a")
        job.set_state(JobState.processing(A, "s"))
        await storage.update(job)
        await backend.advance(1)
        assert await storage.release_jobs([job]) == [True]
        assert names(await drain(storage)) == ["a", "b"]

    @promises("Q24", "Q3", "L3", "Q22")
    async def test_a_change_while_nobody_could_claim_counts_later(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        due = await backend.now() + timedelta(seconds=5)
        await storage.enqueue(Job("work", id="due", state=JobState.scheduled(due)))
        await put(storage, "held", "locked", "lock lapses")
        holder = await claim(storage, lock_timeout=SHORT)
        assert holder.id == "held"
        assert await storage.try_acquire_job_lock("locked", B, LONG)
        assert await storage.try_acquire_job_lock("lock lapses", B, SHORT)
        for priority, job_id in enumerate(["due", "held", "locked", "lock lapses"]):
            job = holder if job_id == "held" else await stored(storage, job_id)
            job.priority, job.queue = priority, "other"
            await storage.update(job)
        await put(storage, "between", priority=2, queue="other")
        await backend.advance(SHORT + 1)
        assert await storage.release_job_lock("locked", B)
        assert await storage.fetch_and_lock_job(A, ["default"]) is None
        expected = ["lock lapses", "locked", "between", "held", "due"]
        assert names(await storage.get_available_jobs()) == expected
        assert names(await storage.fetch_available_jobs_atomic(A, 10, ["other"])) == expected

    @promises("Q24", "Q22")
    async def test_a_thousand_queues_are_one_order(self, storage: Storage) -> None:
        rng = random.Random(11)
        jobs = [Job("work", queue=f"q{index}", priority=rng.randrange(50)) for index in range(1000)]
        await storage.enqueue_many(jobs)
        expected = names(sorted(jobs, key=lambda job: (-job.priority, job.sequence)))
        assert (await claim(storage)).id == expected[0]
        assert names(await storage.fetch_available_jobs_atomic(A, 99, lock_timeout=LONG)) == expected[1:100]
        assert names(await storage.get_available_jobs(50)) == expected[100:150]

    # ------------------------------------------------------------------ waves

    @promises("Q26", "Q24")
    async def test_a_hundred_at_once_are_in_exact_order(self, backend: ContractBackend, storage: Storage) -> None:
        rng = random.Random(3)
        now = await backend.now()
        jobs = [
            Job("work", [due], priority=rng.randrange(4), state=JobState.scheduled(now + timedelta(seconds=due)))
            for due in rng.sample(range(1000, 9000), WAVE)
        ]
        await storage.enqueue_many(jobs)
        await backend.advance(10_000)
        expected = sorted(jobs, key=lambda job: (-job.priority, job.arguments[0]))
        assert (await claim(storage)).id == expected[0].id
        assert names(await storage.get_available_jobs()) == names(expected[1:])
        assert names(await drain(storage, limit=30)) == names(expected[1:])

    @promises("Q26", "Q7")
    @pytest.mark.parametrize("stored_due", [False, True])
    async def test_a_larger_wave_is_taken_over_by_its_times(
        self, backend: ContractBackend, storage: Storage, stored_due: bool
    ) -> None:
        count, limit = 260, 20
        start = await backend.now() + timedelta(seconds=-5000 if stored_due else 1000)
        order = list(range(count))
        random.Random(5).shuffle(order)
        # The later a job is due, the higher its priority.
        jobs = [
            Job("work", id=f"{due:03}", priority=due, state=JobState.scheduled(start + timedelta(seconds=due)))
            for due in order
        ]
        await storage.enqueue_many(jobs)
        if not stored_due:
            await backend.advance(1000 + count + 1)
        first = names(await storage.fetch_available_jobs_atomic(A, limit, lock_timeout=LONG))
        taken_over = int(first[0]) + 1
        assert WAVE <= taken_over <= count, "at least a hundred, by their times"
        assert first == [f"{due:03}" for due in range(taken_over - 1, taken_over - 1 - limit, -1)]
        # All taken over so far is available; some more may have been taken over by the question itself.
        available = names(await storage.get_available_jobs())
        assert available == sorted(available, reverse=True)
        assert set(available) | set(first) == {f"{due:03}" for due in range(len(available) + limit)}
        assert len(available) + limit >= taken_over
        rest = names(await drain(storage, limit=limit))
        assert sorted(first + rest) == [f"{due:03}" for due in range(count)]

    @promises("Q26", "Q16")
    async def test_a_wave_of_another_queue_delays_but_hides_nothing(
        self, backend: ContractBackend, storage: Storage
    ) -> None:
        now = await backend.now()
        await storage.enqueue_many(
            [Job("work", queue="bulk", state=JobState.scheduled(now + timedelta(seconds=due))) for due in range(1, 251)]
        )
        await storage.enqueue(
            Job("work", id="x", queue="small", state=JobState.scheduled(now + timedelta(seconds=300)))
        )
        await backend.advance(400)
        # 251 jobs, at least a hundred a claim: the third has it at the latest.
        job: Job | None = None
        claims = 0
        while job is None and claims < 3:
            if claims:
                assert await soon(storage.wait_for_jobs(["small"], timeout=60), 1) is True
            job = await storage.fetch_and_lock_job(A, ["small"])
            claims += 1
        assert job is not None
        assert job.id == "x"
        assert len(await drain(storage)) == 250

    @promises("Q26", "L4")
    async def test_a_wave_of_lapses_is_taken_over(self, backend: ContractBackend, storage: Storage) -> None:
        ids = [f"{index:03}" for index in range(230)]
        await put_many(storage, ids)
        assert len(await storage.fetch_available_jobs_atomic(A, 230, lock_timeout=SHORT)) == 230
        await backend.advance(SHORT + 1)
        taken = await drain(storage, B, 50)
        assert sorted(names(taken)) == ids
        assert {(job.attempt, job.crash_count) for job in taken} == {(2, 1)}

    @promises("Q26", "L4", "Q6")
    async def test_a_wave_of_crashed_jobs_does_not_stand_in_the_way(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_crashes=1)
        await put_many(storage, [f"{index:03}" for index in range(230)])
        assert len(await storage.fetch_available_jobs_atomic(A, 230, lock_timeout=SHORT)) == 230
        await backend.advance(SHORT + 1)
        await put(storage, "good", priority=-1)
        claimed = []
        for _ in range(4):
            claimed += await storage.fetch_available_jobs_atomic(B, 10)
        assert names(claimed) == ["good"]
        counts = await storage.get_job_counts()
        assert counts[JobStateKind.FAILED] == 230
        await settle(storage, claimed[0])
