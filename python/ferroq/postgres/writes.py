"""Enqueue, update, release, renewal, delete: the writes that do not claim.

Each has a fast statement for the common case and, behind it, the locking path: hold the rows where the jobs stand,
decide by the contract's rules, put them to their new place, in one short transaction.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from ..errors import (
    ConflictError,
    JobAlreadyExistsError,
    JobLockedError,
    JobNotFoundError,
    StorageConnectionError,
    StorageError,
)
from .connection import Connection, Connections
from .errors import UNIQUE_VIOLATION, sqlstate
from .records import (
    BACKEND,
    DUE,
    ENQUEUED,
    ID,
    JOB_TYPE,
    KIND,
    MAX_RETRIES,
    METADATA,
    PRIORITY,
    PROCESSING,
    PUT_OFF,
    QUEUE,
    RETRY_COUNT,
    SCHEDULED,
    STATE,
    TIMEOUT,
    TOKEN,
    VERSION,
    Accepted,
    Item,
    Standing,
    columns,
    judge,
    not_kept,
    replaced,
    written,
)

if TYPE_CHECKING:
    from .clock import Clock

_LOOKS: Final = 100  # for jobs that are moving while they are looked for; each look waits for the move it met
_LAST_VERSION: Final = 2**31 - 1
STORED, TAKEN, HELD, REFUSED = range(4)


class Writes:
    """The statements of one storage that write without claiming."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        config = connections.config
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock
        self._lock_timeout = round(config.lock_timeout * 1_000_000)
        self._not_kept = not_kept(config)

    # -------------------------------------------------------------- enqueue

    async def enqueue(
        self, operation: str, items: Sequence[Item], *, skip: bool, connection: Connection | None = None
    ) -> tuple[list[Accepted | None], Counter[str]]:
        """Stores a chunk with no id twice, all or nothing; None where the id existed. Also what became
        available, by queue."""

        async def once(conn: Connection) -> list[Any]:
            return await self._store(conn, items, skip)

        async def guarded(conn: Connection) -> list[Any]:
            ids = [item.row[ID] for item in items if item.row[KIND] == PROCESSING]
            async with self._connections.transaction(conn):
                await conn.execute(self._queries.guard, ids)
                rows = await self._store(conn, items, skip)
                await conn.execute(self._queries.unguard, ids)
            return rows

        rows: list[Any] = []
        work = guarded if any(item.row[KIND] == PROCESSING for item in items) else once
        while True:
            try:
                if connection is not None:
                    rows = await self._connections.on(connection, operation, work)
                else:
                    # Not repeated after a lost reply: the id would then be there, by us or by somebody else.
                    rows = await self._connections.run(operation, work, resend=False, raw=(UNIQUE_VIOLATION,))
                break
            except asyncpg.PostgresError as error:
                # Another enqueue of the same id committed between our look and our insert.
                if sqlstate(error) != UNIQUE_VIOLATION:
                    raise
                if connection is not None:
                    raise self._exist(operation, [item.row[ID] for item in items]) from error
        return self._stored(operation, items, rows, skip)

    async def _store(self, conn: Connection, items: Sequence[Item], skip: bool) -> list[Any]:
        rows = [
            (place, row[ID], row[1], row[2], row[3], row[QUEUE], row[PRIORITY], row[MAX_RETRIES], row[JOB_TYPE],
             row[TIMEOUT], row[METADATA], row[KIND], row[STATE], row[DUE], row[RETRY_COUNT])
            for place, row in sorted(((place, item.row) for place, item in enumerate(items)), key=lambda x: x[1][ID])
        ]  # fmt: skip
        query = self._queries.enqueue_skip if skip else self._queries.enqueue
        found: list[Any] = await conn.fetch(
            query, self._clock.offset, not skip, self._lock_timeout, self._not_kept, *columns(rows, 15)
        )
        return found

    async def twice(
        self, operation: str, items: Sequence[Item], fresh: Sequence[Item], connection: Connection | None
    ) -> JobAlreadyExistsError:
        """The error of a chunk that names an id twice: its ids that are stored, and those that come again."""

        async def look(conn: Connection) -> set[str]:
            ids = [item.row[ID] for item in items]
            return {row["id"] for row in await conn.fetch(self._queries.existing, ids)}

        if connection is not None:
            stored = await self._connections.on(connection, operation, look)
        else:
            stored = await self._connections.run(operation, look)
        first = {item.place for item in fresh}
        taken = [item.row[ID] for item in items if item.place not in first or item.row[ID] in stored]
        return self._exist(operation, taken)

    def _exist(self, operation: str, ids: Sequence[str]) -> JobAlreadyExistsError:
        shown = ", ".join(map(repr, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        text = f"{operation}: stored already: {shown}"
        return JobAlreadyExistsError(text, job_ids=ids, backend=BACKEND, operation=operation)

    def _stored(
        self, operation: str, items: Sequence[Item], rows: Sequence[Any], skip: bool
    ) -> tuple[list[Accepted | None], Counter[str]]:
        verdicts = {row["verdict"] for row in rows}
        if not skip and TAKEN in verdicts:
            taken = sorted(row["ord"] for row in rows if row["verdict"] == TAKEN)
            raise self._exist(operation, [items[place].row[ID] for place in taken])
        if HELD in verdicts:
            ids = [items[place].row[ID] for place in sorted(row["ord"] for row in rows if row["verdict"] == HELD)]
            raise JobLockedError(
                f"{operation}: under another worker's explicit lock: {', '.join(map(repr, ids[:5]))}",
                job_ids=ids,
                backend=BACKEND,
                operation=operation,
            )
        accepted: list[Accepted | None] = [None] * len(items)
        wake: Counter[str] = Counter()
        for row in rows:
            if row["verdict"] != STORED:
                continue
            own = items[row["ord"]].row
            kind = own[KIND]
            lock = (row["token"], row["expires_at"]) if row["token"] is not None else None
            accepted[row["ord"]] = Accepted(1, row["seq"], int(kind == PROCESSING), 0, own[RETRY_COUNT], lock)
            if kind == ENQUEUED or (kind in PUT_OFF and (own[DUE] or 0) <= row["now"]):
                wake[own[QUEUE]] += 1
        return accepted, wake

    # -------------------------------------------------------------- update

    async def update(
        self, operation: str, items: Sequence[Item], *, again: bool = False
    ) -> tuple[list[StorageError | Accepted], Counter[str]]:
        """Updates a chunk with no id twice; a verdict each, by position, and how many jobs became available,
        by queue. A statement that got no answer gives its error to its jobs, and to them alone.

        Args:
            again: a first request for these was sent, and its answer lost.
        """
        verdicts: dict[int, StorageError | Accepted] = {}
        wake: Counter[str] = Counter()
        settling: list[tuple[int, Item]] = []
        replacing: list[tuple[int, Item]] = []
        for place, item in enumerate(items):
            row = item.row
            if row[KIND] != PROCESSING and item.job.sequence > 0:
                if row[TOKEN] is not None:
                    settling.append((place, item))
                elif row[VERSION] < _LAST_VERSION:
                    replacing.append((place, item))
        resent: set[int] = set(range(len(items))) if again else set()
        for fast, mark, chosen in (
            (self._queries.settle, TOKEN, settling),
            (self._queries.replace, VERSION, replacing),
        ):
            if chosen:
                try:
                    found = await self._at_once(operation, fast, mark, chosen, resent)
                except StorageError as error:
                    verdicts.update((place, error) for place, _ in chosen)
                else:
                    verdicts.update(found)
                    wake.update(self._woken(items[place].row, None) for place in found)
        rest = [place for place in range(len(items)) if place not in verdicts]
        if rest:
            try:
                slow = await self._judged(operation, [(place, items[place]) for place in rest], resent)
            except StorageError as error:
                verdicts.update((place, error) for place in rest)
            else:
                for place, (verdict, now) in slow.items():
                    verdicts[place] = verdict
                    if isinstance(verdict, Accepted):
                        wake[self._woken(items[place].row, now)] += 1
        wake.pop("", None)
        return [verdicts[place] for place in range(len(items))], wake

    async def _at_once(
        self, operation: str, query: str, mark: int, chosen: Sequence[tuple[int, Item]], resent: set[int]
    ) -> dict[int, Accepted]:
        """The common way of an update, one statement: what it accepted, by place.

        Args:
            mark: the column that proves the right to write: the token, or the version.
            resent: takes the places of what was sent a second time, its first answer lost.
        """
        rows = [
            (place, item.job.sequence, row[mark], row[ID], row[KIND], row[STATE], row[DUE], row[RETRY_COUNT],
             row[QUEUE], row[PRIORITY], row[MAX_RETRIES], row[JOB_TYPE], row[TIMEOUT], row[METADATA])
            for place, item in chosen
            for row in (item.row,)
        ]  # fmt: skip
        rows.sort(key=lambda row: row[1])
        sequences = {row[0]: row[1] for row in rows}
        given: list[Any] = [*columns(rows, 14)]
        given[:4] = map(written, given[:4])

        async def once(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(query, self._clock.offset, self._not_kept, *given)
            return found

        async def again(conn: Connection) -> list[Any]:
            resent.update(sequences)
            return await once(conn)

        return {
            place: Accepted(version, sequences[place], attempt, crash_count, retry_count)
            for place, version, attempt, crash_count, retry_count in await self._connections.run(
                operation, once, again=again
            )
        }

    async def _judged(
        self, operation: str, items: Sequence[tuple[int, Item]], resent: set[int]
    ) -> dict[int, tuple[StorageError | Accepted, int]]:
        """The locking path for what the fast statement did not match; the server's time with each verdict."""

        async def once(conn: Connection) -> list[tuple[StorageError | Accepted, int]]:
            return await self._replace(conn, operation, [item for _, item in items])

        async def again(conn: Connection) -> list[tuple[StorageError | Accepted, int]]:
            resent.update(place for place, _ in items)
            return await once(conn)

        found = await self._connections.run(operation, once, again=again)
        return {
            place: (self._as_first(operation, item, verdict) if place in resent else verdict, now)
            for (place, item), (verdict, now) in zip(items, found, strict=True)
        }

    def _as_first(self, operation: str, item: Item, verdict: StorageError | Accepted) -> StorageError | Accepted:
        """The verdict on a second sending, in the light of a first one that may have been carried out."""
        row, job = item.row, item.job
        lock = job.lock
        live = lock is None or lock.expires_at.timestamp() * 1_000_000 > self._clock.now()
        if live and isinstance(verdict, JobNotFoundError) and row[KIND] in self._not_kept:
            # Our first request did it, and left no trace, for the job is not kept. Or somebody deleted the job outright
            # in this very moment; no one can tell. Once the claim had lapsed another may have had it: it is unknown.
            return Accepted(row[VERSION] + 1, job.sequence, job.attempt, job.crash_count, job.retry_count)
        if (row[TOKEN] is None and isinstance(verdict, ConflictError)) or (
            isinstance(verdict, JobNotFoundError) and row[KIND] in self._not_kept
        ):
            # It moved on. By our first request or by somebody else: an unlocked update leaves no trace.
            return StorageConnectionError(
                f"{operation}: the connection dropped, and whether job {row[ID]!r} was updated before is not known",
                backend=BACKEND,
                operation=operation,
                outcome="unknown",
            )
        return verdict

    def _woken(self, row: Any, now: int | None) -> str:
        """The queue in which the update makes a job available, or ''."""
        due = row[KIND] in PUT_OFF and (row[DUE] or 0) <= (now if now is not None else self._clock.now())
        return row[QUEUE] if row[KIND] == ENQUEUED or due else ""

    async def _replace(
        self, conn: Connection, operation: str, items: Sequence[Item]
    ) -> list[tuple[StorageError | Accepted, int]]:
        ids = [item.row[ID] for item in items]
        to_processing = [item.row[ID] for item in items if item.row[KIND] == PROCESSING and item.row[TOKEN] is None]
        verdicts: list[tuple[StorageError | Accepted, int]] = []
        changes: list[tuple[Any, ...]] = []
        dropped: list[int] = []
        async with self._holding(conn, ids, guard=to_processing) as standings:
            for item in items:
                row, standing = item.row, standings.get(item.row[ID])
                verdict = judge(row, standing, operation)
                if verdict is None and standing is not None:
                    change = replaced(row, standing, self._lock_timeout)
                    changes.append(change)
                    if row[KIND] in self._not_kept and row[KIND] != standing.kind:
                        dropped.append(standing.seq)
                    lock = None
                    if row[KIND] == PROCESSING and (standing.kind != PROCESSING or row[TOKEN] is not None):
                        lock = (change[11] or 0, change[12])
                    verdict = Accepted(change[4], change[0], change[5], change[6], change[7], lock)
                assert verdict is not None
                verdicts.append((verdict, standing.now if standing is not None else 0))
            tokens = await self._put(conn, changes, dropped)
        for found, _ in verdicts:
            if isinstance(found, Accepted) and found.lock is not None:
                found.lock = (tokens[found.sequence], found.lock[1])
        return verdicts

    async def _put(self, conn: Connection, changes: Sequence[tuple[Any, ...]], dropped: list[int]) -> dict[int, int]:
        if not changes:
            return {}
        ordered = sorted(changes)
        await conn.execute(self._queries.remove, [change[0] for change in ordered])
        return {row["seq"]: row["token"] for row in await conn.fetch(self._queries.put, dropped, *columns(ordered, 22))}

    @asynccontextmanager
    async def _holding(
        self, conn: Connection, ids: Sequence[str], guard: Sequence[str] = ()
    ) -> AsyncIterator[dict[str, Standing]]:
        """A transaction in which nothing else moves these jobs; missing ones are not in the mapping."""
        async with self._connections.transaction(conn):
            if guard:
                await conn.execute(self._queries.guard, guard)
            rows: list[Any] = []
            for look in range(_LOOKS):
                rows = await conn.fetch(self._queries.hold, self._clock.offset, list(ids))
                if all(row["found"] for row in rows):
                    break
                # A job was moving: the look waited for the move, and the next snapshot sees its end.
                if look > 3:
                    await asyncio.sleep(0.001)
            yield {row["id"]: Standing.of(row) for row in rows if row["found"]}
            if guard:
                await conn.execute(self._queries.unguard, guard)

    # -------------------------------------------------------------- claims that end otherwise

    async def release(
        self,
        operation: str,
        items: Sequence[tuple[int, str, int, int]],
        delay: int | None,
        accepted: dict[int, Accepted],
    ) -> Counter[str]:
        """Gives claims back: items are place, id, sequence and token. `accepted` takes those that were, by place; the
        answer is what became available, by queue."""
        rows = sorted(((place, seq, token, job_id) for place, job_id, seq, token in items), key=lambda row: row[1])

        async def fast(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(self._queries.release, self._clock.offset, delay, *columns(rows, 4))
            return found

        wake: Counter[str] = Counter()
        for row in await self._connections.run(operation, fast):
            accepted[row["ord"]] = Accepted(
                row["version"], row["seq"], row["attempt"], row["crash_count"], row["retry_count"],
                state=(row["kind"], row["state"]),
            )  # fmt: skip
            wake[row["queue"]] += 1
        rest = [item for item in items if item[0] not in accepted]
        if rest:
            slow, queues = await self._connections.run(operation, lambda conn: self._release_held(conn, rest, delay))
            accepted |= slow
            wake.update(queues)
        return wake if delay is None else Counter()

    async def _release_held(
        self, conn: Connection, items: Sequence[tuple[int, str, int, int]], delay: int | None
    ) -> tuple[dict[int, Accepted], Counter[str]]:
        """Repeats of a release, and claims that lapsed and were put back in line."""
        accepted: dict[int, Accepted] = {}
        changes: list[tuple[Any, ...]] = []
        wake: Counter[str] = Counter()
        kind = ENQUEUED if delay is None else SCHEDULED
        async with self._holding(conn, [item[1] for item in items]) as standings:
            records = {row["id"]: row for row in await conn.fetch(self._queries.get_many, [item[1] for item in items])}
            for place, job_id, _, token in items:
                standing, record = standings.get(job_id), records.get(job_id)
                if standing is None or record is None:
                    continue
                state, due = self._clock.given_back(standing.now, delay)
                if standing.kind == PROCESSING and standing.token == token:
                    version, attempt = standing.version + 1, standing.attempt - 1
                    accepted[place] = Accepted(
                        version, standing.seq, attempt, standing.crash_count, standing.retry_count, state=(kind, state)
                    )
                    changes.append(
                        (standing.seq, kind, state, standing.due if due is None else due, version, attempt,
                         standing.crash_count, standing.retry_count, kind, version, token, None, None, None, None,
                         *(record[name] for name in _RECORD), standing.now)
                    )  # fmt: skip
                    wake[record["queue"]] += 1
                elif standing.repeats(token, kind):
                    shown = record["state"] if standing.kind == kind else state
                    accepted[place] = Accepted(
                        standing.trace_version or 0, standing.seq, standing.attempt, standing.crash_count,
                        standing.retry_count, state=(kind, shown),
                    )  # fmt: skip
            await self._put(conn, changes, [])
        return accepted, wake

    async def extend(
        self, operation: str, items: Sequence[tuple[str, int, int]], lock_timeout: int, renewed: dict[int, int]
    ) -> None:
        """Renews claims: items are id, sequence and token. `renewed` takes the new expiry of each by its token."""
        ordered = sorted(items, key=lambda item: item[1])

        async def fast(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(
                self._queries.extend,
                self._clock.offset,
                lock_timeout,
                [item[1] for item in ordered],
                [item[2] for item in ordered],
                [item[0] for item in ordered],
            )
            return found

        renewed.update({row["token"]: row["expires_at"] for row in await self._connections.run(operation, fast)})
        rest = [(item[0], item[2]) for item in items if item[2] not in renewed]
        if rest:
            renewed.update(
                await self._connections.run(operation, lambda conn: self._extend_held(conn, rest, lock_timeout))
            )

    async def _extend_held(
        self, conn: Connection, claims: Sequence[tuple[str, int]], lock_timeout: int
    ) -> dict[int, int]:
        """Claims, by id and token, that lapsed and were put back in line: they leave the line again."""
        renewed: dict[int, int] = {}
        held = set(claims)
        async with self._holding(conn, [job_id for job_id, _ in claims]) as standings:
            seqs: list[int] = []
            for job_id, standing in standings.items():
                if standing.kind == PROCESSING and standing.token is not None and (job_id, standing.token) in held:
                    seqs.append(standing.seq)
                    renewed[standing.token] = standing.now + lock_timeout
            if seqs:
                expires = max(renewed.values())
                await conn.execute(self._queries.unpark, sorted(seqs), expires)
        return renewed

    # -------------------------------------------------------------- delete

    async def delete(self, operation: str, job_id: str) -> bool:
        """Removes a job with its locks."""
        meant: set[int] = set()

        async def work(conn: Connection) -> bool:
            async with self._holding(conn, [job_id]) as standings:
                seqs = [standing.seq for standing in standings.values()]
                if meant and not meant.intersection(seqs):
                    return True  # the first request deleted it; what bears the id now is another job
                if not seqs:
                    return False
                meant.update(seqs)
                await conn.execute(self._queries.delete, seqs, [job_id])
            return True

        return await self._connections.run(operation, work)


_RECORD: Final = ("queue", "priority", "max_retries", "job_type", "timeout_seconds", "metadata")
