"""Small words of the storage's methods: what they were given, and what they answer."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

from .. import _native
from .._native import Job, restore
from ..errors import CorruptJobError, InvalidArgumentError, StorageError, StorageWarning
from .records import BACKEND, CHUNK, Accepted, Item


def jobs_of(jobs: Iterable[Job]) -> list[Job]:
    try:
        given = list(jobs)
    except TypeError:
        raise TypeError(f"jobs must be an iterable of Job, not {type(jobs).__name__}") from None
    for place, job in enumerate(given):
        if not isinstance(job, Job):
            raise TypeError(f"jobs[{place}] must be a Job, not {type(job).__name__}")
    return given


def items_of(operation: str, jobs: Sequence[Job], max_payload_bytes: int) -> list[Item]:
    """The jobs with what each carries now, checked."""
    rows = _native.snapshot(jobs, max_payload_bytes, BACKEND, operation)
    return [Item(place, job, row) for place, (job, row) in enumerate(zip(jobs, rows, strict=True))]


def held_by(jobs: Iterable[Job]) -> list[tuple[Job, int | None]]:
    """The jobs with the token of the claim that each holds."""
    held = []
    for job in jobs_of(jobs):
        lock = job.lock
        held.append((job, None if lock is None else lock.token))
    return held


def pages(items: list[Any]) -> Iterable[list[Any]]:
    return (items[at : at + CHUNK] for at in range(0, len(items), CHUNK))


@contextmanager
def doubtful(done: Sized) -> Iterator[None]:
    """Of a call in several steps: once a step is done, no error of a later one says that nothing was applied."""
    try:
        yield
    except StorageError as error:
        if done:
            error.outcome = "unknown"
        raise


def skips(if_exists: str, operation: str) -> bool:
    if not isinstance(if_exists, str):
        raise TypeError(f"if_exists must be a str, not {type(if_exists).__name__}")
    if if_exists not in ("error", "skip"):
        raise InvalidArgumentError('if_exists must be "error" or "skip"', backend=BACKEND, operation=operation)
    return if_exists == "skip"


def write_back(job: Job, made: Accepted) -> None:
    _native.write_back(
        job, made.version, made.sequence, made.attempt, made.crash_count, made.retry_count, made.lock, made.state
    )


def key(row: Any) -> tuple[int, int, int]:
    return row["rank"], row["due"], row["seq"]


def decoded(operation: str, rows: Sequence[Any]) -> list[Job]:
    """The records; a warning in place of each that cannot be decoded."""
    jobs: list[Job] = []
    for job in restore(rows, BACKEND, operation):
        if isinstance(job, CorruptJobError):
            warnings.warn(f"{operation}: {job}", StorageWarning, stacklevel=4)
        else:
            jobs.append(job)  # type: ignore[arg-type]
    return jobs
