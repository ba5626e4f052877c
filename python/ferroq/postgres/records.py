"""Jobs to the columns of the statements, and the rule of L3 that decides what an update may do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import (
    ConcurrentModificationError,
    JobLockedError,
    JobNotFoundError,
    LockLostError,
    StorageError,
)

if TYPE_CHECKING:
    from .._native import Job
    from .._rows import Row
    from .config import PostgresConfig

T = TypeVar("T")

BACKEND: Final = "postgres"
CHUNK: Final = 1_000
CHUNK_BYTES: Final = 16 * 1024 * 1024

ENQUEUED: Final = 0
PROCESSING: Final = 1
SUCCEEDED: Final = 2
FAILED: Final = 3
DELETED: Final = 4
SCHEDULED: Final = 5
AWAITING_RETRY: Final = 6
FINAL: Final = (SUCCEEDED, FAILED, DELETED)
PUT_OFF: Final = frozenset({SCHEDULED, AWAITING_RETRY})

# Columns of a Row, see the native module. One by one: the type checker then knows what each of them holds.
ID: Final = 0
METHOD: Final = 1
ARGUMENTS: Final = 2
CREATED_AT: Final = 3
QUEUE: Final = 4
PRIORITY: Final = 5
MAX_RETRIES: Final = 6
JOB_TYPE: Final = 7
TIMEOUT: Final = 8
METADATA: Final = 9
KIND: Final = 10
STATE: Final = 11
DUE: Final = 12
WORKER: Final = 13
RETRY_COUNT: Final = 14
VERSION: Final = 15
TOKEN: Final = 16


@dataclass(slots=True)
class Item:
    """A job of a bulk call, by its place in it, and what it carried when the call began."""

    place: int
    job: Job
    row: Row


@dataclass(slots=True)
class Accepted:
    """What a write made of a job; written back into the object."""

    version: int
    sequence: int
    attempt: int
    crash_count: int
    retry_count: int
    lock: tuple[int, int] | None = None
    state: tuple[int, str] | None = None


def chunks(items: Iterable[Item], *, unique: bool = False) -> Iterator[list[Item]]:
    """Chunks of at most 1,000 jobs or 16 MiB of their text; a job that is larger comes alone.

    Args:
        unique: an id that comes again starts a chunk of its own: a statement cannot write one row twice, and the second
            writing has to find what the first did.
    """
    chunk: list[Item] = []
    ids: set[str] = set()
    size = 0
    for item in items:
        row = item.row
        text = _size(row[ARGUMENTS]) + _size(row[STATE]) + _size(row[METADATA] or "")
        if chunk and (len(chunk) == CHUNK or size + text > CHUNK_BYTES or (unique and row[ID] in ids)):
            yield chunk
            chunk, ids, size = [], set(), 0
        chunk.append(item)
        ids.add(row[ID])
        size += text
    if chunk:
        yield chunk


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def not_kept(config: PostgresConfig) -> list[int]:
    """The kinds whose jobs are deleted in the very step that brings them there."""
    keeps = zip(FINAL, (config.keep_succeeded, config.keep_failed, config.keep_deleted), strict=True)
    return [kind for kind, keep in keeps if keep == 0]


def columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Arrays for unnest, out of rows."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def written(values: Iterable[int | str]) -> str:
    """An array as the server spells it, as in the native module's columns."""
    return "{" + ",".join(str(value) if isinstance(value, int) else _quoted(value) for value in values) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def enqueued_at(row: Row) -> int:
    """When an enqueued state began, or a processing one, out of its fields."""
    fields = json.loads(row[STATE])
    return int(fields["enqueued_at"] if row[KIND] == ENQUEUED else fields["started_at"])


def server_of(row: Row) -> str:
    """The server's name in a processing state."""
    return str(json.loads(row[STATE])["server_name"])


# ------------------------------------------------------------------ L3


@dataclass(slots=True)
class Standing:
    """A job as hold.sql found it, its row locked."""

    now: int
    id: str
    seq: int
    kind: int
    version: int
    attempt: int
    crash_count: int
    retry_count: int
    due: int | None
    trace_kind: int | None
    trace_version: int | None
    trace_token: int | None
    token: int | None
    worker: str | None
    expires_at: int | None
    since: int | None
    held_by: str | None

    @classmethod
    def of(cls, row: Any) -> Standing:
        return cls(**{name: row[name] for name in cls.__slots__})

    def is_live(self) -> bool:
        """Whether a claim holds the job."""
        return self.kind == PROCESSING and self.expires_at is not None and self.now < self.expires_at

    def repeats(self, token: int, kind: int) -> bool:
        """Whether the last settlement was made under that token and to that kind."""
        return self.trace_token == token and self.trace_kind == kind


def judge(row: Row, standing: Standing | None, operation: str) -> StorageError | Accepted | None:
    """Steps 1 to 4 of L3: an error, the answer of a settlement made before, or None where the update may go on."""
    job_id, kind, token = row[ID], row[KIND], row[TOKEN]
    about: dict[str, Any] = {"job_ids": (job_id,), "backend": BACKEND, "operation": operation}
    if standing is None:
        return JobNotFoundError(f"no job {job_id!r} is stored", **about)
    if token is not None:
        if standing.kind == PROCESSING and standing.token == token:
            return None
        if standing.repeats(token, kind):
            return Accepted(
                standing.trace_version or 0,
                standing.seq,
                standing.attempt,
                standing.crash_count,
                standing.retry_count,
            )
        return LockLostError(f"the claim on job {job_id!r} was lost", **about)
    if standing.is_live() and kind != DELETED:
        return JobLockedError(f"job {job_id!r} is under a live claim", **about)
    if row[VERSION] != standing.version:
        return ConcurrentModificationError(
            f"job {job_id!r} is at version {standing.version}, not {row[VERSION]}: read it again", **about
        )
    if kind == PROCESSING and standing.kind != PROCESSING and standing.held_by not in (None, row[WORKER]):
        return JobLockedError(f"job {job_id!r} is under another worker's explicit lock", **about)
    return None


def replaced(row: Row, standing: Standing, lock_timeout: int) -> tuple[Any, ...]:
    """Step 5 of L3: the columns of put.sql, from $2 on."""
    kind, was = row[KIND], standing.kind
    version = standing.version + 1
    trace: tuple[int | None, int | None, int | None]
    trace = (standing.trace_kind, standing.trace_version, standing.trace_token)
    if was == PROCESSING and kind != PROCESSING:
        trace = (kind, version, row[TOKEN])
    attempt, crash_count, retry_count = standing.attempt, standing.crash_count, standing.retry_count
    if was == FAILED and kind == ENQUEUED:
        crash_count = retry_count = 0
    if kind in (FAILED, AWAITING_RETRY):
        retry_count = row[RETRY_COUNT]
    due: int | None = standing.due if standing.due is not None else standing.now
    if kind in PUT_OFF:
        due = row[DUE]
    elif kind == ENQUEUED and was != ENQUEUED:
        due = standing.now
    token = expires_at = worker = server = None
    since = standing.since if kind == was and standing.since is not None else standing.now
    if kind == ENQUEUED:
        since = enqueued_at(row)
    elif kind == PROCESSING:
        since, worker, server = enqueued_at(row), row[WORKER], server_of(row)
        if was == PROCESSING:
            token, expires_at = standing.token, standing.expires_at
        else:
            attempt += 1
            expires_at = standing.now + lock_timeout
    return (
        standing.seq, kind, row[STATE], due, version, attempt, crash_count, retry_count, *trace, token, expires_at,
        worker, server, row[QUEUE], row[PRIORITY], row[MAX_RETRIES], row[JOB_TYPE], row[TIMEOUT], row[METADATA], since,
    )  # fmt: skip
