"""`RedisStorage`: the contract over Redis or Valkey. One script an operation; what they do is said in their files."""

from __future__ import annotations

import builtins
import contextlib
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .. import _native
from .._lifecycle import Life
from .._native import Job
from ..errors import (
    AuthenticationError,
    ConfigurationError,
    CorruptJobError,
    InvalidArgumentError,
    JobAlreadyExistsError,
    JobLockedError,
    StorageError,
    StorageWarning,
)
from ..kinds import JobStateKind
from ..storage import IfExists, Seconds, StateFilter, Storage
from . import batches, scripts
from .audit import audit
from .claims import Claims
from .client import Client
from .config import RedisConfig
from .faults import BACKEND, code_of
from .server import complaints, facts
from .waiter import Waiters
from .wire import Argument

if TYPE_CHECKING:
    from .._rows import NewRun, UpdateRun

KINDS: Final = tuple(JobStateKind(kind) for kind in batches.KIND_NAMES)
PAGE: Final = 1000
PAGE_BYTES: Final = 16 * 1024 * 1024
_LOCK_RANGE: Final = (0.001, 31_536_000.0)
_ANY_RANGE: Final = (0.0, 8_993_721_600.0)
_PURGE_PAUSE: Final = 1.0
_UNOPENED: Final = -1
_FINAL: Final = frozenset("234")
_PROCESSING: Final = "1"


@dataclass(frozen=True, slots=True)
class Open:
    """What a storage has while it is open, on one loop of one process."""

    client: Client
    claims: Claims
    waiters: Waiters

    async def close(self) -> None:
        try:
            await self.waiters.close()
        finally:
            await self.client.close()


class RedisStorage(Storage):
    """Jobs on a Redis (7.0 or newer) or Valkey server: many processes on many machines, one atomic script an operation.

    It opens on its first use, by `async with`, or by `await`; it belongs to the event loop that opened it.

    Args:
        config: a `RedisConfig`; None is one of defaults, with the server that `REDIS_URL` names.
    """

    __slots__ = ("_config", "_keep", "_life", "_lock", "_unkept")

    # By store, over all storages of this process: finished jobs are purged at most once a second [C1].
    _next_purge: ClassVar[dict[tuple[str, int | None, str], float]] = {}

    def __init__(self, config: RedisConfig | None = None) -> None:
        if config is not None and not isinstance(config, RedisConfig):
            raise TypeError(f"config must be a RedisConfig, not {type(config).__name__}")
        self._config = config if config is not None else RedisConfig.from_environment()
        self._lock = batches.microseconds(self._config.lock_timeout)
        self._keep = batches.kept_for(self._config)
        self._unkept = batches.unkept(self._config)
        self._life: Life[Open] = Life(BACKEND)

    def __repr__(self) -> str:
        state = "closed" if self._life.closed else "unopened" if self._life.opened is None else "open"
        return f"<RedisStorage {state} {self._config!r}>"

    @property
    def config(self) -> RedisConfig:
        """What it was made with."""
        return self._config

    # ------------------------------------------------------------------ life

    async def _open(self, operation: str) -> Open:
        return await self._life.open(operation, self._connect, Open.close)

    async def _connect(self, operation: str) -> Open:
        client = Client(self._config, self._life)
        try:
            await self._look_at(client, operation)
        except BaseException:
            await client.close()
            raise
        return Open(client, Claims(client, self._config), Waiters(client, self._config))

    async def open(self) -> None:
        if self._life.enter("open") is None:
            await self._open("open")

    async def _look_at(self, client: Client, operation: str) -> None:
        """Refuses a user without the rights; warns of settings that lose jobs, and refuses them with `strict`."""
        missing = await client.script(operation, scripts.RIGHTS, (client.keys.channel,), (client.keys.channel,))
        if missing:
            text = f"the user may not run {', '.join(name.decode().lower() for name in missing)} on {client.keys.base}*"
            raise AuthenticationError(text, backend=BACKEND, operation=operation)
        try:
            info = facts(await client.command(operation, "INFO"))
        except StorageError as error:
            if error.__cause__ is None or code_of(error.__cause__) != "NOPERM":
                raise
            found = ["INFO is not allowed to this user: the server's settings were not looked at"]
        else:
            settings: dict[str, str] = {}
            with contextlib.suppress(StorageError):  # CONFIG is often forbidden, and INFO has what matters most
                for name in ("maxmemory-policy", "appendfsync"):
                    answer = await client.command(operation, "CONFIG", "GET", name)
                    settings[name] = answer[1].decode() if len(answer) > 1 else ""
            found = complaints(info, {name: value for name, value in settings.items() if value})
        if found and self._config.strict:
            raise ConfigurationError("; ".join(found), backend=BACKEND, operation=operation)
        for text in found:
            warnings.warn(text, StorageWarning, stacklevel=4)

    async def close(self) -> None:
        opened = self._life.end()
        if opened is not None:
            await opened.close()

    def clone(self) -> RedisStorage:
        self._life.check_clone()
        return type(self)(self._config)

    # ------------------------------------------------------------------ single jobs

    def _packed(self, jobs: builtins.list[Job], operation: str) -> builtins.list[NewRun]:
        return _native.pack_new(jobs, self._config.max_payload_bytes, BACKEND, operation)

    async def enqueue(self, job: Job, *, if_exists: IfExists = "error") -> bool:
        opened = self._life.enter("enqueue")
        _only_job(job)
        skip = _skip(if_exists, "enqueue")
        jobs = [job]
        runs = self._packed(jobs, "enqueue")
        done = await self._store(opened or await self._open("enqueue"), "enqueue", jobs, runs, skip)
        return done[0]

    async def enqueue_many(self, jobs: Iterable[Job], *, if_exists: IfExists = "error") -> builtins.list[bool]:
        opened = self._life.enter("enqueue_many")
        skip = _skip(if_exists, "enqueue_many")
        objects = _only_jobs(jobs)
        runs = self._packed(objects, "enqueue_many")
        return await self._store(opened or await self._open("enqueue_many"), "enqueue_many", objects, runs, skip)

    async def _store(
        self, opened: Open, operation: str, jobs: builtins.list[Job], runs: Sequence[NewRun], skip: bool
    ) -> builtins.list[bool]:
        """Stores run by run; which were stored."""
        work = self._store_runs(opened.client, operation, jobs, runs, skip)
        if any(_PROCESSING in run[2] for run in runs):
            return await opened.claims.unless_cancelled(jobs, work)
        with self._life:
            return await work

    async def _store_runs(
        self, client: Client, operation: str, jobs: builtins.list[Job], runs: Sequence[NewRun], skip: bool
    ) -> builtins.list[bool]:
        done = [False] * len(jobs)
        count = 0
        finished = False
        for run in runs:
            places, twice, kinds, _queue, _score, cells = run
            if twice and not skip:
                names = [jobs[at].id for at in places]
                taken = {*twice, *await self._stored_of(client, operation, names)}
                raise _exists([name for name in names if name in taken], operation, count)
            try:
                answer = await self._store_run(client, operation, run, skip)
            except StorageError as error:
                error.stored = count
                if code_of(error.__cause__) == "OOM":
                    # A full server refuses the script before it looks: ids that exist have another answer [Q1].
                    names = [jobs[at].id for at in places]
                    there = await self._stored_of(client, operation, names)
                    if there and not skip:
                        raise _exists(there, operation, count) from error
                    if len(there) == len(names):
                        continue
                raise
            if answer[0] != b"ok":
                named = [jobs[places[at - 1]].id for at in answer[1:]]
                if answer[0] == b"exists":
                    raise _exists(named, operation, count)
                text = _about(named, "is under another worker's explicit lock")
                raise JobLockedError(text, job_ids=named, backend=BACKEND, operation=operation, stored=count)
            sequence, token, expires = map(int, answer[1:4])
            stored = _native.accept_new(jobs, places, kinds, cells, answer[4], sequence, token, expires)
            for at in stored:
                done[at] = True
            count += len(stored)
            finished = finished or not _FINAL.isdisjoint(kinds)
        if finished and self._keep:
            await self._purge_some(client)
        return done

    @staticmethod
    async def _stored_of(client: Client, operation: str, names: Sequence[str]) -> builtins.list[str]:
        return [names[at - 1] for at in await client.script(operation, scripts.EXISTS, names, names)]

    async def _store_run(self, client: Client, operation: str, run: NewRun, skip: bool) -> Sequence[Any]:
        """One script's worth. Only where jobs that exist are no error is it sent again, and then it is remembered."""
        _places, _twice, kinds, queue, score, cells = run
        slots = client.slots
        mode, slot, request = ("skip", slots.take(), slots.request()) if skip else ("error", "", b"")
        arguments: builtins.list[Argument] = [
            mode,
            self._lock,
            self._unkept,
            kinds,
            queue,
            score,
            slot,
            request,
            slots.keep,
            *cells,
        ]
        again = arguments if skip else None
        answer: Sequence[Any] = await client.script(operation, scripts.ENQUEUE, arguments, again, slot=slot)
        return answer

    async def get(self, job_id: str) -> Job | None:
        opened = self._life.enter("get")
        name = _native.check_name("job_id", job_id, BACKEND, "get")
        client = (opened or await self._open("get")).client
        answer = await client.script("get", scripts.GET, (name,), (name,))
        if answer is None:
            return None
        record, body = answer
        [job] = _native.unpack_records([body[:6], record, body], name, BACKEND, "get")
        if isinstance(job, Exception):
            raise job
        if job.id != name:
            text = f"the body of job {name} names the sequence of another"
            raise CorruptJobError(text, job_ids=(name,), backend=BACKEND, operation="get")
        return job

    async def update(self, job: Job) -> None:
        opened = self._life.enter("update")
        _only_job(job)
        [error] = await self._update(opened, "update", [job])
        if error is not None:
            raise error

    async def update_many(self, jobs: Iterable[Job]) -> builtins.list[StorageError | None]:
        opened = self._life.enter("update_many")
        return await self._update(opened, "update_many", _only_jobs(jobs))

    async def _update(
        self, opened: Open | None, operation: str, jobs: builtins.list[Job]
    ) -> builtins.list[StorageError | None]:
        unkept = self._unkept
        errors, runs = _native.pack_updates(jobs, self._config.max_payload_bytes, unkept, BACKEND, operation)
        verdicts: builtins.list[StorageError | None] = [None] * len(jobs)
        if runs or not errors:  # what none of the jobs can carry is said before any I/O [J14]
            opened = opened or await self._open(operation)
            work = self._update_runs(opened.client, operation, jobs, runs)
            # Only what is remembered may become Processing.
            if any(run[1] for run in runs) and any(job.state.kind is JobStateKind.PROCESSING for job in jobs):
                verdicts = await opened.claims.unless_cancelled(jobs, work)
            else:
                with self._life:
                    verdicts = await work
        for at, error in errors:
            verdicts[at] = error
        return verdicts

    async def _update_runs(
        self, client: Client, operation: str, jobs: builtins.list[Job], runs: Sequence[UpdateRun]
    ) -> builtins.list[StorageError | None]:
        verdicts = await batches.update(client, operation, jobs, runs, self._lock, self._unkept)
        if self._keep:
            await self._purge_some(client)
        return verdicts

    async def delete(self, job_id: str) -> bool:
        opened = self._life.enter("delete")
        name = _native.check_name("job_id", job_id, BACKEND, "delete")
        client = (opened or await self._open("delete")).client
        return bool(await client.script("delete", scripts.DELETE, (name,)))

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
        kind, most, skip, name, below = _native.check_list(state_filter, limit, offset, queue, after, BACKEND, "list")
        client = (opened or await self._open("list")).client
        kinds = "0123456" if kind is None else str(kind)
        below = min(below, 2**48) if below is not None else 0
        jobs: builtins.list[Job] = []
        with self._life:
            while most is None or len(jobs) < most:
                page = PAGE if most is None else min(PAGE, most - len(jobs))
                arguments = (kinds, below, skip, page, name or "", PAGE, PAGE_BYTES)
                on, left, *cells = await client.script("list", scripts.READ, arguments, arguments)
                jobs += _readable(cells, "list")
                below, skip = int(on), int(left)
                if below == 0:
                    break
        return jobs

    async def get_job_counts(self) -> dict[JobStateKind, int]:
        opened = self._life.enter("get_job_counts")
        client = (opened or await self._open("get_job_counts")).client
        fields = [f"c{kind}" for kind in range(7)]
        counts = await client.command("get_job_counts", "HMGET", client.keys.meta, *fields)
        return {kind: int(count or 0) for kind, count in zip(KINDS, counts, strict=True)}

    async def get_available_jobs(self, limit: int | None = None) -> builtins.list[Job]:
        operation = "get_available_jobs"
        opened = self._life.enter(operation)
        most = _native.check_limit("limit", limit, 2**31 - 1, BACKEND, operation)
        client = (opened or await self._open(operation)).client
        jobs: builtins.list[Job] = []
        wave = max(100, min(most or 0, PAGE))
        score: Any = ""
        member: Any = ""
        with self._life:
            while most is None or len(jobs) < most:
                page = PAGE if most is None else min(PAGE, most - len(jobs))
                arguments = (wave, self._config.max_crashes, page, PAGE_BYTES, score, member)
                score, member, *cells = await client.script(operation, scripts.AVAILABLE, arguments, arguments)
                jobs += _readable(cells, operation)
                wave = 0
                if not member:
                    break
        return jobs

    # ------------------------------------------------------------------ claims

    async def fetch_and_lock_job(
        self, worker_id: str, queues: Sequence[str] | None = None, *, lock_timeout: float | None = None
    ) -> Job | None:
        operation = "fetch_and_lock_job"
        opened = self._life.enter(operation)
        worker = _native.check_name("worker_id", worker_id, BACKEND, operation)
        _limit, names, timeout = _native.check_claim(None, queues, lock_timeout, BACKEND, operation)
        claims = (opened or await self._open(operation)).claims
        jobs = await claims.claim(operation, worker, 1, names, timeout)
        return jobs[0] if jobs else None

    async def fetch_available_jobs_atomic(
        self,
        worker_id: str,
        limit: int | None = None,
        queues: Sequence[str] | None = None,
        *,
        lock_timeout: float | None = None,
    ) -> builtins.list[Job]:
        operation = "fetch_available_jobs_atomic"
        opened = self._life.enter(operation)
        worker = _native.check_name("worker_id", worker_id, BACKEND, operation)
        most, names, timeout = _native.check_claim(limit, queues, lock_timeout, BACKEND, operation)
        claims = (opened or await self._open(operation)).claims
        most = 10 if most is None else most
        return await claims.claim(operation, worker, most, names, timeout) if most else []

    async def extend_job_locks(self, jobs: Iterable[Job], lock_timeout: float | None = None) -> builtins.list[bool]:
        opened = self._life.enter("extend_job_locks")
        _limit, _queues, timeout = _native.check_claim(None, None, lock_timeout, BACKEND, "extend_job_locks")
        length = timeout if timeout is not None else self._lock
        objects = _only_jobs(jobs)
        client = (opened or await self._open("extend_job_locks")).client
        with self._life:
            return await batches.extend(client, objects, length)

    async def release_jobs(self, jobs: Iterable[Job], *, delay: Seconds | None = None) -> builtins.list[bool]:
        opened = self._life.enter("release_jobs")
        microseconds = 0
        if delay is not None:
            microseconds = _native.check_seconds("delay", delay, (0.0, _LOCK_RANGE[1]), True, BACKEND, "release_jobs")
        objects = _only_jobs(jobs)
        client = (opened or await self._open("release_jobs")).client
        with self._life:
            return await batches.release(client, objects, microseconds)

    # ------------------------------------------------------------------ explicit locks

    async def try_acquire_job_lock(self, job_id: str, worker_id: str, timeout_seconds: float) -> bool:
        operation = "try_acquire_job_lock"
        opened = self._life.enter(operation)
        name = _native.check_name("job_id", job_id, BACKEND, operation)
        worker = _native.check_name("worker_id", worker_id, BACKEND, operation)
        length = _native.check_seconds("timeout_seconds", timeout_seconds, _LOCK_RANGE, False, BACKEND, operation)
        client = (opened or await self._open(operation)).client
        return bool(await client.script(operation, scripts.ACQUIRE, (name, worker, length)))

    async def release_job_lock(self, job_id: str, worker_id: str) -> bool:
        operation = "release_job_lock"
        opened = self._life.enter(operation)
        name = _native.check_name("job_id", job_id, BACKEND, operation)
        worker = _native.check_name("worker_id", worker_id, BACKEND, operation)
        client = (opened or await self._open(operation)).client
        return bool(await client.script(operation, scripts.UNLOCK, (name, worker)))

    # ------------------------------------------------------------------ waiting, housekeeping

    async def wait_for_jobs(self, queues: Sequence[str] | None = None, timeout: float | None = None) -> bool:
        operation = "wait_for_jobs"
        opened = self._life.enter(operation)
        _limit, names, _timeout = _native.check_claim(None, queues, None, BACKEND, operation)
        seconds = None
        if timeout is not None:
            seconds = _native.check_seconds("timeout", timeout, _ANY_RANGE, False, BACKEND, operation) / 1e6
        waiters = (opened or await self._open(operation)).waiters
        return await waiters.wait(frozenset(names) if names is not None else None, seconds)

    async def purge(
        self, kinds: StateFilter | Iterable[StateFilter], older_than: Seconds, limit: int | None = 1000
    ) -> int:
        opened = self._life.enter("purge")
        numbers, age, most = _native.check_purge(kinds, older_than, limit, BACKEND, "purge")
        client = (opened or await self._open("purge")).client
        deleted = 0
        with self._life:
            while most is None or deleted < most:
                step = PAGE if most is None else min(PAGE, most - deleted)
                arguments: builtins.list[Any] = [step]
                for number in numbers:
                    arguments += (number, age)
                try:
                    count, more = await client.script("purge", scripts.PURGE, arguments)
                except StorageError as error:
                    if deleted:
                        error.outcome = "unknown"  # of the whole call: some are gone
                    raise
                deleted += count
                if not more:
                    break
        return deleted

    async def _purge_some(self, client: Client) -> None:
        """What `keep_*` has run out for, a step of it. It never fails the settlement that it comes after."""
        store = (self._config.url, self._config.db, self._config.key_prefix)
        now = time.monotonic()
        if self._next_purge.get(store, 0.0) > now:
            return
        self._next_purge[store] = now + _PURGE_PAUSE
        arguments: builtins.list[Any] = [PAGE]
        for kind, age in self._keep:
            arguments += (kind, age)
        with contextlib.suppress(StorageError):
            await client.script("purge", scripts.PURGE, arguments)

    async def verify(self) -> builtins.list[str]:
        opened = self._life.enter("verify")
        client = (opened or await self._open("verify")).client
        with self._life:
            return await audit(client)


# ---------------------------------------------------------------------- shared by the methods


def _only_job(job: object) -> None:
    if not isinstance(job, Job):
        raise TypeError(f"job must be a Job, not {type(job).__name__}")


def _only_jobs(jobs: object) -> builtins.list[Job]:
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be an iterable of Job, not {type(jobs).__name__}")
    found = list(jobs)
    for at, job in enumerate(found):
        if not isinstance(job, Job):
            raise TypeError(f"jobs[{at}] must be a Job, not {type(job).__name__}")
    return found


def _about(names: Sequence[str], what: str) -> str:
    return f"job {names[0]} {what}" if len(names) == 1 else f"{len(names)} jobs: {names[0]} {what}, …"


def _exists(names: Sequence[str], operation: str, count: int) -> JobAlreadyExistsError:
    text = _about(names, "exists already")
    return JobAlreadyExistsError(text, job_ids=names, backend=BACKEND, operation=operation, stored=count)


def _skip(if_exists: object, operation: str) -> bool:
    if not isinstance(if_exists, str):
        raise TypeError(f"if_exists must be a str, not {type(if_exists).__name__}")
    if if_exists not in ("error", "skip"):
        raise InvalidArgumentError('if_exists must be "error" or "skip"', backend=BACKEND, operation=operation)
    return if_exists == "skip"


def _readable(cells: builtins.list[bytes], operation: str) -> builtins.list[Job]:
    """Jobs out of a page; one that cannot be decoded is left out with a warning."""
    jobs = []
    for job in _native.unpack_records(cells, None, BACKEND, operation):
        if isinstance(job, CorruptJobError):
            warnings.warn(f"job {job.job_ids[0]} is left out: {job}", StorageWarning, stacklevel=3)
        else:
            jobs.append(job)
    return jobs
