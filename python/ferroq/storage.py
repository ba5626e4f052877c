"""The interface that every backend implements. Its docstrings are the contract in the words of the API.

The ids in brackets, like [Q7], are those of the promises; the tests of `ferroq.testing.contract` name them too.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from ._native import Job, JobState
from .errors import StorageError
from .kinds import JobStateKind

Seconds: TypeAlias = float | timedelta
"""A length of time: seconds (int or float), or a timedelta."""

StateFilter: TypeAlias = JobStateKind | JobState | str
"""A kind of state: the kind, its value, or a state of which only the kind matters."""

IfExists: TypeAlias = Literal["error", "skip"]


class Storage(ABC):
    """A store of jobs: at-least-once delivery, at most one accepted result per claim, one behaviour on every backend.

    **Available** [Q23] is a job that is enqueued, or scheduled or awaiting retry and due, or processing under a lapsed
    lock, with no live explicit lock on its id. No scheduler or sweeper is needed: a claim sees it all itself, and until
    a claim touches a job, `get`, `list` and counts show its stored state.

    **Claim order** [Q24]: priority, highest first; then due time, earliest first; then insertion sequence. The due time
    is set when a job becomes enqueued (the backend's clock), scheduled (`enqueue_at`) or awaiting retry (`retry_at`); a
    job that is given back stands where it stood. The order is exact for one claimer at a time [Q25], and as long as no
    more than 100 jobs came due or lapsed since the last claim [Q26]: a larger wave is taken over in order of its times,
    at least max(100, `limit`) a claim.

    **Time** [Q28] is the backend's clock. Datetimes are aware, UTC, in whole microseconds, from 1970 to 2254.

    **Claims** [L1, L2] carry a token, `job.lock.token`, larger for every later claim of an id, so that it can be passed
    on as a fencing token. `update`, `extend_job_locks` and `release_jobs` go by it: a worker that lost its lock can
    never overwrite its successor.

    **Limits** [Q21]: `limit` and `offset` are 0 to 2^31-1 (claims: 1,000) or None for no limit; anything else is
    `InvalidArgumentError`, never clamped. **Queues** [Q22]: None is all queues; at most 256 exact names; an empty list
    is `InvalidArgumentError`, a bare string `TypeError`.

    **Errors** [E2, E4]: every method may raise `StorageClosedError`, `ForkedStorageError`, `LoopMismatchError`, and on
    a server the connection, time-out and unavailable classes; another type than the signature says is `TypeError`.

    **Cancelling** [L7] a call never leaves a job claimed that no caller received, and never harms the next call.

    A storage opens on first use, by `async with`, or by `await storage`.
    """

    __slots__ = ()

    # ------------------------------------------------------------------ single jobs

    @abstractmethod
    async def enqueue(self, job: Job, *, if_exists: IfExists = "error") -> bool:
        """Stores a new job in the state that it carries [Q1].

        Sets version 1, `crash_count` 0, `attempt` 0 (1 for a Processing job, which also takes a claim lock of the
        default length) and the state's `retry_count`, and writes all read-only attributes back into `job`.

        Args:
            job: the job; a later change of the object does not change what is stored.
            if_exists: what an id that is stored already means: "error" or "skip".

        Returns:
            True, or False when the id existed and `if_exists` is "skip".

        Raises:
            JobAlreadyExistsError: the id is taken; nothing changed, also in a full store.
            JobLockedError: a Processing job whose id another worker holds under an explicit lock.
            CapacityExceededError: the store is full.
            PayloadTooLargeError, InvalidJobDataError: before anything is sent.
        """

    @abstractmethod
    async def get(self, job_id: str) -> Job | None:
        """The whole record, or None [Q2]. Its `lock` is None whoever holds it.

        Raises:
            CorruptJobError: the stored record cannot be decoded.
        """

    @abstractmethod
    async def update(self, job: Job) -> None:
        """Replaces state, queue, priority, max_retries, job_type, timeout_seconds and metadata of a stored job [Q3,
        L3].

        In this order:

        1. no such job: `JobNotFoundError`;
        2. with `job.lock`: accepted while the stored job is Processing under that token, lapsed or not, as long as
           nobody else has claimed it; a repeat of the settlement made under that token, to the same kind, is accepted
           and changes nothing; else `LockLostError`;
        3. without, while the stored job is under a live claim: only a change to `deleted` goes on (the holder then gets
           `LockLostError`), else `JobLockedError`;
        4. `job.version` is not the stored one: `ConcurrentModificationError`; a change from another kind to Processing
           while another worker holds an explicit lock on the id: `JobLockedError`;
        5. one atomic step: record, version + 1, indexes, counts. To Processing from another kind it takes a claim lock
           of the default length and counts an attempt; Processing to Processing keeps lock and expiry; any other state
           frees the claim lock.

        `id`, `method`, `arguments` and `created_at` are those of the enqueue. All read-only attributes are written
        back.
        """

    @abstractmethod
    async def delete(self, job_id: str) -> bool:
        """Removes a job in any state, with its locks and every index; False if there is none [Q4].

        A holder's next write gets `JobNotFoundError`. For a soft delete `update` the job to `JobState.deleted()`.
        """

    # ------------------------------------------------------------------ reading many

    @abstractmethod
    async def list(
        self,
        state_filter: StateFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        *,
        queue: str | None = None,
        after: Job | int | None = None,
    ) -> builtins.list[Job]:
        """Jobs, newest first: by insertion sequence, descending [Q5].

        Args:
            state_filter: only jobs of that kind of state.
            limit: at most that many; more than 1,000 are read in pages, which are not one instant [Q21].
            offset: skips that many; it costs what it skips.
            queue: only jobs of that queue; it filters the walk and needs no index.
            after: goes on behind that job, or behind that `sequence` (1 or more), whether or not the job still exists.

        Warns:
            StorageWarning: names a record that cannot be decoded; it is left out [E3].
        """

    @abstractmethod
    async def get_job_counts(self) -> dict[JobStateKind, int]:
        """How many jobs are in each of the seven kinds of state, zeros too: exact, of one instant [Q6]."""

    @abstractmethod
    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        """What claims would return now, in claim order; changes no job [Q7]."""

    # ------------------------------------------------------------------ claims

    @abstractmethod
    async def fetch_and_lock_job(
        self,
        worker_id: str,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> Job | None:
        """Claims the first available job: Processing, `attempt` + 1, under a fresh lock in `job.lock` [Q8, L1, L4].

        A job whose lock had lapsed counts a crash; at `max_crashes` it becomes failed instead, and the claim goes on.

        Args:
            worker_id: a name, kept in the state; it gives no right to the job, the token does.
            queues: exact names; None is all.
            lock_timeout: seconds, 0.001 to 31,536,000; None is the configured `lock_timeout`.

        Returns:
            The job, or None if none is available.
        """

    @abstractmethod
    async def fetch_available_jobs_atomic(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        """Claims up to `limit` jobs in one atomic step, in claim order: all returned or none claimed [Q11].

        Args:
            limit: None is 10, 0 claims nothing, at most 1,000. Fewer come back where their text passes 16 MiB.
        """

    @abstractmethod
    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        """Renews claims to the backend's now + `lock_timeout` and writes `lock.expires_at` back [Q14].

        Returns:
            By position: True, also for a lapsed claim that nobody has taken over; False where the claim is lost.
        """

    @abstractmethod
    async def release_jobs(self, jobs: Iterable[Job], *, delay: Seconds | None = None) -> builtins.list[bool]:
        """Gives claims back unspent, by token: Enqueued again, or Scheduled after `delay` [Q15].

        The attempt is refunded and no crash is counted. State and version are written back, and `lock` becomes None.

        Returns:
            By position: True, also for a repeat under the same token to the same kind until the job's next settlement;
            else False, and nothing changed.
        """

    # ------------------------------------------------------------------ explicit locks

    @abstractmethod
    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        """Locks an id, stored or not, if nobody holds it in either kind [Q9, L5].

        A live explicit lock keeps every claim away. It is not re-entrant and does not stop `update` or `delete`.

        Args:
            timeout_seconds: 0.001 to 31,536,000.
        """

    @abstractmethod
    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        """Frees the worker's live explicit lock, or else gives back its live claim (attempt kept) [Q10, L6].

        It goes by worker id: processes that share one share this power. `release_jobs` goes by token.
        """

    # ------------------------------------------------------------------ batches

    @abstractmethod
    async def enqueue_many(self, jobs: Iterable[Job], *, if_exists: IfExists = "error") -> builtins.list[bool]:
        """`enqueue` for any number of jobs, in order, in chunks of 1,000 jobs or 16 MiB [Q12].

        Each chunk is all or nothing, one round trip, and its jobs share a due time. All that needs no store is checked
        before the first chunk. An id twice in one call counts as existing the second time.

        Raises:
            StorageError: as `enqueue`; the error names the ids, and its `stored` says how many jobs were stored before.
        """

    @abstractmethod
    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        """`update` for any number of jobs: by position None, or the error that `update` would raise [Q13].

        One round trip per 1,000 jobs or 16 MiB.
        """

    # ------------------------------------------------------------------ waiting, housekeeping

    @abstractmethod
    async def wait_for_jobs(self, queues: Sequence[str] | None = None, timeout: float | None = None) -> bool:
        """Sleeps until a claim may succeed [Q16].

        Pushed, not polled: each job that becomes available by enqueue, update or release wakes at least one waiter of
        its queue; one that comes due or lapses does within 1 s.

        Args:
            timeout: real seconds; None waits for ever.

        Returns:
            True when a claim may succeed (it may be spurious), False after `timeout`.
        """

    @abstractmethod
    async def purge(
        self,
        kinds: StateFilter | Iterable[StateFilter],
        older_than: Seconds,
        limit: int | None = 1000,
    ) -> int:
        """Deletes finished jobs that entered their state at least `older_than` ago, oldest first [Q17].

        Args:
            kinds: one or several of succeeded, failed and deleted.
            limit: at most that many; the cost grows with it only. None: all, in steps.

        Returns:
            How many were deleted.
        """

    @abstractmethod
    async def verify(self) -> builtins.list[str]:
        """Read-only self-audit: indexes against records, counts against lists, orphans [Q18].

        Returns:
            One sentence a finding; empty when all is well and the store is at rest.
        """

    # ------------------------------------------------------------------ life

    @abstractmethod
    def clone(self) -> Storage:
        """A new, unopened storage on the same backend, for another loop, thread or forked child [Q19].

        Opened by its first use, closed apart from the original. On memory it shares the store.

        Raises:
            ForkedStorageError: the original was inherited through a fork.
            ConfigurationError: the original works over a caller's own pool.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes the storage; idempotent [Q20]. Waiters get `StorageClosedError`, and so does every later call."""

    @abstractmethod
    async def open(self) -> None:
        """Connects now rather than on first use; idempotent. What is wrong with the set-up is raised here."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _opened(self) -> Self:
        await self.open()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()
