"""Claims: taking over what came due or lapsed, taking the best jobs, and giving back what nobody received."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .._native import restore_claims
from ..errors import StorageError
from .connection import Connection, Connections
from .records import columns

if TYPE_CHECKING:
    from .._native import Job
    from .clock import Clock

    Key = tuple[int, int, int]

TAKEOVER: Final = 100
# Columns of claim.sql, and what is in its head.
_PRIORITY: Final = 5
_SEQ: Final = 14
_TOKEN: Final = 15
_DUE: Final = 18
_HEAD: Final = 19
_PENDING: Final = 1
_CUT: Final = 2
_MORE: Final = 4
_DEAD: Final = 8
_START: Final = (-(2**31), -(2**63), 0)
# Dead index entries in one claim's way from which on it may start at the last claimed key [Q27]. In normal running they
# are killed as they are met and vacuumed by the ten thousand.
_WADED: Final = 5_000
_OVERLOOKED: Final = 0.1  # seconds that a job ahead of the cursor may be overlooked
_CURSORS: Final = 64
_LOOKS: Final = (1.0, 9.0)  # seconds after which a request without an answer is looked after, one look after the other
_PATIENCE: Final = 1.0  # seconds that a cancelled call waits for its request to be answered and given back


@dataclass(slots=True)
class _Cursor:
    """Where the last claim over these queues ended, while starting at the front is slow."""

    key: Key
    looked: float
    """When a claim that started at the front last ended. Such a claim is slow itself: counted from its start, the time
    for which others may start at the cursor would be over as soon as it begins."""


class Claims:
    """The claims of one storage."""

    def __init__(
        self,
        connections: Connections,
        clock: Clock,
        give_back: Callable[[str, Sequence[Job]], Awaitable[object]],
    ) -> None:
        config = connections.config
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock
        self._give_back = give_back
        self._server = config.server_name
        self._max_crashes = config.max_crashes
        self._cursors: OrderedDict[tuple[str, ...] | None, _Cursor] = OrderedDict()
        self._undoing: set[asyncio.Task[None]] = set()
        self._finishing = asyncio.Event()

    async def claim(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int
    ) -> list[Job]:
        """Up to `limit` jobs in claim order; none is left claimed if the call is cancelled [L7]."""
        return await self.unless_cancelled(operation, self._claim(operation, worker, limit, queues, lock_timeout))

    async def unless_cancelled(self, operation: str, work: Coroutine[Any, Any, list[Job]]) -> list[Job]:
        """The result of `work`; where the caller is cancelled, the claims in it are given back first."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            undo = asyncio.ensure_future(self._undo(operation, task))
            # Held here: the loop itself keeps weak references only.
            self._undoing.add(undo)
            undo.add_done_callback(self._undoing.discard)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await asyncio.shield(undo)
            raise

    async def _undo(self, operation: str, task: asyncio.Future[list[Job]]) -> None:
        # Whatever goes wrong here, the lapse gives the jobs back.
        with suppress(StorageError):
            held = [job for job in await task if job.lock is not None]
            if held:
                await self._give_back(operation, held)

    async def finish(self, patience: float) -> None:
        """Waits for what is being given back."""
        self._finishing.set()
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=patience)

    async def _claim(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int
    ) -> list[Job]:
        name = None if queues is None else tuple(queues)
        jobs: list[Job] = []
        taken_over = False
        takes = 0
        reach = limit
        try:
            while len(jobs) < limit:
                wanted = limit - len(jobs)
                cursor = self._cursors.get(name)
                if cursor is not None and time.monotonic() - cursor.looked >= _OVERLOOKED:
                    cursor = None
                rows = await self._take(
                    operation, worker, wanted, name, lock_timeout,
                    taken_over or cursor is not None, cursor.key if cursor is not None else _START, max(reach, wanted),
                )  # fmt: skip
                head: int = rows[0][_HEAD]
                if head & _PENDING:
                    await self.take_over(operation, limit)
                    taken_over = True
                    continue
                found = len(rows) if rows[0][0] is not None else 0
                if found:
                    self._note(name, head, rows[-1], cursor)
                    jobs += await self._sound(operation, rows, worker, lock_timeout)
                    takes += 1
                if head & _CUT:
                    break  # 16 MiB of text are enough for one call
                if found == wanted:
                    continue  # done, unless some were buried
                if cursor is not None:
                    self._cursors.pop(name, None)  # short: look at the front
                    continue
                if head & _MORE and reach < 10_000:
                    reach = min(10_000, 4 * reach + 64)  # others hold the heads of these queues: look further
                    continue
                break
        except StorageError:
            if not jobs:
                raise
        # A claim shorter than this call may have lapsed in it, and been taken over by the call itself.
        return list({job.id: job for job in jobs}.values()) if takes > 1 else jobs

    async def _take(
        self,
        operation: str,
        worker: str,
        limit: int,
        name: tuple[str, ...] | None,
        lock_timeout: int,
        ignore_wave: bool,
        start: Key,
        reach: int,
    ) -> list[Any]:
        request = secrets.randbits(62)
        extra: tuple[Any, ...]
        if name is None:
            query, extra = self._queries.claim_all(limit), ()
        elif len(name) == 1:
            query, extra = self._queries.claim_queue(limit), name
        else:
            query, extra = self._queries.claim_queues(reach), (list(name), reach)
        arguments = (
            self._clock.offset, limit, worker, self._server, lock_timeout, request, ignore_wave, *start, *extra,
        )  # fmt: skip

        async def once(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(query, *arguments)
            return found

        resent = False

        async def again(conn: Connection) -> list[Any]:
            # The reply was lost: what the first request claimed is ours.
            nonlocal resent
            resent = True
            mine: list[Any] = await conn.fetch(self._queries.claimed_by, request)
            return mine or await once(conn)

        try:
            rows = await self._connections.run(operation, once, again=again)
        except StorageError as error:
            if error.outcome == "unknown":
                self._look_after(operation, request, worker, frozenset())
            raise
        if resent:
            self._look_after(operation, request, worker, frozenset(row[_TOKEN] for row in rows))
        return rows

    def _look_after(self, operation: str, request: int, worker: str, known: frozenset[int]) -> None:
        """A request that nobody answered may still be running on the server: what it claims later is given back."""
        task = asyncio.ensure_future(self._recover(operation, request, worker, known))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _recover(self, operation: str, request: int, worker: str, known: frozenset[int]) -> None:
        for pause in _LOOKS:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._finishing.wait()
            # Whatever goes wrong here, the lapse gives the jobs back.
            with suppress(StorageError):
                rows = await self._connections.fetch(operation, self._queries.claimed_by, request)
                lost = [row for row in rows if row[_TOKEN] not in known]
                held, _ = restore_claims(lost, worker, self._server, 0, self._max_crashes)
                if held:
                    await self._give_back(operation, held)

    def _note(self, name: tuple[str, ...] | None, head: int, row: Any, cursor: _Cursor | None) -> None:
        """Keeps the last key while claims wade through dead index entries, and only then."""
        if cursor is not None:
            cursor.key = max(cursor.key, _key(row))
        elif head // _DEAD > _WADED:
            self._cursors[name] = _Cursor(_key(row), time.monotonic())
            self._cursors.move_to_end(name)
            if len(self._cursors) > _CURSORS:
                self._cursors.popitem(last=False)
        else:
            self._cursors.pop(name, None)

    async def _sound(self, operation: str, rows: list[Any], worker: str, lock_timeout: int) -> list[Job]:
        """The claimed jobs; what nobody may have becomes failed: records that cannot be decoded, their bytes kept [E3],
        and claims that lapsed too often for this process although another had put them in line [L4]."""
        jobs, buried = restore_claims(rows, worker, self._server, lock_timeout, self._max_crashes)
        if buried:
            buried.sort()

            async def bury(conn: Connection) -> None:
                await conn.execute(self._queries.bury, self._clock.offset, *columns(buried, 3))

            # Else they lapse, and are met again; the sound ones are claimed, and their caller must hear of it.
            with suppress(StorageError):
                await self._connections.run(operation, bury)
        return jobs

    async def take_over(self, operation: str, limit: int) -> None:
        """Puts what came due or lapsed in line, and fails what lapsed too often."""
        budget = max(TAKEOVER, limit)

        async def move(conn: Connection) -> bool:
            row = await conn.fetchrow(self._queries.takeover, self._clock.offset, budget, self._max_crashes)
            return bool(row["doomed"])

        async def fail(conn: Connection) -> None:
            async with self._connections.transaction(conn):
                rows = await conn.fetch(self._queries.doomed_lock, self._clock.offset, budget, self._max_crashes)
                await conn.fetch(self._queries.doomed_fail, self._clock.offset, [row["seq"] for row in rows])

        if await self._connections.run(operation, move):
            await self._connections.run(operation, fail)


def _key(row: Any) -> Key:
    return ~row[_PRIORITY], row[_DUE], row[_SEQ]
