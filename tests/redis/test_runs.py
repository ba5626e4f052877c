"""Batches stand as runs among the timers and in the order of finish (lua/lib/runs.lua).

What leaves a run one by one, what is taken out of its middle and what lapses there must come out as if each job stood
for itself.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from redis import Redis

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import JobNotFoundError, LockLostError
from ferroq.redis import RedisStorage
from ferroq.testing.contract import promises
from tests.servers import RedisServer

from .support import BOUND, put, storage_on
from .test_edges import key, settled
from .test_faults import admin

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]

SECOND = 1_000_000


def members(server: Redis, storage: RedisStorage, name: str) -> list[bytes]:
    found: Any = server.zrange(key(storage, name), 0, -1)
    return list(found)


def clock(server: Redis, storage: RedisStorage, seconds: float) -> None:
    server.hset(key(storage, "meta"), "clock", int(seconds * SECOND))


async def settle_one(storage: RedisStorage, job: Job) -> None:
    job.set_state(JobState.succeeded(1))
    await storage.update(job)


async def test_a_batch_is_a_run_a_chunk_and_settled_whole_it_is_gone(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 300)
            held = await storage.fetch_available_jobs_atomic("w", 300)
            assert [len(member) for member in members(server, storage, "timers")] == [7, 7]
            assert await storage.verify() == []
            assert await settled(storage, held) == [None] * 300
            assert not server.exists(key(storage, "timers"))
            assert [len(member) for member in members(server, storage, "f2")] == [7, 7]
            assert await storage.verify() == []


async def test_settled_one_by_one_it_is_gone_with_the_last(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 12)
            held = await storage.fetch_available_jobs_atomic("w", 12)
            for job in random.Random(5).sample(held, 12):
                assert server.exists(key(storage, "timers"))
                await settle_one(storage, job)
                assert await storage.verify() == []
            assert not server.exists(key(storage, "timers"))


@promises("L4", "Q23")
async def test_of_a_run_that_lapses_only_what_still_hangs_on_it_is_taken_over(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 280)
            held = await storage.fetch_available_jobs_atomic("w", 280, lock_timeout=10)
            await settle_one(storage, held[3])
            assert await settled(storage, held[100:120]) == [None] * 20
            assert await storage.extend_job_locks([held[5], *held[200:210]], 60) == [True] * 11
            assert await storage.release_jobs(held[20:30]) == [True] * 10
            assert await storage.delete(held[40].id)
            assert await storage.release_job_lock(held[50].id, "w")
            await storage.update(held[60])  # stays processing, under its lock
            held[70].set_state(JobState.awaiting_retry(held[70].created_at, 1, "again"))
            await storage.update(held[70])
            assert await storage.verify() == []
            free = {held[at].id for at in (*range(20, 30), 50, 70)}
            assert {job.id for job in await storage.get_available_jobs()} == free
            again = await storage.fetch_available_jobs_atomic("other", 5, lock_timeout=100)
            free -= {job.id for job in again}
            clock(server, storage, 20)
            gone = {held[at].id for at in (3, 5, 40, *range(100, 120), *range(200, 210))}
            lapsed = {job.id for job in held} - gone - {job.id for job in again}
            assert {job.id for job in await storage.fetch_available_jobs_atomic("other", 1000)} == lapsed
            assert await storage.fetch_and_lock_job("other") is None
            assert await storage.verify() == []
            assert await settled(storage, [held[5], *held[200:210]]) == [None] * 11
            assert [type(one) for one in await settled(storage, held[80:90])] == [LockLostError] * 10
            assert await storage.verify() == []


@promises("Q14")
async def test_renewed_in_a_batch_and_settled_in_that_batch(own_server: RedisServer) -> None:
    """The run that was claimed and the run that is settled may be the same while the timers are the jobs' own."""
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 20)
            held = await storage.fetch_available_jobs_atomic("w", 10)
            more = await storage.fetch_available_jobs_atomic("w", 10)
            assert await storage.extend_job_locks(held, 5000) == [True] * 10
            assert await storage.extend_job_locks(more[2:5], 5000) == [True] * 3
            assert await storage.verify() == []
            assert await settled(storage, held) == [None] * 10
            assert await storage.verify() == []
            assert await settled(storage, more[2:5]) == [None] * 3
            assert await storage.verify() == []
            assert await settled(storage, more[5:] + more[:2]) == [None] * 7
            assert not server.exists(key(storage, "timers"))


async def test_renewed_in_a_batch_it_is_a_run_again(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 30)
            held = await storage.fetch_available_jobs_atomic("w", 30)
            assert await storage.extend_job_locks(held, 5000) == [True] * 30
            assert [len(member) for member in members(server, storage, "timers")] == [7]
            assert await storage.extend_job_locks(held[10:12], 6000) == [True] * 2
            assert await storage.extend_job_locks(held, 5000) == [True] * 30
            assert await storage.verify() == []
            for job in held:
                await settle_one(storage, job)
                assert await storage.verify() == []
            assert not server.exists(key(storage, "timers"))


async def test_renewed_alone_and_settled_alone_nothing_is_left(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 3)
            held = await storage.fetch_available_jobs_atomic("w", 3)
            for job in held:
                assert await storage.extend_job_locks([job], 5000) == [True]
            for job in held:
                await settle_one(storage, job)
            assert not server.exists(key(storage, "timers"))


@promises("Q28", "L3")
@pytest.mark.parametrize("kind", ["succeeded", "failed"])
async def test_the_clock_goes_back_behind_a_renewal(own_server: RedisServer, kind: str) -> None:
    """Settled under its token, nobody else may get the job, wherever it stood."""
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 4)
            held = await storage.fetch_available_jobs_atomic("w", 4, lock_timeout=1000)
            assert await storage.extend_job_locks(held[:3], 10) == [True] * 3
            clock(server, storage, 11)
            assert len(await storage.get_available_jobs()) == 3
            clock(server, storage, 6)
            for job in held:
                job.set_state(JobState.succeeded(1) if kind == "succeeded" else JobState.failed("no"))
            assert await storage.update_many(held) == [None] * 4
            assert await storage.verify() == []
            assert await storage.fetch_available_jobs_atomic("other", 10) == []


@promises("Q26", "Q16")
async def test_renewed_claims_are_no_part_of_a_wave(own_server: RedisServer) -> None:
    """Each run's time comes while each of its jobs is held for longer: what is due must be found behind them."""
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 2000)
            held = [await storage.fetch_available_jobs_atomic("w", 200, lock_timeout=10) for _ in range(10)]
            for batch in held:
                # Not in their order: no run takes the place of the old one.
                for part in (batch[::2], batch[1::2]):
                    assert all(await storage.extend_job_locks(part, 1000))
            await put(storage, 1, "due")
            [due] = await storage.fetch_available_jobs_atomic("w", 1)
            assert await storage.release_jobs([due], delay=5) == [True]
            clock(server, storage, 20)
            got = await storage.fetch_and_lock_job("v")
            assert got is not None
            assert got.id == due.id
            assert not await asyncio.wait_for(storage.wait_for_jobs(timeout=0.2), BOUND)
            assert await storage.verify() == []


@promises("Q26")
async def test_a_wave_is_in_order_of_its_times_also_behind_a_run(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 152)
            held = await storage.fetch_available_jobs_atomic("w", 2, lock_timeout=10)
            assert await storage.extend_job_locks(held[:1], 100) == [True]
            waiting = await storage.fetch_available_jobs_atomic("w", 150)
            assert all(await storage.release_jobs(waiting, delay=20))
            clock(server, storage, 200)
            first = {job.id for job in await storage.fetch_available_jobs_atomic("v", 100)}
            assert held[1].id in first
            assert held[0].id not in first
            assert await storage.verify() == []


@promises("Q18", "E3")
async def test_the_audit_of_a_damaged_job_in_a_finished_run(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            jobs = await put(storage, 5)
            await settled(storage, await storage.fetch_available_jobs_atomic("w", 5))
            records = key(storage, "job")
            for at, place, byte in ((1, 0, b"\0"), (3, 29, b"\7")):
                field = (jobs[at].sequence).to_bytes(6, "big")
                record: Any = server.hget(records, field)
                server.hset(records, field, record[:place] + byte + record[place + 1 :])
            assert [text.split(" has")[0] for text in await storage.verify()][:1] == ["job job-1"]
            assert any("at another time" in text for text in await storage.verify())
            assert await storage.delete("job-1")
            assert await storage.delete("job-3")
            assert await storage.verify() == []


@promises("Q16")
async def test_what_nothing_hangs_on_any_more_wakes_nobody_and_is_swept(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 200)
            [guard] = await storage.fetch_available_jobs_atomic("w", 1, lock_timeout=1000)
            for _ in range(3):
                for job in await storage.fetch_available_jobs_atomic("w", 50, lock_timeout=10):
                    await settle_one(storage, job)
            assert await storage.release_jobs([guard], delay=500) == [True]
            await settled(storage, await storage.fetch_available_jobs_atomic("w", 1000))
            assert [len(member) for member in members(server, storage, "timers")] == [7, 7, 7, 6]
            clock(server, storage, 20)
            assert not await asyncio.wait_for(storage.wait_for_jobs(timeout=0.2), BOUND)
            await put(storage, 10, "more")
            assert len(await storage.fetch_available_jobs_atomic("w", 10)) == 10
            assert [len(member) for member in members(server, storage, "timers")] == [6, 7]
            assert await storage.verify() == []


@promises("Q26")
async def test_what_nothing_hangs_on_any_more_is_no_part_of_a_wave(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 700)
            await storage.fetch_available_jobs_atomic("guard", 2, lock_timeout=1000)
            for _ in range(150):
                for job in await storage.fetch_available_jobs_atomic("w", 3, lock_timeout=10):
                    await settle_one(storage, job)
            last = await storage.fetch_available_jobs_atomic("w", 90, lock_timeout=11)
            await settled(storage, await storage.fetch_available_jobs_atomic("w", 1000))
            assert len(members(server, storage, "timers")) >= 151
            clock(server, storage, 20)
            taken = await storage.fetch_available_jobs_atomic("v", 1000)
            assert [job.id for job in taken] == [job.id for job in last]
            assert await storage.verify() == []


@promises("Q26")
async def test_ten_thousand_old_runs_at_once(own_server: RedisServer) -> None:
    """More than one look takes: the store stays usable, says that there may be more, and is through in two claims."""
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 20)
            held = await storage.fetch_available_jobs_atomic("w", 20, lock_timeout=10)
            old = {((at << 8) + at % 200).to_bytes(6, "big") + b"\x07": 1 for at in range(10, 10_010)}
            server.zadd(key(storage, "timers"), old)
            clock(server, storage, 20)
            assert await asyncio.wait_for(storage.wait_for_jobs(timeout=5), BOUND)
            assert await storage.fetch_available_jobs_atomic("v", 1000) == []
            assert len(await storage.fetch_available_jobs_atomic("v", 1000)) == len(held)
            assert [len(member) for member in members(server, storage, "timers")] == [6] * 20
            assert await storage.verify() == []


@promises("L4")
async def test_a_run_of_jobs_that_lapsed_too_often(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, max_crashes=1) as storage:
        with admin(own_server) as server:
            await put(storage, 20)
            held = await storage.fetch_available_jobs_atomic("w", 15, lock_timeout=10)
            await settle_one(storage, held[7])
            clock(server, storage, 20)
            assert len(await storage.get_available_jobs()) == 5  # looking fails none
            assert await storage.verify() == []
            assert (await storage.get_job_counts())[JobStateKind.FAILED] == 0
            assert len(await storage.fetch_available_jobs_atomic("w", 100)) == 5
            assert (await storage.get_job_counts())[JobStateKind.FAILED] == 14
            assert await storage.verify() == []


@promises("Q28")
async def test_the_clock_goes_back_after_a_run_was_taken_over(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 30)
            held = await storage.fetch_available_jobs_atomic("w", 30, lock_timeout=10)
            clock(server, storage, 20)
            assert len(await storage.get_available_jobs()) == 30  # taken over
            clock(server, storage, 0)
            assert await settled(storage, held[:10]) == [None] * 10
            await settle_one(storage, held[10])
            assert await storage.release_jobs(held[11:20]) == [True] * 9
            assert [job.id for job in await storage.fetch_available_jobs_atomic("w", 100)] == [
                job.id for job in held[11:20]
            ]
            assert await storage.verify() == []


@promises("Q17")
async def test_purge_takes_a_part_of_a_run(own_server: RedisServer) -> None:
    async with storage_on(own_server.url, keep_succeeded=100_000) as storage:
        with admin(own_server) as server:
            jobs = await put(storage, 270)
            await settled(storage, await storage.fetch_available_jobs_atomic("w", 200))
            clock(server, storage, 100)
            await settled(storage, await storage.fetch_available_jobs_atomic("w", 200))
            assert await storage.purge("succeeded", 50, limit=70) == 70
            assert await storage.verify() == []
            left = {job.id for job in await storage.list()}
            assert left == {job.id for job in jobs[70:]}
            assert await storage.purge("succeeded", 50) == 130
            assert await storage.purge("succeeded", 0) == 70
            assert await storage.verify() == []


@promises("Q17", "Q28")
async def test_a_finished_job_leaves_the_middle_of_its_run(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 20)
            held = await storage.fetch_available_jobs_atomic("w", 20)
            await settled(storage, held)
            assert await storage.delete(held[4].id)
            clock(server, storage, 100)
            for job in (held[0], *held[9:12], held[19]):
                job.set_state(JobState.deleted("not wanted"))
                await storage.update(job)
                assert await storage.verify() == []
            for job in held[13:17]:
                job.set_state(JobState.deleted("not wanted"))
            assert await storage.update_many(held[13:17]) == [None] * 4
            assert await storage.verify() == []
            # They are as old as the change to the kind that they have now.
            assert await storage.purge("deleted", 50) == 0
            assert await storage.purge("succeeded", 50) == 20 - 1 - 5 - 4
            assert await storage.purge("deleted", 0) == 9
            assert await storage.verify() == []


@promises("E3")
async def test_a_damaged_job_inside_of_runs(own_server: RedisServer) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 12)
            held = await storage.fetch_available_jobs_atomic("w", 6, lock_timeout=10)
            records = key(storage, "job")
            server.hset(records, held[2].sequence.to_bytes(6, "big"), b"no record at all")
            clock(server, storage, 20)
            claimed = await storage.fetch_available_jobs_atomic("w", 100)
            assert len(claimed) == 11
            assert (await storage.get_job_counts())[JobStateKind.FAILED] == 1
            await settled(storage, claimed)
            # Finished, and damaged after that: its bytes do not say where it stands.
            server.hset(records, claimed[8].sequence.to_bytes(6, "big"), b"no record either")
            assert await storage.delete(claimed[8].id)
            assert await storage.delete(held[2].id)
            assert await storage.verify() == []
            assert await storage.purge("succeeded", 0) == 10
            assert await storage.verify() == []


async def test_what_does_not_follow_on_is_no_run(own_server: RedisServer) -> None:
    """First and last of the claim order lie as far apart as if all stood between them."""
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            urgent = {0, 8}
            jobs = [Job("work", id=f"job-{at}", priority=int(at in urgent)) for at in range(9)]
            assert all(await storage.enqueue_many(jobs))
            held = await storage.fetch_available_jobs_atomic("w", 4)
            assert [job.sequence - jobs[0].sequence for job in held] == [0, 8, 1, 2]
            assert await storage.verify() == []
            assert await settled(storage, held) == [None] * 4
            assert await storage.verify() == []
            more = await storage.fetch_available_jobs_atomic("w", 10)
            assert await settled(storage, more[::-1]) == [None] * 5
            assert await storage.verify() == []
            assert not server.exists(key(storage, "timers"))


@pytest.mark.parametrize("short", [True, False])
async def test_any_order_of_events(own_server: RedisServer, short: bool) -> None:
    """A few hundred random steps; after each the store's own audit, at the end each job where it must be."""
    chance = random.Random(11 if short else 12)
    async with storage_on(own_server.url, max_crashes=1000) as storage:
        with admin(own_server) as server:
            now, number = 0.0, 0
            stored: dict[str, str] = {}  # id -> "free", "held" or "done"
            held: dict[str, tuple[Job, float]] = {}
            events = ["put", "claim", "claim", "settle", "settle", "extend", "release", "delete", "time", "discard"]
            for step in range(250):
                for name in [name for name, (_, ends) in held.items() if ends <= now]:
                    del held[name]
                    stored[name] = "free"
                some = chance.sample(sorted(held), min(len(held), chance.choice([1, 1, 3, 20])))
                if chance.random() < 0.5:
                    some.sort(key=lambda name: held[name][0].sequence)
                jobs = [held[name][0] for name in some]
                match chance.choice(events):
                    case "put":
                        count = chance.choice([1, 7, 60])
                        new = [
                            Job("work", id=f"job-{number + at}", priority=0 if short else chance.choice([0, 0, 1]))
                            for at in range(count)
                        ]
                        number += count
                        assert all(await storage.enqueue_many(new))
                        stored |= {job.id: "free" for job in new}
                    case "claim":
                        limit, length = chance.choice([1, 5, 40, 100]), chance.choice([5, 20, 20])
                        free = sum(what == "free" for what in stored.values())
                        got = await storage.fetch_available_jobs_atomic("w", limit, lock_timeout=length)
                        assert {stored[job.id] for job in got} <= {"free"}
                        # A large wave is taken over by and by [Q26].
                        assert len(got) == min(limit, free) or len(got) >= min(limit, free, 100)
                        held |= {job.id: (job, now + length) for job in got}
                        stored |= {job.id: "held" for job in got}
                    case "settle":
                        assert await settled(storage, jobs) == [None] * len(jobs)
                        for name in some:
                            stored[name] = "done"
                            del held[name]
                    case "extend":
                        assert await storage.extend_job_locks(jobs, 30) == [True] * len(jobs)
                        held |= {name: (held[name][0], now + 30) for name in some}
                    case "release":
                        assert await storage.release_jobs(jobs) == [True] * len(jobs)
                        for name in some:
                            stored[name] = "free"
                            del held[name]
                    case "delete":
                        for name in chance.sample(sorted(stored), min(3, len(stored))):
                            assert await storage.delete(name)
                            assert not await storage.delete(name)
                            del stored[name]
                            held.pop(name, None)
                    case "discard":
                        done = await storage.list("succeeded")
                        for job in chance.sample(done, min(2, len(done))):
                            job.set_state(JobState.deleted("not wanted"))
                            await storage.update(job)
                    case "time":
                        now += chance.choice([1, 6, 25])
                        clock(server, storage, now)
                assert await storage.verify() == [], f"step {step}"
            clock(server, storage, now + 100)
            waiting = {name for name, what in stored.items() if what != "done"}
            claimed: set[str] = set()
            while got := await storage.fetch_available_jobs_atomic("w", 1000, lock_timeout=1000):
                claimed |= {job.id for job in got}
            assert claimed == waiting
            finished = await storage.purge("succeeded", 0) + await storage.purge("deleted", 0)
            assert finished == len(stored) - len(waiting)
            assert await storage.verify() == []
            with pytest.raises(JobNotFoundError):
                await storage.update(Job("work", id="never"))
