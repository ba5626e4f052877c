"""Explicit locks: try_acquire_job_lock and release_job_lock."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .connection import Connection, Connections

if TYPE_CHECKING:
    from .clock import Clock


class Locks:
    """The explicit locks of one storage. The protocol, and why it takes three transactions, is in docs/postgres.md."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock

    async def try_acquire(self, operation: str, job_id: str, worker: str, seconds: int) -> bool:
        """Whether the lock is ours now."""
        nonce = secrets.randbits(62) + 1

        async def take(conn: Connection) -> bool:
            row = await conn.fetchrow(self._queries.lock_take, self._clock.offset, job_id, worker, seconds, nonce)
            return row is not None

        async def touch(conn: Connection) -> None:
            await conn.execute(self._queries.lock_touch, job_id)

        async def check(conn: Connection) -> bool:
            row = await conn.fetchrow(self._queries.lock_check, self._clock.offset, job_id, nonce)
            return row is not None

        # Each its own transaction, and so its own snapshot; a lost reply is asked for again, by the nonce.
        if not await self._connections.run(operation, take):
            return False
        await self._connections.run(operation, touch)
        return not await self._connections.run(operation, check)

    async def release(self, operation: str, job_id: str, worker: str) -> tuple[bool, str | None]:
        """Whether something was freed, and the queue of the job to wake, if there is one."""
        resent = False

        def free(query: str) -> Any:
            async def work(conn: Connection) -> Any:
                return await conn.fetchrow(query, self._clock.offset, job_id, worker)

            async def again(conn: Connection) -> Any:
                nonlocal resent
                resent = True
                return await work(conn)

            return self._connections.run(operation, work, again=again)

        for query in (self._queries.lock_free, self._queries.claim_free):
            row = await free(query)
            if row is not None:
                return True, row["queue"]
            if resent:
                # Ours may be gone by the first request: going on could give back a claim that was not meant.
                return True, None
        return False, None
