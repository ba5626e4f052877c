"""The memory backend: the native store behind the async interface, and a test double for the others [T1].

Each method is one call into the engine, which never blocks for longer than a page of jobs; none of them awaits anything
but `wait_for_jobs`. So every method has a synchronous twin, `*_nowait`, that does the same from any thread [T2].
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable, Sequence

from ._native import Job, ManualClock, Store, check_claim
from .config import MemoryConfig
from .errors import StorageError
from .kinds import JobStateKind
from .storage import IfExists, Seconds, StateFilter, Storage


class MemoryStorage(Storage):
    """Jobs in this process: gone when it ends, as fast as a call into Rust.

    Any thread and any event loop may use one [E1]. `clone()` gives another storage on the same jobs.

    Args:
        config: a `MemoryConfig`; None for its defaults.
        clock: a `ManualClock` where time is to stand still until the test moves it; None for the machine's clock.

    >>> storage = MemoryStorage()
    >>> storage.enqueue_nowait(Job("send_email", ["ada@example.org"]))
    True
    >>> storage.fetch_and_lock_job_nowait("worker-1").arguments
    ['ada@example.org']
    """

    __slots__ = ("__weakref__", "_config", "_store")

    def __init__(self, config: MemoryConfig | None = None, *, clock: ManualClock | None = None) -> None:
        if config is None:
            config = MemoryConfig()
        elif not isinstance(config, MemoryConfig):
            raise TypeError(f"config must be a MemoryConfig, not {type(config).__name__}")
        self._config = config
        self._store = Store(
            lock_timeout=config.lock_timeout,
            max_crashes=config.max_crashes,
            max_payload_bytes=config.max_payload_bytes,
            server_name=config.server_name,
            keep_succeeded=config.keep_succeeded,
            keep_failed=config.keep_failed,
            keep_deleted=config.keep_deleted,
            max_jobs=config.max_jobs,
            auto_cleanup=config.auto_cleanup,
            clock=clock,
        )

    @property
    def config(self) -> MemoryConfig:
        """What the storage was made with."""
        return self._config

    # ------------------------------------------------------------------ the interface

    async def enqueue(self, job: Job, *, if_exists: IfExists = "error") -> bool:
        return self._store.enqueue(job, if_exists)

    async def get(self, job_id: str) -> Job | None:
        return self._store.get(job_id)

    async def update(self, job: Job) -> None:
        self._store.update(job)

    async def delete(self, job_id: str) -> bool:
        return self._store.delete(job_id)

    async def list(
        self,
        state_filter: StateFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        *,
        queue: str | None = None,
        after: Job | int | None = None,
    ) -> builtins.list[Job]:
        return self._store.list(state_filter, limit, offset, queue, after)

    async def get_job_counts(self) -> dict[JobStateKind, int]:
        return self._store.get_job_counts()

    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        return self._store.get_available_jobs(limit)

    async def fetch_and_lock_job(
        self,
        worker_id: str,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> Job | None:
        return self._store.fetch_and_lock_job(worker_id, queues, lock_timeout)

    async def fetch_available_jobs_atomic(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        return self._store.fetch_available_jobs_atomic(worker_id, limit, queues, lock_timeout)

    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        return self._store.extend_job_locks(jobs, lock_timeout)

    async def release_jobs(self, jobs: Iterable[Job], *, delay: Seconds | None = None) -> builtins.list[bool]:
        return self._store.release_jobs(jobs, delay)

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        return self._store.try_acquire_job_lock(job_id, worker_id, timeout_seconds)

    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        return self._store.release_job_lock(job_id, worker_id)

    async def enqueue_many(self, jobs: Iterable[Job], *, if_exists: IfExists = "error") -> builtins.list[bool]:
        return self._store.enqueue_many(jobs, if_exists)

    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        return self._store.update_many(jobs)

    async def wait_for_jobs(self, queues: Sequence[str] | None = None, timeout: float | None = None) -> bool:
        _, names, _ = check_claim(None, queues, None, "memory", "wait_for_jobs")
        store = self._store
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            woken = loop.create_future()
            registered = store.wait(names, timeout, _waker(loop, woken))
            if registered is None:
                return True
            ticket, pause = registered
            if timeout is not None:
                left = start + timeout - loop.time()
                if left <= 0:
                    # Somebody may have woken this waiter just now: its turn must not be lost.
                    self._withdraw(ticket)
                    return False
                pause = min(pause, left)
            timer = loop.call_later(pause, _settle, woken)
            try:
                await woken
            except BaseException:
                self._withdraw(ticket)
                raise
            finally:
                timer.cancel()
            store.unwait(ticket)

    async def purge(
        self,
        kinds: StateFilter | Iterable[StateFilter],
        older_than: Seconds,
        limit: int | None = 1000,
    ) -> int:
        return self._store.purge(kinds, older_than, limit)

    async def verify(self) -> builtins.list[str]:
        return self._store.verify()

    def clone(self) -> MemoryStorage:
        clone = object.__new__(type(self))
        clone._config = self._config
        clone._store = self._store.clone()
        return clone

    async def open(self) -> None:
        self._store.open()

    async def close(self) -> None:
        self._store.close()

    def _withdraw(self, ticket: int) -> None:
        """Takes a waiter back that will not claim; if it was woken already, the next one is woken in its place."""
        if not self._store.unwait(ticket):
            self._store.pass_on()

    # ------------------------------------------------------------------ the synchronous twins

    def enqueue_nowait(self, job: Job, *, if_exists: IfExists = "error") -> bool:
        """`enqueue`, from any thread."""
        return self._store.enqueue(job, if_exists)

    def get_nowait(self, job_id: str) -> Job | None:
        """`get`, from any thread."""
        return self._store.get(job_id)

    def update_nowait(self, job: Job) -> None:
        """`update`, from any thread."""
        self._store.update(job)

    def delete_nowait(self, job_id: str) -> bool:
        """`delete`, from any thread."""
        return self._store.delete(job_id)

    def list_nowait(
        self,
        state_filter: StateFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        *,
        queue: str | None = None,
        after: Job | int | None = None,
    ) -> builtins.list[Job]:
        """`list`, from any thread."""
        return self._store.list(state_filter, limit, offset, queue, after)

    def get_job_counts_nowait(self) -> dict[JobStateKind, int]:
        """`get_job_counts`, from any thread."""
        return self._store.get_job_counts()

    def get_available_jobs_nowait(self, limit: int | None = None) -> builtins.list[Job]:
        """`get_available_jobs`, from any thread."""
        return self._store.get_available_jobs(limit)

    def fetch_and_lock_job_nowait(
        self,
        worker_id: str,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> Job | None:
        """`fetch_and_lock_job`, from any thread."""
        return self._store.fetch_and_lock_job(worker_id, queues, lock_timeout)

    def fetch_available_jobs_atomic_nowait(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        """`fetch_available_jobs_atomic`, from any thread."""
        return self._store.fetch_available_jobs_atomic(worker_id, limit, queues, lock_timeout)

    def extend_job_locks_nowait(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        """`extend_job_locks`, from any thread."""
        return self._store.extend_job_locks(jobs, lock_timeout)

    def release_jobs_nowait(self, jobs: Iterable[Job], *, delay: Seconds | None = None) -> builtins.list[bool]:
        """`release_jobs`, from any thread."""
        return self._store.release_jobs(jobs, delay)

    def try_acquire_job_lock_nowait(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        """`try_acquire_job_lock`, from any thread."""
        return self._store.try_acquire_job_lock(job_id, worker_id, timeout_seconds)

    def release_job_lock_nowait(self, job_id: str, worker_id: str) -> bool:
        """`release_job_lock`, from any thread."""
        return self._store.release_job_lock(job_id, worker_id)

    def enqueue_many_nowait(self, jobs: Iterable[Job], *, if_exists: IfExists = "error") -> builtins.list[bool]:
        """`enqueue_many`, from any thread."""
        return self._store.enqueue_many(jobs, if_exists)

    def update_many_nowait(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        """`update_many`, from any thread."""
        return self._store.update_many(jobs)

    def purge_nowait(
        self,
        kinds: StateFilter | Iterable[StateFilter],
        older_than: Seconds,
        limit: int | None = 1000,
    ) -> int:
        """`purge`, from any thread."""
        return self._store.purge(kinds, older_than, limit)

    def verify_nowait(self) -> builtins.list[str]:
        """`verify`, from any thread."""
        return self._store.verify()

    # ------------------------------------------------------------------ for tests

    def __len__(self) -> int:
        """How many jobs are stored, whatever their state."""
        return self._store.length()

    def __bool__(self) -> bool:
        # An empty store is a store: `if storage:` asks whether there is one.
        return True

    def clear(self) -> None:
        """Removes every job and lock. Sequences and tokens go on."""
        self._store.clear()

    def __repr__(self) -> str:
        return f"<MemoryStorage at {id(self):#x}>"


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _waker:  # noqa: N801 - a closure with slots: one is made for every wait
    """Wakes one waiter from any thread; False where its event loop has ended."""

    __slots__ = ("_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
        self._loop = loop
        self._woken = woken

    def __call__(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(_settle, self._woken)
        except RuntimeError:
            return False
        return True
