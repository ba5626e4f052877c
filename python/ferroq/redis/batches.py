"""What goes to the server in chunks: settling, renewing and giving back claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from .. import _native
from .._native import Job
from ..errors import (
    ConcurrentModificationError,
    CorruptJobError,
    JobLockedError,
    JobNotFoundError,
    LockLostError,
    StorageError,
)
from . import scripts
from .client import Client
from .config import RedisConfig
from .faults import BACKEND
from .scripts import Script
from .wire import Argument

if TYPE_CHECKING:
    from .._rows import UpdateRun

KIND_NAMES: Final = ("enqueued", "processing", "succeeded", "failed", "deleted", "scheduled", "awaiting_retry")
MOST: Final = 1000

_RELEASED: Final = Struct(">cIIIBI")

_REFUSALS: Final[dict[int, tuple[type[StorageError], str]]] = {
    1: (JobNotFoundError, "job {0} is not stored"),
    2: (LockLostError, "the claim of job {0} is lost: it lapsed and was taken over, or was settled otherwise"),
    3: (JobLockedError, "another holds a live lock on job {0}"),
    4: (ConcurrentModificationError, "job {0} changed since this copy of it was read"),
    5: (CorruptJobError, "the stored record of job {0} cannot be decoded"),
}


def microseconds(seconds: float) -> int:
    """Never shorter than asked for."""
    return math.ceil(seconds * 1e6)


def unkept(config: RedisConfig) -> str:
    """The kinds whose jobs are not kept at all, as digits."""
    keep = {2: config.keep_succeeded, 3: config.keep_failed, 4: config.keep_deleted}
    return "".join(str(kind) for kind, seconds in keep.items() if seconds == 0)


def kept_for(config: RedisConfig) -> list[tuple[int, int]]:
    """The kinds whose jobs are kept for a time, and for how long, in microseconds."""
    keep = {2: config.keep_succeeded, 3: config.keep_failed, 4: config.keep_deleted}
    return [(kind, microseconds(seconds)) for kind, seconds in keep.items() if seconds]


async def update(
    client: Client, operation: str, jobs: list[Job], runs: Sequence[UpdateRun], lock: int, dropped: str
) -> list[StorageError | None]:
    """Updates run by run; a verdict a job. A run that got no answer gives its error to all of its jobs.

    Args:
        lock: how long a claim lasts that an update takes, in microseconds.
        dropped: the kinds whose jobs are not kept, as digits.
    """
    verdicts: list[StorageError | None] = [None] * len(jobs)
    for places, remember, soonest, letter, sequences, front, rests in runs:
        slot, request = (client.slots.take(), client.slots.request()) if remember else ("", b"")
        arguments: list[Argument] = [lock, dropped, slot, request, client.slots.keep, len(places)]
        arguments += ("" if soonest is None else soonest, letter, sequences, front, *rests)
        try:
            answer = await client.script(operation, scripts.UPDATE, arguments, arguments, slot=slot)
        except StorageError as error:
            for at in places:
                verdicts[at] = error
            continue
        for at, code in _native.accept_updates(jobs, places, letter, answer):
            kind, text = _REFUSALS[code]
            name = jobs[at].id
            verdicts[at] = kind(text.format(name), job_ids=(name,), backend=BACKEND, operation=operation)  # type: ignore[call-arg]
    return verdicts


def place_of(sequence: int) -> bytes:
    """Six bytes; those of no job for one that this store cannot have given."""
    return sequence.to_bytes(6, "big") if sequence < 2**48 else bytes(6)


def _claims(jobs: Sequence[Job]) -> list[tuple[int, str, int, int]]:
    """Position, id, sequence and token of the jobs that hold a claim."""
    found = []
    for at, job in enumerate(jobs):
        lock = job.lock
        if lock is not None:
            found.append((at, job.id, job.sequence, lock.token))
    return found


def _runs(claims: Sequence[tuple[int, str, int, int]], *, distinct: bool) -> Iterator[list[tuple[int, str, int, int]]]:
    """At most a thousand at a time; with `distinct` no id twice in a run."""
    run: list[tuple[int, str, int, int]] = []
    seen: set[str] = set()
    for claim in claims:
        if len(run) == MOST or (distinct and claim[1] in seen):
            yield run
            run = []
            seen = set()
        run.append(claim)
        seen.add(claim[1])
    if run:
        yield run


def _arguments(run: Sequence[tuple[int, str, int, int]]) -> list[Any]:
    arguments: list[Any] = []
    for _at, id_, sequence, token in run:
        arguments += (place_of(sequence), id_, token)
    return arguments


async def extend(client: Client, jobs: Sequence[Job], length: int) -> list[bool]:
    """Renews claims by `length` microseconds."""
    done = [False] * len(jobs)
    for run in _runs(_claims(jobs), distinct=True):
        arguments = [length, *_arguments(run)]
        expires, flags = await _step(client, "extend_job_locks", scripts.EXTEND, arguments, begun=any(done))
        for (at, _id, _sequence, token), flag in zip(run, flags, strict=True):
            if flag == 49:
                done[at] = True
                _native.renew(jobs[at], token, int(expires))
    return done


async def release(client: Client, jobs: Sequence[Job], delay: int) -> list[bool]:
    """Gives claims back, to be claimed again after `delay` microseconds."""
    done = [False] * len(jobs)
    for run in _runs(_claims(jobs), distinct=True):
        arguments = [delay or "", *_arguments(run)]
        answer = await _step(client, "release_jobs", scripts.RELEASE, arguments, begun=any(done))
        now, cells, repeats = int(answer[0]), answer[1], iter(answer[2:])
        state = f'{{"scheduled_at":{now},"enqueue_at":{now + delay},"reason":"released"}}'
        if not delay:
            state = f'{{"enqueued_at":{now}}}'
        for (at, _id, sequence, _token), cell in zip(run, _RELEASED.iter_unpack(cells), strict=True):
            flag, version, attempt, crashes, kind, retry = cell
            if flag == b"0":
                continue
            done[at] = True
            now_in = (next(repeats).decode() or state) if flag == b"2" else state
            _native.write_back(jobs[at], version, sequence, attempt, crashes, retry, None, (kind, now_in))
    return done


async def _step(client: Client, operation: str, script: Script, arguments: Sequence[Any], *, begun: bool) -> Any:
    """One script of a call that may need several: an error after the first says that something may have been done."""
    try:
        return await client.script(operation, script, arguments, arguments)
    except StorageError as error:
        if begun:
            error.outcome = "unknown"
        raise
