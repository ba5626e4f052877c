"""Broken backends, each by one behaviour, and the topic of the suite that has to notice.

They stand around the memory backend and spoil one answer or one effect, as a real fault would: a filter forgotten, an
error swallowed, a loop where one atomic step was promised. `test_suite.py` runs the topics against them.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from ferroq import Job, JobState, JobStateKind, MemoryStorage
from ferroq.errors import (
    ConcurrentModificationError,
    JobAlreadyExistsError,
    JobLockedError,
    LockLostError,
    StorageClosedError,
    StorageError,
)
from ferroq.storage import Storage
from ferroq.testing.contract import (
    bad_input,
    batches,
    claims,
    enqueue,
    enqueue_many,
    explicit,
    housekeeping,
    lapse,
    life,
    listing,
    order,
    record,
    update_free,
    update_held,
    waiting,
)

from .memory_backend import MemoryBackend


def forward(name: str) -> Any:
    async def method(self: Sound, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self.inner, name)(*args, **kwargs)

    return method


class Sound(Storage):
    """Forwards everything: the control, which has to pass."""

    def __init__(self, inner: MemoryStorage) -> None:
        self.inner = inner

    enqueue = forward("enqueue")
    get = forward("get")
    update = forward("update")
    delete = forward("delete")
    list = forward("list")
    get_job_counts = forward("get_job_counts")
    get_available_jobs = forward("get_available_jobs")
    fetch_and_lock_job = forward("fetch_and_lock_job")
    fetch_available_jobs_atomic = forward("fetch_available_jobs_atomic")
    extend_job_locks = forward("extend_job_locks")
    release_jobs = forward("release_jobs")
    try_acquire_job_lock = forward("try_acquire_job_lock")
    release_job_lock = forward("release_job_lock")
    enqueue_many = forward("enqueue_many")
    update_many = forward("update_many")
    purge = forward("purge")
    verify = forward("verify")
    wait_for_jobs = forward("wait_for_jobs")
    close = forward("close")
    open = forward("open")

    def clone(self) -> Storage:
        return type(self)(self.inner.clone())


class SkipsDuplicates(Sound):
    async def enqueue(self, job: Job, **options: Any) -> Any:
        return await self.inner.enqueue(job, if_exists="skip")


class OverwritesDuplicates(Sound):
    async def enqueue(self, job: Job, **options: Any) -> Any:
        if not options:
            await self.inner.delete(job.id)
        return await self.inner.enqueue(job, **options)


class NormalisesIds(Sound):
    async def get(self, job_id: str) -> Any:
        return await self.inner.get(unicodedata.normalize("NFC", job_id))


class SortsKeys(Sound):
    async def get(self, job_id: str) -> Any:
        job = await self.inner.get(job_id)
        if job is None:
            return None
        flat = json.loads(job.to_json())
        flat["arguments"] = json.loads(json.dumps(flat["arguments"], sort_keys=True))
        return Job.from_json(json.dumps(flat))


class RemembersObjects(Sound):
    """Hands out the object that was put in."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.objects: dict[str, Job] = {}

    async def enqueue(self, job: Job, **options: Any) -> Any:
        self.objects[job.id] = job
        return await self.inner.enqueue(job, **options)

    async def get(self, job_id: str) -> Any:
        return self.objects.get(job_id) or await self.inner.get(job_id)


class ListsOldestFirst(Sound):
    async def list(self, *args: Any, **kwargs: Any) -> Any:
        return (await self.inner.list(*args, **kwargs))[::-1]


class ListsOnePage(Sound):
    async def list(self, state_filter: Any = None, limit: Any = None, *args: Any, **kwargs: Any) -> Any:
        return await self.inner.list(state_filter, min(1000, limit) if type(limit) is int else 1000, *args, **kwargs)


class StartsOverBehindADeletedJob(Sound):
    async def list(self, *args: Any, after: Any = None, **kwargs: Any) -> Any:
        if isinstance(after, Job) and await self.inner.get(after.id) is None:
            after = None
        return await self.inner.list(*args, after=after, **kwargs)


class CountsNoZeros(Sound):
    async def get_job_counts(self) -> Any:
        return {kind: count for kind, count in (await self.inner.get_job_counts()).items() if count}


class ForgetsTheQueues(Sound):
    async def fetch_and_lock_job(self, worker_id: str, queues: Any = None, **options: Any) -> Any:
        return await self.inner.fetch_and_lock_job(worker_id, **options)


class ForgetsTheLockTimeout(Sound):
    async def fetch_and_lock_job(self, worker_id: str, queues: Any = None, **options: Any) -> Any:
        return await self.inner.fetch_and_lock_job(worker_id, queues)


class ClampsLimits(Sound):
    async def fetch_available_jobs_atomic(self, worker_id: str, limit: Any = None, *args: Any, **options: Any) -> Any:
        limit = min(limit, 1000) if type(limit) is int else limit
        return await self.inner.fetch_available_jobs_atomic(worker_id, limit, *args, **options)


class ClaimsInQueueOrder(Sound):
    async def fetch_available_jobs_atomic(
        self, worker_id: str, limit: Any = None, queues: Any = None, **options: Any
    ) -> Any:
        if not isinstance(queues, list | tuple) or not queues or limit == 0:
            return await self.inner.fetch_available_jobs_atomic(worker_id, limit, queues, **options)
        jobs: list[Job] = []
        for queue in queues:
            left = (10 if limit is None else limit) - len(jobs)
            jobs += await self.inner.fetch_available_jobs_atomic(worker_id, max(0, left), [queue], **options)
        return jobs


class LeaksCancelledClaims(Sound):
    async def fetch_and_lock_job(self, *args: Any, **options: Any) -> Any:
        job = await self.inner.fetch_and_lock_job(*args, **options)
        await asyncio.sleep(0)
        return job


class OverwritesNewerVersions(Sound):
    async def update(self, job: Job) -> None:
        try:
            await self.inner.update(job)
        except ConcurrentModificationError:
            return


class LetsStaleWorkersSettle(Sound):
    async def update(self, job: Job) -> None:
        try:
            await self.inner.update(job)
        except LockLostError:
            return


class IgnoresOthersClaims(Sound):
    async def update(self, job: Job) -> None:
        try:
            await self.inner.update(job)
        except JobLockedError as error:
            raise ConcurrentModificationError(
                str(error), backend=error.backend, operation=error.operation, job_ids=error.job_ids
            ) from None


class SettlesOnlyOnce(Sound):
    """A lost reply cannot be retried."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.tokens: set[int] = set()

    async def update(self, job: Job) -> None:
        token = job.lock.token if job.lock is not None and job.state.kind is not JobStateKind.PROCESSING else None
        if token in self.tokens:
            raise LockLostError("lost", backend="memory", operation="update", job_ids=[job.id])
        await self.inner.update(job)
        if token is not None:
            self.tokens.add(token)


class GoesByWorkerName(Sound):
    """Gives claims back by the worker's name: no refund of the attempt."""

    async def release_jobs(self, jobs: Iterable[Job], **options: Any) -> Any:
        if options:
            return await self.inner.release_jobs(jobs, **options)
        return [job.lock is not None and await self.inner.release_job_lock(job.id, job.lock.worker_id) for job in jobs]


class ReleasesToTheEnd(Sound):
    async def release_jobs(self, jobs: Iterable[Job], *, delay: Any = None) -> Any:
        return await self.inner.release_jobs(jobs, delay=0.000001 if delay is None else delay)


class RenewsNothing(Sound):
    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: Any = None) -> Any:
        return [job.lock is not None for job in jobs]


class LocksAreReentrant(Sound):
    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.holders: dict[str, str] = {}

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: Any) -> Any:
        if await self.inner.try_acquire_job_lock(job_id, worker_id, timeout_seconds):
            self.holders[job_id] = worker_id
            return True
        return self.holders.get(job_id) == worker_id


class ReleasesAnybodysClaim(Sound):
    async def release_job_lock(self, job_id: str, worker_id: str) -> Any:
        if await self.inner.release_job_lock(job_id, worker_id):
            return True
        job = await self.inner.get(job_id)
        if job is not None and isinstance(job.state, JobState.Processing):
            return await self.inner.release_job_lock(job_id, job.state.worker_id)
        return False


class EnqueuesOneByOne(Sound):
    async def enqueue_many(self, jobs: Iterable[Job], **options: Any) -> Any:
        answers = []
        for job in jobs:
            try:
                answers.append(await self.inner.enqueue(job, **options))
            except StorageError as error:
                error.stored, error.operation = sum(answers), "enqueue_many"
                raise
        return answers


class RaisesVerdicts(Sound):
    async def update_many(self, jobs: Iterable[Job]) -> Any:
        verdicts = await self.inner.update_many(jobs)
        for verdict in verdicts:
            if verdict is not None:
                raise verdict
        return verdicts


class PurgesByInsertion(Sound):
    async def purge(self, kinds: Any, older_than: Any, limit: Any = 1000) -> Any:
        if limit != 2:
            return await self.inner.purge(kinds, older_than, limit)
        jobs = [job for job in await self.inner.list() if job.state.is_final][-limit:]
        for job in jobs:
            await self.inner.delete(job.id)
        return len(jobs)


class Polls(Sound):
    async def wait_for_jobs(self, queues: Any = None, timeout: Any = None) -> Any:
        if timeout is not None:
            return await self.inner.wait_for_jobs(queues, timeout)
        while not await self.inner.wait_for_jobs(queues, 0):
            await asyncio.sleep(1)
        return True


class SwallowsWakes(Sound):
    """Wakes one waiter, whoever it is, even one that is gone."""

    async def wait_for_jobs(self, queues: Any = None, timeout: Any = None) -> Any:
        waiter = asyncio.ensure_future(self.inner.wait_for_jobs(queues, timeout))
        return await asyncio.shield(waiter)


class ForgetsThatItIsClosed(Sound):
    async def get(self, job_id: str) -> Any:
        try:
            return await self.inner.get(job_id)
        except StorageClosedError:
            return None


class CloneIsTheSame(Sound):
    def clone(self) -> Storage:
        return self


class ErrorsHaveNoOrigin(Sound):
    async def enqueue(self, job: Job, **options: Any) -> Any:
        try:
            return await self.inner.enqueue(job, **options)
        except JobAlreadyExistsError as error:
            raise JobAlreadyExistsError(str(error), job_ids=error.job_ids) from error


class TakesAnyName(Sound):
    async def get(self, job_id: str) -> Any:
        try:
            return await self.inner.get(job_id)
        except ValueError:
            return None


class NeverTooManyCrashes(Sound):
    """Its backend asks for more crashes than it was told."""


class KeepsWhatIsNotToBeKept(Sound):
    """Its backend drops the `keep_*` options."""


class MutantBackend(MemoryBackend):
    """The memory backend behind a mutant."""

    def __init__(self, mutant: type[Sound]) -> None:
        super().__init__()
        self.mutant = mutant

    async def open(self, **options: Any) -> Storage:
        if self.mutant is NeverTooManyCrashes:
            options["max_crashes"] = options.get("max_crashes", 3) + 1
        if self.mutant is KeepsWhatIsNotToBeKept:
            options = {name: value for name, value in options.items() if not name.startswith("keep_")}
        storage = await super().open(**options)
        assert isinstance(storage, MemoryStorage)
        return self.mutant(storage)

    async def reopen(self, storage: Storage) -> Storage:
        return await storage.clone()


MUTANTS: dict[type[Sound], type] = {
    SkipsDuplicates: enqueue.EnqueueContract,
    OverwritesDuplicates: enqueue.EnqueueContract,
    NormalisesIds: record.RecordContract,
    SortsKeys: record.RecordContract,
    RemembersObjects: enqueue.EnqueueContract,
    ListsOldestFirst: listing.ListContract,
    ListsOnePage: listing.ListContract,
    StartsOverBehindADeletedJob: listing.ListContract,
    CountsNoZeros: listing.ListContract,
    ForgetsTheQueues: claims.ClaimContract,
    ForgetsTheLockTimeout: claims.ClaimContract,
    ClampsLimits: bad_input.BadInputContract,
    ClaimsInQueueOrder: claims.ClaimContract,
    LeaksCancelledClaims: life.CancelContract,
    OverwritesNewerVersions: update_free.FreeUpdateContract,
    LetsStaleWorkersSettle: update_held.HeldUpdateContract,
    IgnoresOthersClaims: update_free.FreeUpdateContract,
    SettlesOnlyOnce: update_held.HeldUpdateContract,
    GoesByWorkerName: batches.ReleaseContract,
    ReleasesToTheEnd: order.OrderContract,
    RenewsNothing: batches.RenewalContract,
    LocksAreReentrant: explicit.ExplicitLockContract,
    ReleasesAnybodysClaim: explicit.ExplicitLockContract,
    EnqueuesOneByOne: enqueue_many.EnqueueManyContract,
    RaisesVerdicts: batches.UpdateManyContract,
    PurgesByInsertion: housekeeping.PurgeContract,
    Polls: waiting.WaitContract,
    SwallowsWakes: waiting.WaitContract,
    ForgetsThatItIsClosed: life.LifeContract,
    CloneIsTheSame: life.LifeContract,
    ErrorsHaveNoOrigin: enqueue.EnqueueContract,
    TakesAnyName: bad_input.BadInputContract,
    NeverTooManyCrashes: lapse.LapseContract,
    KeepsWhatIsNotToBeKept: housekeeping.RetentionContract,
}
