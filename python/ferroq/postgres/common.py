"""The common batches, column by column in native code: enqueued jobs that are new, and claims that are settled.

One statement each. What it does not take goes the way of rows, in writes.py, which says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from .._native import accept_enqueued, accept_settled
from .connection import Connection, Connections
from .errors import UNIQUE_VIOLATION, sqlstate
from .records import ENQUEUED, PUT_OFF, not_kept

if TYPE_CHECKING:
    from .._native import Job
    from .._rows import EnqueueColumns, SettleColumns
    from .clock import Clock


class Common:
    """The fast ways of one storage."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock
        self._not_kept = not_kept(connections.config)

    async def enqueue(self, operation: str, jobs: list[Job], columns: EnqueueColumns) -> Counter[str] | None:
        """Stores a chunk and writes back: how many became available, by queue. None if an id is stored: nothing was."""
        ids, methods, arguments, created, queues, *rest, since = columns

        async def work(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(
                self._queries.enqueue_common, self._clock.offset, ids, created, since, methods, arguments, queues, *rest
            )
            return found

        try:
            # Not repeated after a lost reply: the caller is told.
            rows = await self._connections.run(operation, work, resend=False, raw=(UNIQUE_VIOLATION,))
        except asyncpg.PostgresError as error:
            # Another enqueue of the same id committed between our look and our insert.
            if sqlstate(error) != UNIQUE_VIOLATION:
                raise
            return None
        if not rows:
            return None
        accept_enqueued(jobs, [row[0] for row in rows])
        return Counter({queues[0]: len(jobs)}) if len(queues) == 1 else Counter(queues)

    async def settle(
        self, operation: str, jobs: list[Job], columns: SettleColumns
    ) -> tuple[list[int], Counter[str], bool]:
        """Settles claims and writes back: the places of those that were not matched, how many jobs became available, by
        queue, and whether the statement was sent a second time, its first answer lost."""
        resent = False

        async def once(conn: Connection) -> list[Any]:
            found: list[Any] = await conn.fetch(self._queries.settle, self._clock.offset, self._not_kept, *columns)
            return found

        async def again(conn: Connection) -> list[Any]:
            nonlocal resent
            resent = True
            return await once(conn)

        left = accept_settled(jobs, await self._connections.run(operation, once, again=again))
        return left, self._available(columns, set(left)), resent

    def _available(self, columns: SettleColumns, left: set[int]) -> Counter[str]:
        kinds, dues, queues = columns[4], columns[6], columns[8]
        wake: Counter[str] = Counter()
        if ENQUEUED in kinds or not PUT_OFF.isdisjoint(kinds):
            now = self._clock.now()
            for at, place in enumerate(map(int, columns[0][1:-1].split(","))):
                kind, due = _at(kinds, at), _at(dues, at) or 0
                if place not in left and (kind == ENQUEUED or (kind in PUT_OFF and due <= now)):
                    wake[_at(queues, at)] += 1
        return wake


def _at(column: Sequence[Any], at: int) -> Any:
    return column[0] if len(column) == 1 else column[at]
