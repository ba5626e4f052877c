"""The Postgres backend: durable, many processes, one statement or one short transaction an operation."""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from heapq import merge
from typing import TYPE_CHECKING, Any, Final

from .._native import (
    Job,
    check_claim,
    check_limit,
    check_list,
    check_name,
    check_purge,
    check_seconds,
    enqueue_columns,
    fork_epoch,
    renew,
    restore,
    settle_columns,
    snapshot,
)
from ..errors import (
    ConfigurationError,
    ForkedStorageError,
    LoopMismatchError,
    StorageClosedError,
    StorageError,
)
from ..kinds import JobStateKind
from ..storage import IfExists, Seconds, StateFilter, Storage
from .claims import TAKEOVER, Claims
from .clock import Clock
from .common import Common
from .config import PostgresConfig
from .connection import Connection, Connections
from .listener import Wakeups
from .locks import Locks
from .queries import Queries
from .records import BACKEND, CHUNK, FINAL, ID, KIND, PROCESSING, TOKEN, Accepted, Item, chunks
from .words import RECORD, decoded, doubtful, held_by, jobs_of, key, pages, skips, write_back
from .writes import Writes

if TYPE_CHECKING:
    from .._rows import EnqueueColumns

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
_EXPIRE_STEP: Final = CHUNK  # a kind, once a second
_FINDINGS: Final = 100  # of one sort in a self-audit

_choosing = threading.Lock()

# When this process last purged what a store keeps for a time only, by store.
_expired: dict[tuple[str, str], float] = {}


class _Open:
    """What a storage has while it is open, on one loop of one process."""

    def __init__(self, config: PostgresConfig, queries: Queries, clock: Clock, give_back: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.epoch = fork_epoch()
        self.connections = Connections(config, queries)
        self.writes = Writes(self.connections, clock)
        self.common = Common(self.connections, clock)
        self.locks = Locks(self.connections, clock)
        self.claims = Claims(self.connections, clock, give_back)
        self.wakeups = Wakeups(self.connections, clock)


class PostgresStorage(Storage):
    """Jobs in PostgreSQL, 15 or later.

    Args:
        config: a `PostgresConfig`; None for its defaults, which read DATABASE_URL.

    The schema is made by `ferroq migrate`, or by `auto_migrate=True`. `enqueue` and `enqueue_many` take two arguments
    more than the interface: `connection`, an asyncpg connection of yours, makes the jobs part of its transaction, and
    `wake=False` leaves it to the poll of the waiters to find them.
    """

    __slots__ = ("__weakref__", "_active", "_clock", "_closed", "_config", "_idle", "_open", "_opening", "_queries")

    def __init__(self, config: PostgresConfig | None = None) -> None:
        if config is None:
            config = PostgresConfig()
        elif not isinstance(config, PostgresConfig):
            raise TypeError(f"config must be a PostgresConfig, not {type(config).__name__}")
        self._config = config
        self._queries = Queries(config.schema_name)
        self._clock = Clock()
        self._open: _Open | None = None
        self._opening: tuple[int, asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._active = 0
        self._idle: asyncio.Event | None = None
        self._closed = False

    @property
    def config(self) -> PostgresConfig:
        """What the storage was made with."""
        return self._config

    # ------------------------------------------------------------------ life

    def _checked(self, operation: str) -> _Open | None:
        """What is open, if this is the loop and the process for it."""
        if self._closed:
            raise StorageClosedError(f"{operation}: the storage was closed", backend=BACKEND, operation=operation)
        opened = self._open
        if opened is None:
            return None
        if opened.epoch != fork_epoch():
            raise ForkedStorageError(
                f"{operation}: the storage was opened before a fork; use a clone made before it",
                backend=BACKEND,
                operation=operation,
            )
        if opened.loop is not asyncio.get_running_loop():
            raise LoopMismatchError(
                f"{operation}: the storage belongs to another event loop; use clone()",
                backend=BACKEND,
                operation=operation,
            )
        return opened

    async def _ready(self, operation: str) -> _Open:
        opened = self._checked(operation)
        if opened is not None:
            return opened
        async with self._turn(operation):
            opened = self._checked(operation)
            if opened is None:
                opened = _Open(self._config, self._queries, self._clock, self._give_back)
                try:
                    await opened.connections.open(operation)
                    self._checked(operation)
                except BaseException:
                    await opened.wakeups.close()
                    await opened.connections.close()
                    raise
                self._open = opened
        return opened

    def _turn(self, operation: str) -> asyncio.Lock:
        """The lock under which the storage is opened: of the loop that tries it first, and of no other beside it."""
        running = asyncio.get_running_loop()
        with _choosing:
            if self._opening is not None:
                epoch, loop, lock = self._opening
                if epoch == fork_epoch() and loop is running:
                    return lock
                if epoch == fork_epoch() and loop.is_running():
                    raise LoopMismatchError(
                        f"{operation}: the storage is being opened on another event loop; use clone()",
                        backend=BACKEND,
                        operation=operation,
                    )
            lock = asyncio.Lock()
            self._opening = (fork_epoch(), running, lock)
            return lock

    @asynccontextmanager
    async def _operation(self, operation: str) -> AsyncIterator[_Open]:
        opened = await self._ready(operation)
        self._active += 1
        try:
            yield opened
        except StorageError as error:
            if self._closed and error.retryable:
                # Cut off by close(), which had waited for as long as it may.
                raise StorageClosedError(
                    f"{operation}: the storage was closed", backend=BACKEND, operation=operation, outcome=error.outcome
                ) from error
            raise
        finally:
            self._active -= 1
            if self._active == 0 and self._idle is not None:
                self._idle.set()

    async def open(self) -> None:
        await self._ready("open")

    async def close(self) -> None:
        if self._closed:
            return
        opened = self._checked("close")
        self._closed = True
        if opened is None:
            return
        await opened.wakeups.close()
        patience = self._config.command_timeout
        started = time.monotonic()
        if self._active:
            self._idle = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._idle.wait()
        await opened.claims.finish(min(1.0, patience))
        # What is in flight now is being cancelled, as its own time is up too: the server gets a moment to say so.
        await opened.connections.close(min(1.0, max(_GRACE, patience - (time.monotonic() - started))))

    def clone(self) -> PostgresStorage:
        if self._open is not None and self._open.epoch != fork_epoch():
            raise ForkedStorageError(
                "clone: the storage was inherited through a fork; make the clone before it",
                backend=BACKEND,
                operation="clone",
            )
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
        async with self._operation("get") as opened:
            check_name("job_id", job_id, BACKEND, "get")
            rows = await opened.connections.fetch("get", self._queries.get, job_id)
            for job in restore([row[RECORD] for row in rows], BACKEND, "get"):
                if isinstance(job, Exception):
                    raise job
                return job
            return None

    async def update(self, job: Job) -> None:
        async with self._operation("update") as opened:
            if not isinstance(job, Job):
                raise TypeError(f"job must be a Job, not {type(job).__name__}")
            [verdict] = await self._update_all(opened, "update", [job])
            if verdict is not None:
                raise verdict

    async def delete(self, job_id: str) -> bool:
        async with self._operation("delete") as opened:
            check_name("job_id", job_id, BACKEND, "delete")
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
        async with self._operation("list") as opened:
            kind, most, skip, queue, below = check_list(state_filter, limit, offset, queue, after, BACKEND, "list")
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
        async with self._operation("get_job_counts") as opened:
            rows = await opened.connections.fetch("get_job_counts", self._queries.counts)
            return dict.fromkeys(JobStateKind, 0) | {_KINDS[row["kind"]]: row["count"] for row in rows}

    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        operation = "get_available_jobs"
        async with self._operation(operation) as opened:
            most = check_limit("limit", limit, 2**31 - 1, BACKEND, operation)
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
        async with self._operation(operation) as opened:
            worker = check_name("worker_id", worker_id, BACKEND, operation)
            most, names, length = check_claim(limit, queues, lock_timeout, BACKEND, operation)
            if most == 0:
                return []
            return await opened.claims.claim(
                operation, worker, 10 if most is None else most, names, self._length(length)
            )

    def _length(self, length: int | None) -> int:
        return round(self._config.lock_timeout * 1_000_000) if length is None else length

    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        operation = "extend_job_locks"
        async with self._operation(operation) as opened:
            _, _, length = check_claim(None, None, lock_timeout, BACKEND, operation)
            held = held_by(jobs)
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
        async with self._operation(operation):
            pause = None
            if delay is not None:
                # No delay and a delay of nothing are one: the job keeps its place in line.
                pause = check_seconds("delay", delay, (0.0, _LOCK_SECONDS[1]), True, BACKEND, operation) or None
            return await self._release(operation, held_by(jobs), pause)

    async def _release(
        self, operation: str, held: Sequence[tuple[Job, int | None]], delay: int | None
    ) -> builtins.list[bool]:
        opened = self._open
        assert opened is not None
        first: dict[int, int] = {}
        for place, (_, token) in enumerate(held):
            if token is not None:
                first.setdefault(token, place)
        items = [(place, held[place][0].id, held[place][0].sequence, token) for token, place in first.items()]
        accepted: dict[int, Accepted] = {}
        with doubtful(accepted):
            for page in pages(items):
                opened.wakeups.announce(await opened.writes.release(operation, page, delay, accepted))
        answers = []
        for job, token in held:
            made = accepted.get(first[token]) if token is not None else None
            answers.append(made is not None)
            if made is not None:
                write_back(job, made)
        return answers

    async def _give_back(self, operation: str, jobs: Sequence[Job]) -> None:
        """Of a cancelled call: its claims, which no caller received."""
        await self._release(operation, held_by(jobs), None)

    # ------------------------------------------------------------------ explicit locks

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        operation = "try_acquire_job_lock"
        async with self._operation(operation) as opened:
            check_name("job_id", job_id, BACKEND, operation)
            check_name("worker_id", worker_id, BACKEND, operation)
            length = check_seconds("timeout_seconds", timeout_seconds, _LOCK_SECONDS, False, BACKEND, operation)
            return await opened.locks.try_acquire(operation, job_id, worker_id, length)

    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        operation = "release_job_lock"
        async with self._operation(operation) as opened:
            check_name("job_id", job_id, BACKEND, operation)
            check_name("worker_id", worker_id, BACKEND, operation)
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
        async with self._operation(operation) as opened:
            skip = skips(if_exists, operation)
            if not isinstance(wake, bool):
                raise TypeError(f"wake must be a bool, not {type(wake).__name__}")
            # A pool has some of these too, but no transaction to be part of.
            if connection is not None and not all(hasattr(connection, name) for name in ("fetch", "is_in_transaction")):
                raise TypeError(f"connection must be an asyncpg connection, not {type(connection).__name__}")
            given = jobs_of(jobs)
            if connection is None and not skip:
                common = enqueue_columns(given, self._config.max_payload_bytes, BACKEND, operation)
                if common is not None:
                    return await self._enqueue_common(opened, operation, given, common, wake)
            rows = snapshot(given, self._config.max_payload_bytes, BACKEND, operation)
            items = [Item(place, job, row) for place, (job, row) in enumerate(zip(given, rows, strict=True))]
            answers = [False] * len(items)
            for chunk in chunks(items):
                work = self._enqueue_chunk(opened, operation, chunk, skip, connection, wake, answers)
                try:
                    if connection is None and any(item.row[KIND] == PROCESSING for item in chunk):
                        # The jobs come back claimed: a cancelled caller never gets to know of it. In the caller's own
                        # transaction it is the caller's rollback that gives them back.
                        await opened.claims.unless_cancelled(operation, work)
                    else:
                        await work
                except StorageError as error:
                    error.stored = sum(answers) if operation == "enqueue_many" else 0
                    raise
            if connection is None and any(item.row[KIND] in FINAL for item in items):
                await self._expire(opened)
            return answers

    async def _enqueue_common(
        self,
        opened: _Open,
        operation: str,
        given: builtins.list[Job],
        chunks: Sequence[tuple[int, EnqueueColumns]],
        wake: bool,
    ) -> builtins.list[bool]:
        """Stores chunks of enqueued jobs, no id twice."""
        stored = 0
        for count, columns in chunks:
            chunk = given[stored : stored + count]
            try:
                available = await opened.common.enqueue(operation, chunk, columns)
                if available is None:
                    # An id is stored, or was while we looked: the way of rows says which, or stores them after all.
                    rows = snapshot(chunk, self._config.max_payload_bytes, BACKEND, operation)
                    items = [Item(place, job, row) for place, (job, row) in enumerate(zip(chunk, rows, strict=True))]
                    await self._enqueue_chunk(opened, operation, items, False, None, wake, [False] * count)
                elif wake:
                    opened.wakeups.announce(available)
            except StorageError as error:
                error.stored = stored if operation == "enqueue_many" else 0
                raise
            stored += count
        return [True] * stored

    async def _enqueue_chunk(
        self,
        opened: _Open,
        operation: str,
        chunk: Sequence[Item],
        skip: bool,
        connection: Connection | None,
        wake: bool,
        answers: builtins.list[bool],
    ) -> builtins.list[Job]:
        """Stores a chunk and writes back; its jobs."""
        first: dict[str, Item] = {}
        for item in chunk:
            first.setdefault(item.row[ID], item)
        fresh = builtins.list(first.values())
        if len(fresh) < len(chunk) and not skip:
            raise await opened.writes.twice(operation, chunk, fresh, connection)
        accepted, queues = await opened.writes.enqueue(operation, fresh, skip=skip, connection=connection)
        for item, made in zip(fresh, accepted, strict=True):
            if made is not None:
                answers[item.place] = True
                write_back(item.job, made)
        if wake and connection is None:
            opened.wakeups.announce(queues)
        elif wake and queues:
            payloads = opened.wakeups.payloads(queues)
            await opened.connections.on(
                connection,
                operation,
                lambda conn: conn.execute(self._queries.notify_within, opened.wakeups.channel, payloads),
            )
        return [item.job for item in fresh]

    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        async with self._operation("update_many") as opened:
            return await self._update_all(opened, "update_many", jobs_of(jobs))

    async def _update_all(
        self, opened: _Open, operation: str, given: builtins.list[Job]
    ) -> builtins.list[StorageError | None]:
        verdicts: builtins.list[StorageError | None] = [None] * len(given)
        for start in range(0, len(given), CHUNK):
            page = given[start : start + CHUNK]
            left, again = builtins.list(range(len(page))), False
            columns = settle_columns(page, self._config.max_payload_bytes)
            if columns is not None:
                try:
                    left, wake, again = await opened.common.settle(operation, page, columns)
                    opened.wakeups.announce(wake)
                except StorageError as error:
                    verdicts[start : start + len(page)] = [error] * len(page)
                    left = []
                await self._expire(opened)
            items = []
            for place in left:
                # What a job cannot carry is that job's verdict; the others go on.
                try:
                    [row] = snapshot([page[place]], self._config.max_payload_bytes, BACKEND, operation)
                except StorageError as error:
                    verdicts[start + place] = error
                else:
                    items.append(Item(start + place, page[place], row))
            for chunk in chunks(items, unique=True):
                found = await self._update(opened, operation, chunk, again)
                for item, verdict in zip(chunk, found, strict=True):
                    verdicts[item.place] = verdict
        if self._closed:
            for verdict in verdicts:
                if verdict is not None and verdict.retryable:
                    raise verdict  # cut off by close()
        return verdicts

    async def _update(
        self, opened: _Open, operation: str, chunk: Sequence[Item], again: bool
    ) -> builtins.list[StorageError | None]:
        """Updates a chunk and writes back; a verdict each."""
        verdicts: builtins.list[StorageError | None] = []

        async def work() -> builtins.list[Job]:
            found, wake = await opened.writes.update(operation, chunk, again=again)
            opened.wakeups.announce(wake)
            taken = []
            for item, verdict in zip(chunk, found, strict=True):
                if isinstance(verdict, Accepted):
                    write_back(item.job, verdict)
                    if verdict.lock is not None and item.row[TOKEN] is None:
                        taken.append(item.job)
                    verdicts.append(None)
                else:
                    verdicts.append(verdict)
            return taken

        if any(item.row[KIND] == PROCESSING for item in chunk):
            await opened.claims.unless_cancelled(operation, work())
        else:
            await work()
        await self._expire(opened)
        return verdicts

    # ------------------------------------------------------------------ waiting, housekeeping

    async def wait_for_jobs(self, queues: Sequence[str] | None = None, timeout: float | None = None) -> bool:
        operation = "wait_for_jobs"
        opened = await self._ready(operation)
        _, names, _ = check_claim(None, queues, None, BACKEND, operation)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout, _ANY_SECONDS, False, BACKEND, operation) / 1_000_000
        # Not counted as in flight: close() wakes it with an error instead of waiting for it.
        try:
            return await opened.wakeups.wait(operation, names, timeout)
        except StorageError:
            self._checked(operation)
            raise

    async def purge(
        self,
        kinds: StateFilter | Iterable[StateFilter],
        older_than: Seconds,
        limit: int | None = 1000,
    ) -> int:
        async with self._operation("purge") as opened:
            numbers, age, most = check_purge(kinds, older_than, limit, BACKEND, "purge")
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

    async def _expire(self, opened: _Open) -> None:
        """Purges a step of what is kept for a time only, at most once a second in this process [C1]."""
        config = self._config
        keeps = zip(FINAL, (config.keep_succeeded, config.keep_failed, config.keep_deleted), strict=True)
        limited = [(kind, keep) for kind, keep in keeps if keep]
        if not limited:
            return
        store = (opened.connections.store, config.schema_name)
        if time.monotonic() < _expired.get(store, 0.0) + 1.0:
            return
        _expired[store] = time.monotonic()
        for kind, keep in limited:
            # The settlement stands, whatever becomes of this.
            with suppress(StorageError):
                age = round(keep * 1_000_000)
                await opened.connections.fetchrow(
                    "purge", self._queries.purge, self._clock.offset, [kind], age, _EXPIRE_STEP
                )

    async def verify(self) -> builtins.list[str]:
        async with self._operation("verify") as opened:
            fetch = opened.connections.fetch
            found = [row["finding"] for row in await fetch("verify", self._queries.verify, _FINDINGS)]
            before, broken = _LAST_SEQUENCE, 0
            while broken < _FINDINGS:
                rows = await fetch("verify", self._queries.list[None], before, CHUNK, None)
                for job in restore([row[RECORD] for row in rows], BACKEND, "verify"):
                    if isinstance(job, Exception):
                        found.append(str(job))
                        broken += 1
                if len(rows) < CHUNK:
                    break
                before = rows[-1]["seq"]
            return found
