"""The same answer from every backend: random histories, played on all of them step by step, must read alike.

A history is a list of steps that name jobs by small numbers and objects by their place among those that earlier steps
returned, so that any part of one is a history too, and Hypothesis can shrink what it found. Clocks are moved by
hundreds of seconds and every time that a step names ends in fifty: how long a server takes never decides an answer.

`FERROQ_HISTORIES=1000` plays that many, other ones in each run; a plain run always plays the same, so that it says
nothing new about an unchanged tree.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferroq import InvalidTransitionError, Job, JobState, StorageError
from ferroq.storage import Storage
from ferroq.testing import ContractBackend

from .memory_backend import MemoryBackend
from .postgres_backend import PostgresBackend
from .redis_backend import RedisBackend

WANTED: Final = os.environ.get("FERROQ_HISTORIES")
HISTORIES: Final = int(WANTED or 40)

PATIENT: Final = 1000
"""`max_crashes` of a store where no job fails by lapses."""

Step = tuple[Any, ...]
Answer = Any

ids = st.integers(0, 6).map("j{}".format)
objects = st.integers(0, 40)
workers = st.sampled_from(["w1", "w2"])
queues = st.sampled_from(["a", "b", "c"])
some_queues = st.sampled_from([None, None, ["a"], ["b", "a"], ["c", "nowhere"]])
seconds = st.sampled_from([50, 150, 250])
kinds = st.sampled_from(
    ["enqueued", "processing", "succeeded", "succeeded", "failed", "deleted", "scheduled", "awaiting_retry"]
)
priorities = st.integers(-1, 1)

STEPS: Final[st.SearchStrategy[Step]] = st.one_of(
    st.tuples(st.just("enqueue"), ids, kinds, seconds, queues, priorities, st.booleans()),
    st.tuples(st.just("enqueue_many"), st.lists(st.tuples(ids, queues, priorities), max_size=5), st.booleans()),
    st.tuples(st.just("fetch"), workers, st.integers(0, 4), some_queues, seconds),
    st.tuples(st.just("fetch_one"), workers, some_queues, seconds),
    st.tuples(st.just("get"), ids),
    st.tuples(st.just("change"), objects, kinds, seconds),
    st.tuples(st.just("edit"), objects, queues, priorities),
    st.tuples(st.just("update_many"), st.lists(st.tuples(objects, kinds, seconds), min_size=1, max_size=4)),
    st.tuples(st.just("extend"), st.lists(objects, min_size=1, max_size=4), seconds),
    st.tuples(st.just("release"), st.lists(objects, min_size=1, max_size=4), st.sampled_from([None, 0, 50, 150])),
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("acquire"), ids, workers, seconds),
    st.tuples(st.just("unlock"), ids, workers),
    st.tuples(st.just("purge"), st.sampled_from([["succeeded"], ["failed", "deleted"]]), st.sampled_from([0, 50, 150])),
    st.tuples(st.just("advance"), st.integers(1, 3)),
    st.tuples(st.just("advance"), st.integers(1, 3)),
    st.tuples(st.just("available"), st.sampled_from([None, 0, 1, 3])),
    st.tuples(st.just("list"), st.none() | kinds, st.sampled_from([None, 2]), st.none() | queues, st.none() | objects),
)

OPTIONS: Final = st.fixed_dictionaries(
    {
        "max_crashes": st.sampled_from([1, 2, PATIENT, PATIENT]),
        "keep_succeeded": st.sampled_from([None, 0]),
        "keep_failed": st.sampled_from([None, 0]),
        "keep_deleted": st.sampled_from([None, 0]),
    }
)


class Player:
    """One backend, playing a history."""

    def __init__(self, backend: ContractBackend, storage: Storage, max_crashes: int) -> None:
        self.backend = backend
        self.storage = storage
        self.max_crashes = max_crashes
        self.objects: list[Job] = []

    @staticmethod
    def shown(job: Job | None) -> Answer:
        """What must be alike of a job: all but times, tokens and the sequence."""
        if job is None:
            return None
        worker = job.state.worker_id if isinstance(job.state, JobState.Processing) else None
        counters = (job.version, job.attempt, job.crash_count, job.retry_count)
        fields = (job.id, job.queue, job.priority, job.state.kind.value, worker)
        return (*fields, *counters, job.sequence > 0, None if job.lock is None else job.lock.worker_id)

    def kept(self, jobs: list[Job]) -> Answer:
        self.objects += jobs
        return [self.shown(job) for job in jobs]

    def object(self, number: int) -> Job | None:
        return self.objects[number % len(self.objects)] if self.objects else None

    def chosen(self, numbers: list[int]) -> list[Job]:
        return [job for number in numbers if (job := self.object(number)) is not None]

    async def state(self, kind: str, queue: str, after: int) -> JobState:
        later = await self.backend.now() + timedelta(seconds=after)
        made: dict[str, Callable[[], JobState]] = {
            "enqueued": lambda: JobState.enqueued(queue),
            "processing": lambda: JobState.processing("w1", "server"),
            "succeeded": lambda: JobState.succeeded(5, [1]),
            "failed": lambda: JobState.failed("no", None, 4),
            "deleted": lambda: JobState.deleted(),
            "scheduled": lambda: JobState.scheduled(later),
            "awaiting_retry": lambda: JobState.awaiting_retry(later, 2, "no"),
        }
        return made[kind]()

    async def changed(self, number: int, kind: str, after: int) -> Job | None:
        """An object with another state, if the transition is one."""
        job = self.object(number)
        if job is not None:
            try:
                job.set_state(await self.state(kind, job.queue, after))
            except InvalidTransitionError:
                return None
        return job

    async def enqueue(self, id_: str, kind: str, after: int, queue: str, priority: int, skip: bool) -> Answer:
        job = Job("work", id=id_, queue=queue, priority=priority, state=await self.state(kind, queue, after))
        self.objects.append(job)
        return await self.storage.enqueue(job, if_exists="skip" if skip else "error")

    async def enqueue_many(self, fields: list[tuple[str, str, int]], skip: bool) -> Answer:
        jobs = [Job("work", id=id_, queue=queue, priority=priority) for id_, queue, priority in fields]
        self.objects += jobs
        return await self.storage.enqueue_many(jobs, if_exists="skip" if skip else "error")

    async def fetch(self, worker: str, limit: int, names: list[str] | None, lock: int) -> Answer:
        return self.kept(await self.storage.fetch_available_jobs_atomic(worker, limit, names, lock_timeout=lock))

    async def fetch_one(self, worker: str, names: list[str] | None, lock: int) -> Answer:
        job = await self.storage.fetch_and_lock_job(worker, names, lock_timeout=lock)
        return self.kept([] if job is None else [job])

    async def get(self, id_: str) -> Answer:
        job = await self.storage.get(id_)
        return self.kept([] if job is None else [job])

    async def change(self, number: int, kind: str, after: int) -> Answer:
        job = await self.changed(number, kind, after)
        return None if job is None else await self.storage.update(job)

    async def edit(self, number: int, queue: str, priority: int) -> Answer:
        job = self.object(number)
        if job is None:
            return None
        job.queue, job.priority = queue, priority
        job.metadata["edited"] = queue
        return await self.storage.update(job)

    async def update_many(self, changes: list[tuple[int, str, int]]) -> Answer:
        jobs = [job for change in changes if (job := await self.changed(*change)) is not None]
        return [error_of(verdict) for verdict in await self.storage.update_many(jobs)]

    async def extend(self, numbers: list[int], lock: int) -> Answer:
        return await self.storage.extend_job_locks(self.chosen(numbers), lock)

    async def release(self, numbers: list[int], delay: int | None) -> Answer:
        return await self.storage.release_jobs(self.chosen(numbers), delay=delay)

    async def delete(self, id_: str) -> Answer:
        return await self.storage.delete(id_)

    async def acquire(self, id_: str, worker: str, lock: int) -> Answer:
        return await self.storage.try_acquire_job_lock(id_, worker, lock)

    async def unlock(self, id_: str, worker: str) -> Answer:
        return await self.storage.release_job_lock(id_, worker)

    async def purge(self, names: list[str], older_than: int) -> Answer:
        return await self.storage.purge(names, older_than)

    async def advance(self, hundreds: int) -> Answer:
        await self.backend.advance(100 * hundreds)

    async def available(self, limit: int | None) -> Answer:
        # It may tidy indexes, but changes no job: which claim then fails a job that crashed once too often, one of any
        # queue or one of the job's own, depends on whether it was tidied, and the contract leaves that open.
        if self.max_crashes != PATIENT:
            return None
        return [self.shown(job) for job in await self.storage.get_available_jobs(limit)]

    async def list(self, kind: str | None, limit: int | None, queue: str | None, after: int | None) -> Answer:
        behind = None if after is None else self.object(after)
        if behind is not None and not behind.sequence:
            behind = None
        return [self.shown(job) for job in await self.storage.list(kind, limit, queue=queue, after=behind)]

    async def play(self, step: Step) -> Answer:
        """The answer to a step, and what it left: counts, and every object."""
        if isinstance(self.backend, MemoryBackend):
            self.backend.clock.advance(0.001)  # as on a clock that runs by itself, no two steps have the same time
        name, *arguments = step
        operation: Callable[..., Awaitable[Answer]] = getattr(self, name)
        try:
            answer = await operation(*arguments)
        except StorageError as error:
            answer = error_of(error)
        counts = {kind.value: count for kind, count in (await self.storage.get_job_counts()).items() if count}
        return answer, counts, [self.shown(job) for job in self.objects]


def error_of(error: StorageError | None) -> Answer:
    """What must be alike of an error."""
    if error is None:
        return None
    # The order of the ids is nobody's promise.
    return type(error).__name__, error.operation, error.outcome, error.stored, sorted(getattr(error, "job_ids", ()))


async def played(history: list[Step], options: dict[str, Any], backends: list[ContractBackend]) -> None:
    async with AsyncExitStack() as stack:
        players = []
        for backend in backends:
            stack.push_async_callback(backend.close)
            players.append(Player(backend, await backend.open(**options), options["max_crashes"]))
        everything: list[Step] = [("advance", 4), ("fetch", "w1", 100, None, 50), ("list", None, None, None, None)]
        for at, step in enumerate([*history, *everything]):
            answers = [await player.play(step) for player in players]
            for player, answer in zip(players, answers, strict=True):
                assert answer == answers[0], f"{player.backend.name} differs from {backends[0].name} at {at}: {step}"
        for player in players:
            assert await player.storage.verify() == [], player.backend.name


@pytest.mark.filterwarnings("ignore:appendonly is off:ferroq.errors.StorageWarning")
@pytest.mark.timeout(60 + 2 * HISTORIES)
@settings(
    max_examples=HISTORIES,
    derandomize=WANTED is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(STEPS, min_size=10, max_size=80), options=OPTIONS)
@pytest.mark.scope("unit")
def test_every_backend_gives_the_same_answers(
    redis_url: str, postgres_dsn: str, history: list[Step], options: dict[str, Any]
) -> None:
    backends = [MemoryBackend(), RedisBackend(redis_url), PostgresBackend(postgres_dsn)]
    asyncio.run(played(history, options, backends))
