"""The yardstick: a store in pure Python that keeps the promises of the memory backend as far as it goes.

It goes as far as a job's life: enqueue, claims, settling, lapse with crash counting, explicit locks, release and
renewal, counts, list order. It leaves out what would cost it something and a life does not need: threads (no lock is
taken), waiting, retention, capacity, caps in bytes. So it is faster than a complete one would be, and the ratio to it
is on the safe side.

One heap a queue holds what is ready, in claim order; one more holds what becomes ready by time: scheduled jobs,
retries, and claims that may lapse. An entry is valid while its record points to it, so nothing is ever searched for
or taken out of the middle; when half of the timed entries are dead the heap is rebuilt.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from datetime import timedelta
from heapq import heapify, heappop, heappush
from time import monotonic_ns
from typing import cast

from ferroq.errors import (
    ConcurrentModificationError,
    InvalidArgumentError,
    JobAlreadyExistsError,
    JobLockedError,
    JobNotFoundError,
    LockLostError,
    PayloadTooLargeError,
    StorageClosedError,
    StorageError,
)

from .job import Counters, Job
from .reading import MAX_LIMIT, WAVE, Entry, Reading, Record, StateFilter, new_job, shown
from .states import AWAITING_RETRY, DELETED, ENQUEUED, FAILED, PROCESSING, SCHEDULED, SUCCEEDED, Fields, JobState
from .values import check_metadata, check_name, encode_value, known_names


class PureStore(Reading):
    """`Storage` by another hand; see `ferroq.storage` for what the methods promise."""

    # ------------------------------------------------------------------ enqueue

    async def enqueue(self, job: Job, *, if_exists: str = "error") -> bool:
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="enqueue")
        core = job._core
        plain = not job._metadata and len(core[2]) <= self._small and job._state[0] == ENQUEUED
        metadata = None if plain else self._checked(job, "enqueue")
        if core[0] in self._jobs:
            return self._exists(job, if_exists)
        self._insert(job, metadata, monotonic_ns() // 1000 + self.offset)
        return True

    async def enqueue_many(self, jobs: Iterable[Job], *, if_exists: str = "error") -> builtins.list[bool]:
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="enqueue_many")
        small = self._small
        try:
            todo = [
                (
                    job,
                    None
                    if not job._metadata and len(job._core[2]) <= small and job._state[0] == ENQUEUED
                    else self._checked(job, "enqueue_many"),
                )
                for job in jobs
            ]
        except AttributeError:
            raise TypeError("jobs must be Job objects") from None
        stored = self._jobs
        results: builtins.list[bool] = []
        for start in range(0, len(todo), 1000):
            chunk = todo[start : start + 1000]
            ids = [job._core[0] for job, _ in chunk]
            if if_exists != "skip" and (len(set(ids)) < len(ids) or not stored.keys().isdisjoint(ids)):
                taken = [job_id for place, job_id in enumerate(ids) if job_id in stored or job_id in ids[:place]]
                raise JobAlreadyExistsError(
                    f"already stored: {', '.join(taken)}", job_ids=taken, stored=start, operation="enqueue_many"
                )
            now = monotonic_ns() // 1000 + self.offset
            if self._locks:
                for job, _ in chunk:
                    if job._state[0] == PROCESSING:
                        self._refuse_locked(job._core[0], job._state[2], now)
            for job, metadata in chunk:
                if job._core[0] in stored:
                    results.append(False)
                else:
                    self._insert(job, metadata, now)
                    results.append(True)
        return results

    def _checked(self, job: Job, operation: str) -> dict[str, str] | None:
        """What is to be checked before the store is touched, where there is anything; returns the copied metadata."""
        size = len(job._core[2].encode())
        metadata = job._metadata or None
        if metadata is not None:
            metadata = check_metadata(metadata)
            if len(metadata) > 256:
                raise PayloadTooLargeError("more than 256 metadata keys", operation=operation)
            size += len(encode_value(metadata, "metadata").encode())
        if size > self._max_payload:
            raise self._too_large("arguments and metadata", size, operation)
        self._check_result(job._state, operation)
        return metadata

    def _check_result(self, state: Fields, operation: str) -> None:
        if state[0] == SUCCEEDED and state[3] is not None and (size := len(state[3].encode())) > self._max_payload:
            raise self._too_large("result", size, operation)

    def _too_large(self, what: str, size: int, operation: str) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"{what}: {size} bytes, at most {self._max_payload}", operation=operation)

    def _exists(self, job: Job, if_exists: str) -> bool:
        if if_exists == "skip":
            return False
        job_id = job._core[0]
        raise JobAlreadyExistsError(f"job {job_id} is stored already", job_ids=[job_id], operation="enqueue")

    def _insert(self, job: Job, metadata: dict[str, str] | None, now: int) -> None:
        record = Record()
        record.core = core = job._core
        record.state = state = job._state
        kind = state[0]
        if kind == PROCESSING:
            self._refuse_locked(core[0], state[2], now)
        record.options = options = job._options
        record.metadata = metadata
        record.settled = record.lease = job._lease = None
        self._sequence = sequence = self._sequence + 1
        self._jobs[core[0]] = record
        self._counts[kind] += 1
        if kind == ENQUEUED:
            record.due = now
            record.counters = job._counters = (1, sequence, 0, 0, 0)
            record.entry = entry = (-options[1], now, sequence, record)
            try:
                heappush(self._ready[options[0]], entry)
            except KeyError:
                self._ready[options[0]] = [entry]
            return
        record.entry = None
        record.due = state[2] if kind in (SCHEDULED, AWAITING_RETRY) else now
        retries = state[3] if kind == AWAITING_RETRY else state[4] if kind == FAILED else 0
        record.counters = job._counters = (1, sequence, int(kind == PROCESSING), 0, retries)
        if kind == PROCESSING:
            self._lend(record, state[2], now)
            job._lease = record.lease
        self._index(record)

    # ------------------------------------------------------------------ claims

    async def fetch_and_lock_job(
        self, worker_id: str, queues: Sequence[str] | None = None, *, lock_timeout: float | None = None
    ) -> Job | None:
        if type(worker_id) is not str or worker_id not in known_names:
            worker_id = check_name(worker_id, "worker_id", InvalidArgumentError)
        length = self._length if lock_timeout is None else self._micros(lock_timeout)
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="fetch_and_lock_job")
        now = monotonic_ns() // 1000 + self.offset
        timed = self._timed
        if timed and timed[0][0] <= now:
            self._take_over(now, WAVE)
        ready = self._ready
        if len(ready) != 1 or queues is not None or self._locks:
            jobs = self._claim(worker_id, 1, queues, length, now)
            return jobs[0] if jobs else None
        # All queues, and there is one: the loop of `_claim` once, in line.
        (heap,) = ready.values()
        while heap:
            record: Record = (entry := heappop(heap))[3]
            if record.entry is not entry:
                continue
            version, sequence, attempt, crashes, retries = record.counters
            if record.lease is None:
                counts = self._counts
                counts[record.state[0]] -= 1
                counts[PROCESSING] += 1
            else:
                crashes += 1
                if crashes >= self._max_crashes:
                    self._give_up(record, crashes, now)
                    continue
            self._token = token = self._token + 1
            job = new_job(Job)
            job._core = record.core
            job._options = record.options
            job._metadata = None if record.metadata is None else record.metadata.copy()
            record.state = job._state = (PROCESSING, now, worker_id, self._server)
            record.counters = job._counters = (version + 1, sequence, attempt + 1, crashes, retries)
            record.lease = job._lease = (token, worker_id, expires := now + length)
            record.entry = entry = (expires, sequence, record)
            heappush(timed, entry)
            return job
        return None

    async def fetch_available_jobs_atomic(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        if type(worker_id) is not str or worker_id not in known_names:
            worker_id = check_name(worker_id, "worker_id", InvalidArgumentError)
        limit = 10 if limit is None else self._limit(limit, "limit", 1000)
        length = self._length if lock_timeout is None else self._micros(lock_timeout)
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="fetch_available_jobs_atomic")
        now = monotonic_ns() // 1000 + self.offset
        if self._timed and self._timed[0][0] <= now:
            self._take_over(now, max(WAVE, limit))
        return self._claim(worker_id, limit, queues, length, now)

    def _claim(
        self, worker: str, limit: int, queues: Sequence[str] | None, length: int, now: int
    ) -> builtins.list[Job]:
        expires = now + length
        timed, counts, locks, server = self._timed, self._counts, self._locks, self._server
        heaps = self._heaps(queues)
        jobs: builtins.list[Job] = []
        while len(jobs) < limit:
            if len(heaps) == 1:
                heap = heaps[0]
                if not heap:
                    break
            else:
                heaps = [heap for heap in heaps if heap]
                if not heaps:
                    break
                heap = min(heaps, key=_head)
            entry = heappop(heap)
            record: Record = entry[3]
            if record.entry is not entry:
                continue
            if locks and self._hold(record, now):
                continue
            version, sequence, attempt, crashes, retries = record.counters
            if record.lease is None:
                counts[record.state[0]] -= 1
                counts[PROCESSING] += 1
            else:  # it lapsed
                crashes += 1
                if crashes >= self._max_crashes:
                    self._give_up(record, crashes, now)
                    continue
            self._token = token = self._token + 1
            job = new_job(Job)
            job._core = record.core
            job._options = record.options
            job._metadata = None if record.metadata is None else record.metadata.copy()
            record.state = job._state = (PROCESSING, now, worker, server)
            record.counters = job._counters = (version + 1, sequence, attempt + 1, crashes, retries)
            record.lease = job._lease = (token, worker, expires)
            record.entry = entry = (expires, sequence, record)
            heappush(timed, entry)
            jobs.append(job)
        return jobs

    def _heaps(self, queues: Sequence[str] | None) -> builtins.list[builtins.list[Entry]]:
        ready = self._ready
        if queues is None:
            if len(ready) > 64:  # queues come and go: forget those that are empty
                for queue in [queue for queue, heap in ready.items() if not heap]:
                    del ready[queue]
            return list(ready.values())
        if isinstance(queues, str):
            raise TypeError("queues must be a sequence of names, not a str")
        names = dict.fromkeys(
            q if type(q) is str and q in known_names else check_name(q, "queues", InvalidArgumentError) for q in queues
        )
        if not 1 <= len(names) <= 256:
            raise InvalidArgumentError(f"queues must name 1 to 256, not {len(names)}")
        return [ready[queue] for queue in names if queue in ready]

    def _take_over(self, now: int, most: int) -> None:
        """Moves what came due or lapsed, in the order of its times, to where claims look."""
        timed = self._timed
        while most and timed and timed[0][0] <= now:
            entry = heappop(timed)
            record = entry[2]
            if record.entry is entry:
                self._make_ready(record)
                most -= 1
            else:
                self._dead -= 1

    def _make_ready(self, record: Record) -> None:
        options = record.options
        record.entry = entry = (-options[1], record.due, record.counters[1], record)
        heappush(self._ready.setdefault(options[0], []), entry)

    def _wait_until(self, record: Record, instant: int) -> None:
        record.entry = entry = (instant, record.counters[1], record)
        heappush(self._timed, entry)

    def _hold(self, record: Record, now: int) -> bool:
        """Sets a job aside whose id is under a live explicit lock, until that ends."""
        lock = self._locks.get(record.core[0])
        if lock is None or lock[1] <= now:
            return False
        self._wait_until(record, lock[1])
        return True

    def _give_up(self, record: Record, crashes: int, now: int) -> None:
        version, sequence, attempt, _, retries = record.counters
        self._counts[PROCESSING] -= 1
        self._counts[FAILED] += 1
        record.state = (FAILED, now, f"lock lapsed {crashes} times", None, retries)
        record.counters = (version + 1, sequence, attempt, crashes, retries)
        record.lease = record.entry = None

    def _lend(self, record: Record, worker: str, now: int) -> None:
        self._token += 1
        record.lease = (self._token, worker, now + self._length)

    def _index(self, record: Record) -> None:
        """Puts a record where its state belongs; an entry that it has had elsewhere dies."""
        kind = record.state[0]
        if record.entry is not None and len(record.entry) == 3:
            self._dead += 1
            if self._dead > 64 and self._dead * 2 > len(self._timed):
                record.entry = None
                self._bury()
        if kind == ENQUEUED:
            self._make_ready(record)
        elif kind in (SCHEDULED, AWAITING_RETRY):
            self._wait_until(record, record.due)
        elif kind == PROCESSING and record.lease is not None:
            self._wait_until(record, record.lease[2])
        else:
            record.entry = None

    def _bury(self) -> None:
        # In place: a claim under way holds the list.
        self._timed[:] = [entry for entry in self._timed if entry[2].entry is entry]
        heapify(self._timed)
        self._dead = 0

    # ------------------------------------------------------------------ settling

    async def update(self, job: Job) -> None:
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="update")
        self._update(job)

    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        if self._closed:
            raise StorageClosedError("the storage is closed", operation="update_many")
        update = self._update
        verdicts: builtins.list[StorageError | None] = []
        for job in jobs:
            try:
                update(job)
            except StorageError as error:
                verdicts.append(error)
            else:
                verdicts.append(None)
        return verdicts

    def _update(self, job: Job) -> None:
        job_id = job._core[0]
        metadata = self._checked(job, "update") if job._metadata else None
        state = job._state
        kind = state[0]
        if kind == SUCCEEDED and state[3] is not None:
            self._check_result(state, "update")
        try:
            record = self._jobs[job_id]
        except KeyError:
            raise JobNotFoundError(f"no job {job_id}", job_ids=[job_id], operation="update") from None
        held, lease = job._lease, record.lease
        if held is None or lease is None or held[0] != lease[0] or kind == PROCESSING:
            self._update_otherwise(record, job, metadata)
            return
        # The holder settles.
        version, sequence, attempt, crashes, retries = record.counters
        version += 1
        record.settled = (held[0], kind, version)
        counts = self._counts
        counts[PROCESSING] -= 1
        counts[kind] += 1
        record.state, record.options, record.metadata = state, job._options, metadata
        record.lease = job._lease = None
        if kind == FAILED:
            retries = state[4]
        elif kind == AWAITING_RETRY:
            retries, record.due = state[3], state[2]
        record.counters = job._counters = (version, sequence, attempt, crashes, retries)
        if kind == AWAITING_RETRY or self._dead > 64 or record.entry is None or len(record.entry) != 3:
            self._index(record)
        else:
            self._dead += 1
            record.entry = None

    def _update_otherwise(self, record: Record, job: Job, metadata: dict[str, str] | None) -> None:
        """Without a claim, or by a holder that keeps or has lost it."""
        state, held, lease = job._state, job._lease, record.lease
        kind, old, now = state[0], record.state[0], monotonic_ns() // 1000 + self.offset
        if held is None:
            self._refuse_unlocked(record, job, now)
        elif lease is None or held[0] != lease[0]:
            self._repeat(record, job, kind)
            return
        version, sequence, attempt, crashes, retries = record.counters
        if lease is not None and kind != PROCESSING:
            record.settled = (None, kind, version + 1)
        self._counts[old] -= 1
        self._counts[kind] += 1
        record.state, record.options, record.metadata = state, job._options, metadata
        if kind != PROCESSING:
            record.lease = None
        elif old != PROCESSING:
            attempt += 1
            self._lend(record, state[2], now)
        if kind == FAILED:
            retries = state[4]
        elif kind == AWAITING_RETRY:
            retries, record.due = state[3], state[2]
        elif kind == SCHEDULED:
            record.due = state[2]
        elif kind == ENQUEUED and old != ENQUEUED:
            record.due = now
            if old == FAILED:
                crashes = retries = 0
        record.counters = job._counters = (version + 1, sequence, attempt, crashes, retries)
        # An object that held no claim has one only if this write took it.
        job._lease = None if held is None and old == PROCESSING else record.lease
        self._index(record)

    def _repeat(self, record: Record, job: Job, kind: int) -> None:
        """The claim is gone: fine if this very settlement was accepted before."""
        assert job._lease is not None
        if record.settled is not None and record.settled[:2] == (job._lease[0], kind):
            job._counters = (record.settled[2], *record.counters[1:])
            job._lease = None
            return
        job_id = record.core[0]
        raise LockLostError(f"the claim on {job_id} is lost", job_ids=[job_id], operation="update")

    def _refuse_unlocked(self, record: Record, job: Job, now: int) -> None:
        job_id, kind = record.core[0], job._state[0]
        if record.lease is not None and record.lease[2] > now and kind != DELETED:
            raise JobLockedError(f"job {job_id} is claimed", job_ids=[job_id], operation="update")
        if job._counters[0] != record.counters[0]:
            raise ConcurrentModificationError(f"job {job_id} changed", job_ids=[job_id], operation="update")
        if kind == PROCESSING and record.state[0] != PROCESSING:
            self._refuse_locked(job_id, job._state[2], now)

    def _refuse_locked(self, job_id: str, worker: str, now: int) -> None:
        lock = self._locks.get(job_id)
        if lock is not None and lock[1] > now and lock[0] != worker:
            raise JobLockedError(f"job {job_id} is locked", job_ids=[job_id])

    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        length = self._length if lock_timeout is None else self._micros(lock_timeout)
        self._open("extend_job_locks")
        now = monotonic_ns() // 1000 + self.offset
        results = []
        for job in jobs:
            record = self._jobs.get(job._core[0])
            if record is None or job._lease is None or record.lease is None or record.lease[0] != job._lease[0]:
                results.append(False)
                continue
            record.lease = job._lease = (*record.lease[:2], now + length)
            self._index(record)
            results.append(True)
        return results

    async def release_jobs(self, jobs: Iterable[Job], *, delay: float | timedelta | None = None) -> builtins.list[bool]:
        wait = None if delay is None else self._micros(delay, 0.0)
        kind = ENQUEUED if wait is None else SCHEDULED
        self._open("release_jobs")
        now = monotonic_ns() // 1000 + self.offset
        results = []
        for job in jobs:
            record, held = self._jobs.get(job._core[0]), job._lease
            if record is None or held is None:
                results.append(False)
                continue
            if record.lease is None or record.lease[0] != held[0]:
                again = record.settled is not None and record.settled[:2] == (held[0], kind)
                results.append(again)
                continue
            version, sequence, attempt, crashes, retries = record.counters
            record.settled = (held[0], kind, version + 1)
            if wait is None:
                record.state = (ENQUEUED, now, record.options[0])
            else:
                record.due = now + wait
                record.state = (SCHEDULED, now, record.due, "")
            record.counters = job._counters = (version + 1, sequence, attempt - 1, crashes, retries)
            self._give_back(record)
            job._state, job._lease = record.state, None
            results.append(True)
        return results

    def _give_back(self, record: Record) -> None:
        self._counts[PROCESSING] -= 1
        self._counts[record.state[0]] += 1
        record.lease = None
        self._index(record)

    # ------------------------------------------------------------------ explicit locks

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        job_id = check_name(job_id, "job_id", InvalidArgumentError, keep=False)
        worker_id = check_name(worker_id, "worker_id", InvalidArgumentError)
        length = self._micros(timeout_seconds)
        self._open("try_acquire_job_lock")
        now = monotonic_ns() // 1000 + self.offset
        lock, record = self._locks.get(job_id), self._jobs.get(job_id)
        if lock is not None and lock[1] > now:
            return False
        if record is not None and record.lease is not None and record.lease[2] > now:
            return False
        if len(self._locks) >= self._locks_bound:
            self._locks = {key: lock for key, lock in self._locks.items() if lock[1] > now}
            self._locks_bound = max(64, 2 * len(self._locks))
        self._locks[job_id] = (worker_id, now + length)
        return True

    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        self._open("release_job_lock")
        now = monotonic_ns() // 1000 + self.offset
        lock, record = self._locks.get(job_id), self._jobs.get(job_id)
        if lock is not None and lock[0] == worker_id and lock[1] > now:
            del self._locks[job_id]
            if record is not None and record.entry is not None and len(record.entry) == 3:
                # It may have been set aside for the lock's sake; a time gone by is taken over by the next claim.
                self._index(record)
            return True
        if record is None or record.lease is None or record.lease[1] != worker_id or record.lease[2] <= now:
            return False
        version, *rest = record.counters
        record.state = (ENQUEUED, now, record.options[0])
        record.counters = cast(Counters, (version + 1, *rest))
        self._give_back(record)
        return True

    # ------------------------------------------------------------------ the rest

    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        most = MAX_LIMIT if limit is None else self._limit(limit, "limit", MAX_LIMIT)
        self._open("get_available_jobs")
        now = monotonic_ns() // 1000 + self.offset
        self._take_over(now, max(WAVE, min(most, 1000)))
        entries = sorted(entry for heap in self._ready.values() for entry in heap if entry[3].entry is entry)
        found: builtins.list[Job] = []
        for entry in entries:
            if len(found) >= most:
                break
            record = entry[3]
            lock = self._locks.get(record.core[0])
            if lock is not None and lock[1] > now:
                continue
            if record.lease is not None and record.counters[3] + 1 >= self._max_crashes:
                continue
            found.append(shown(record))
        return found

    async def delete(self, job_id: str) -> bool:
        self._open("delete")
        record = self._jobs.pop(job_id, None)
        self._locks.pop(job_id, None)
        if record is None:
            return False
        self._counts[record.state[0]] -= 1
        record.state, record.lease = (DELETED, 0, None), None
        self._index(record)
        return True

    async def purge(
        self, kinds: StateFilter | Iterable[StateFilter], older_than: float | timedelta, limit: int | None = 1000
    ) -> int:
        """A walk over all jobs, by the stamp of their state: no index is kept for it."""
        self._open("purge")
        before = monotonic_ns() // 1000 + self.offset - self._micros(older_than, 0.0)
        wanted = {self._kind(kind) for kind in ([kinds] if isinstance(kinds, str | JobState) else kinds)}
        if not wanted or not wanted <= {SUCCEEDED, FAILED, DELETED}:
            raise InvalidArgumentError("kinds must be final ones")
        found = sorted((r.state[1], i) for i, r in self._jobs.items() if r.state[0] in wanted and r.state[1] <= before)
        for _, job_id in found[:limit]:
            await self.delete(job_id)
        return len(found[:limit])


def _head(heap: builtins.list[Entry]) -> Entry:
    return heap[0]
