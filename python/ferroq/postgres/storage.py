"""The Postgres backend: durable, many processes, one statement or one short transaction an operation."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Final

from .._lifecycle import Life
from .._native import (
    Job,
    check_claim,
    check_limit,
    check_list,
    check_name,
    check_purge,
    check_seconds,
    enqueue_columns,
    renew,
    restore,
    snapshot,
)
from ..errors import (
    ConfigurationError,
    StorageError,
)
from ..kinds import JobStateKind
from ..storage import IfExists, Seconds, StateFilter, Storage
from .claims import TAKEOVER
from .clock import Clock
from .config import PostgresConfig
from .connection import Connection
from .opened import Open
from .queries import Queries
from .records import BACKEND, CHUNK
from .words import decoded, doubtful, held_by, items_of, jobs_of, key, pages, skips

_LOCK_SECONDS: Final = (0.001, 31_536_000.0)
_ANY_SECONDS: Final = (0.0, 8_993_721_600.0)
_KINDS: Final = (
    JobStateKind.ENQUEUED,
    JobStateKind.PROCESSING,
    JobStateKind.SUCCEEDED,
    JobStateKind.FAILED,
    JobStateKind.DELETED,
    JobStateKind.SCHEDULED,
    JobStateKind.AWAITING_RETRY,
)
"""By their numbers in the native module and in the tables."""

_LAST_SEQUENCE: Final = 2**63 - 1
_FRONT: Final = (-(2**31), -(2**63), 0)  # before the first key of the line
_GRACE: Final = 0.25
_FINDINGS: Final = 100  # of one sort in a self-audit


class PostgresStorage(Storage):
    """Jobs in PostgreSQL, 15 or later.

    Args:
        config: a `PostgresConfig`; None for its defaults, which read DATABASE_URL.

    The schema is made by `ferroq migrate`, or by `auto_migrate=True`. `enqueue` and `enqueue_many` take two arguments
    more than the interface: `connection`, an asyncpg connection of yours, makes the jobs part of its transaction, and
    `wake=False` leaves it to the poll of the waiters to find them.
    """

    __slots__ = ("__weakref__", "_clock", "_config", "_life", "_queries")

    def __init__(self, config: PostgresConfig | None = None) -> None:
        if config is None:
            config = PostgresConfig()
        elif not isinstance(config, PostgresConfig):
            raise TypeError(f"config must be a PostgresConfig, not {type(config).__name__}")
        self._config = config
        self._queries = Queries(config.schema_name)
        self._clock = Clock()
        self._life: Life[Open] = Life(BACKEND)

    @property
    def config(self) -> PostgresConfig:
        """What the storage was made with."""
        return self._config

    # ------------------------------------------------------------------ life

    async def _connected(self, operation: str) -> Open:
        return await self._life.open(operation, self._connect, Open.close)

    async def _connect(self, operation: str) -> Open:
        opened = Open(self._config, self._queries, self._clock, self._life)
        try:
            await opened.connections.open(operation)
        except BaseException:
            await opened.close()
            raise
        return opened

    async def open(self) -> None:
        if self._life.enter("open") is None:
            await self._connected("open")

    async def close(self) -> None:
        opened = self._life.end()
        if opened is None:
            return
        patience = self._config.command_timeout
        started = time.monotonic()
        try:
            await opened.wakeups.close()
            await self._life.idle(patience)
            await opened.claims.finish(min(1.0, patience))
        finally:  # also if it is cancelled: nobody comes back for the connections
            # What is in flight now is being cancelled, as its own time is up too: the server gets a moment to say so.
            await opened.connections.close(min(1.0, max(_GRACE, patience - (time.monotonic() - started))))

    def clone(self) -> PostgresStorage:
        self._life.check_clone()
        if self._config.pool is not None:
            raise ConfigurationError(
                "clone: the storage works over your own pool; make another storage over another pool",
                backend=BACKEND,
                operation="clone",
            )
        other = PostgresStorage(self._config)
        other._clock = self._clock
        return other

    # ------------------------------------------------------------------ single jobs

    async def enqueue(
        self,
        job: Job,
        *,
        if_exists: IfExists = "error",
        connection: Connection | None = None,
        wake: bool = True,
    ) -> bool:
        return (await self._enqueue("enqueue", [job], if_exists, connection, wake))[0]

    async def get(self, job_id: str) -> Job | None:
        opened = self._life.enter("get")
        check_name("job_id", job_id, BACKEND, "get")
        opened = opened or await self._connected("get")
        with self._life:
            rows = await opened.connections.fetch("get", self._queries.get, job_id)
        for job in restore(rows, BACKEND, "get"):
            if isinstance(job, Exception):
                raise job
            return job
        return None

    async def update(self, job: Job) -> None:
        opened = self._life.enter("update")
        if not isinstance(job, Job):
            raise TypeError(f"job must be a Job, not {type(job).__name__}")
        if opened is None:
            # What is wrong with it is said before anything connects; later on it is looked at once, by the update.
            snapshot([job], self._config.max_payload_bytes, BACKEND, "update")
            opened = await self._connected("update")
        with self._life:
            [verdict] = await opened.update("update", [job])
            if verdict is not None:
                raise verdict

    async def delete(self, job_id: str) -> bool:
        opened = self._life.enter("delete")
        check_name("job_id", job_id, BACKEND, "delete")
        opened = opened or await self._connected("delete")
        with self._life:
            return await opened.writes.delete("delete", job_id)

    # ------------------------------------------------------------------ reading many

    async def list(
        self,
        state_filter: StateFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        *,
        queue: str | None = None,
        after: Job | int | None = None,
    ) -> builtins.list[Job]:
        opened = self._life.enter("list")
        kind, most, skip, queue, below = check_list(state_filter, limit, offset, queue, after, BACKEND, "list")
        opened = opened or await self._connected("list")
        with self._life:
            before = _LAST_SEQUENCE if below is None else below
            extra = () if kind in (None, 0, 1) else (kind,)
            while skip > 0:
                step = min(skip, CHUNK)
                row = await opened.connections.fetchrow("list", self._queries.skip[kind], before, step, queue, *extra)
                if row["skipped"] < step:
                    return []
                skip -= step
                before = row["last"]
            jobs: builtins.list[Job] = []
            while most is None or len(jobs) < most:
                step = CHUNK if most is None else min(CHUNK, most - len(jobs))
                rows = await opened.connections.fetch("list", self._queries.list[kind], before, step, queue, *extra)
                jobs += decoded("list", rows)
                if len(rows) < step:
                    break
                before = rows[-1]["seq"]
            return jobs

    async def get_job_counts(self) -> dict[JobStateKind, int]:
        opened = self._life.enter("get_job_counts") or await self._connected("get_job_counts")
        with self._life:
            rows = await opened.connections.fetch("get_job_counts", self._queries.counts)
            return dict.fromkeys(JobStateKind, 0) | {_KINDS[row["kind"]]: row["count"] for row in rows}

    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        operation = "get_available_jobs"
        opened = self._life.enter(operation)
        most = check_limit("limit", limit, 2**31 - 1, BACKEND, operation)
        opened = opened or await self._connected(operation)
        with self._life:
            if most == 0:
                return []
            fetch, offset, crashes = opened.connections.fetch, self._clock.offset, self._config.max_crashes
            budget = max(TAKEOVER, min(CHUNK, most or 0))
            wave = await fetch(operation, self._queries.wave, offset, budget, crashes)
            step = CHUNK if most is None else min(CHUNK, most)
            jobs: builtins.list[Job] = []
            last, ended = _FRONT, False
            while not ended and (most is None or len(jobs) < most):
                page = await fetch(operation, self._queries.available, offset, step, crashes, *last)
                ended = len(page) < step
                last = key(page[-1]) if page else last
                # A claim between the two reads may have put some of the wave in line.
                there = {row["seq"] for row in page}
                ahead = [row for row in wave if row["seq"] not in there and (ended or key(row) <= last)]
                wave = [row for row in wave if key(row) > last]
                jobs += decoded(operation, builtins.list(merge(page, ahead, key=key)))
            return jobs[:most]

    # ------------------------------------------------------------------ claims

    async def fetch_and_lock_job(
        self,
        worker_id: str,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> Job | None:
        jobs = await self._claim("fetch_and_lock_job", worker_id, 1, queues, lock_timeout)
        return jobs[0] if jobs else None

    async def fetch_available_jobs_atomic(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        return await self._claim("fetch_available_jobs_atomic", worker_id, limit, queues, lock_timeout)

    async def _claim(
        self,
        operation: str,
        worker_id: str,
        limit: int | None,
        queues: Sequence[str] | None,
        lock_timeout: float | None,
    ) -> builtins.list[Job]:
        opened = self._life.enter(operation)
        worker = check_name("worker_id", worker_id, BACKEND, operation)
        most, names, length = check_claim(limit, queues, lock_timeout, BACKEND, operation)
        opened = opened or await self._connected(operation)
        if most == 0:
            return []
        with self._life:
            return await opened.claims.claim(
                operation, worker, 10 if most is None else most, names, self._length(length)
            )

    def _length(self, length: int | None) -> int:
        return round(self._config.lock_timeout * 1_000_000) if length is None else length

    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        operation = "extend_job_locks"
        opened = self._life.enter(operation)
        _, _, length = check_claim(None, None, lock_timeout, BACKEND, operation)
        held = held_by(jobs)
        opened = opened or await self._connected(operation)
        with self._life:
            renewed: dict[int, int] = {}
            tokens = {token: (job.id, job.sequence, token) for job, token in held if token is not None}
            with doubtful(renewed):
                for page in pages(builtins.list(tokens.values())):
                    await opened.writes.extend(operation, page, self._length(length), renewed)
            for job, token in held:
                if token in renewed:
                    renew(job, token, renewed[token])
            return [token in renewed for _, token in held]

    async def release_jobs(self, jobs: Iterable[Job], *, delay: Seconds | None = None) -> builtins.list[bool]:
        operation = "release_jobs"
        opened = self._life.enter(operation)
        pause = None
        if delay is not None:
            # No delay and a delay of nothing are one: the job keeps its place in line.
            pause = check_seconds("delay", delay, (0.0, _LOCK_SECONDS[1]), True, BACKEND, operation) or None
        held = held_by(jobs)
        opened = opened or await self._connected(operation)
        with self._life:
            return await opened.release(operation, held, pause)

    # ------------------------------------------------------------------ explicit locks

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        operation = "try_acquire_job_lock"
        opened = self._life.enter(operation)
        check_name("job_id", job_id, BACKEND, operation)
        check_name("worker_id", worker_id, BACKEND, operation)
        length = check_seconds("timeout_seconds", timeout_seconds, _LOCK_SECONDS, False, BACKEND, operation)
        opened = opened or await self._connected(operation)
        with self._life:
            return await opened.locks.try_acquire(operation, job_id, worker_id, length)

    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        operation = "release_job_lock"
        opened = self._life.enter(operation)
        check_name("job_id", job_id, BACKEND, operation)
        check_name("worker_id", worker_id, BACKEND, operation)
        opened = opened or await self._connected(operation)
        with self._life:
            freed, queue = await opened.locks.release(operation, job_id, worker_id)
            if queue is not None:
                opened.wakeups.announce({queue: 1})
            return freed

    # ------------------------------------------------------------------ batches

    async def enqueue_many(
        self,
        jobs: Iterable[Job],
        *,
        if_exists: IfExists = "error",
        connection: Connection | None = None,
        wake: bool = True,
    ) -> builtins.list[bool]:
        return await self._enqueue("enqueue_many", jobs, if_exists, connection, wake)

    async def _enqueue(
        self, operation: str, jobs: Iterable[Job], if_exists: str, connection: Connection | None, wake: bool
    ) -> builtins.list[bool]:
        opened = self._life.enter(operation)
        skip = skips(if_exists, operation)
        if not isinstance(wake, bool):
            raise TypeError(f"wake must be a bool, not {type(wake).__name__}")
        # A pool has some of these too, but no transaction to be part of.
        if connection is not None and not all(hasattr(connection, name) for name in ("fetch", "is_in_transaction")):
            raise TypeError(f"connection must be an asyncpg connection, not {type(connection).__name__}")
        given = jobs_of(jobs)
        common = items = None
        if connection is None and not skip:
            common = enqueue_columns(given, self._config.max_payload_bytes, BACKEND, operation)
        if common is None:
            items = items_of(operation, given, self._config.max_payload_bytes)
        opened = opened or await self._connected(operation)
        with self._life:
            if common is not None:
                return await opened.enqueue_common(operation, given, common, wake)
            assert items is not None
            return await opened.enqueue(operation, items, skip, connection, wake)

    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        opened = self._life.enter("update_many")
        given = jobs_of(jobs)
        opened = opened or await self._connected("update_many")
        with self._life:
            return await opened.update("update_many", given)

    # ------------------------------------------------------------------ waiting, housekeeping

    async def wait_for_jobs(self, queues: Sequence[str] | None = None, timeout: float | None = None) -> bool:
        operation = "wait_for_jobs"
        opened = self._life.enter(operation)
        _, names, _ = check_claim(None, queues, None, BACKEND, operation)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout, _ANY_SECONDS, False, BACKEND, operation) / 1_000_000
        opened = opened or await self._connected(operation)
        # Not counted as in flight: close() wakes it with an error instead of waiting for it.
        try:
            return await opened.wakeups.wait(operation, names, timeout)
        except StorageError:
            self._life.enter(operation)
            raise

    async def purge(
        self,
        kinds: StateFilter | Iterable[StateFilter],
        older_than: Seconds,
        limit: int | None = 1000,
    ) -> int:
        opened = self._life.enter("purge")
        numbers, age, most = check_purge(kinds, older_than, limit, BACKEND, "purge")
        opened = opened or await self._connected("purge")
        with self._life:
            steps: builtins.list[int] = []
            with doubtful(steps):
                while most is None or sum(steps) < most:
                    step = CHUNK if most is None else min(CHUNK, most - sum(steps))
                    row = await opened.connections.fetchrow(
                        "purge", self._queries.purge, self._clock.offset, numbers, age, step
                    )
                    steps.append(row["deleted"])
                    if row["looked_at"] < step:
                        break
            return sum(steps)

    async def verify(self) -> builtins.list[str]:
        opened = self._life.enter("verify") or await self._connected("verify")
        with self._life:
            fetch = opened.connections.fetch
            found = [row["finding"] for row in await fetch("verify", self._queries.verify, _FINDINGS)]
            before, broken = _LAST_SEQUENCE, 0
            while broken < _FINDINGS:
                rows = await fetch("verify", self._queries.list[None], before, CHUNK, None)
                for job in restore(rows, BACKEND, "verify"):
                    if isinstance(job, Exception):
                        found.append(str(job))
                        broken += 1
                if len(rows) < CHUNK:
                    break
                before = rows[-1]["seq"]
            return found
