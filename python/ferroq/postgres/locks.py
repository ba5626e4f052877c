"""Explicit locks: try_acquire_job_lock and release_job_lock."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..errors import StorageError
from .connection import Connection, Connections

if TYPE_CHECKING:
    from .clock import Clock


_PATIENCE: Final = 1.0  # seconds that a failed call waits until its lock is taken back


class Locks:
    """The explicit locks of one storage. The protocol, and why it takes three transactions, is in docs/postgres.md."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock
        self._undoing: set[asyncio.Task[bool]] = set()

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
            return bool(row["ours"])

        # Each its own transaction, and so its own snapshot; a lost reply is asked for again, by the nonce.
        maybe = False
        try:
            try:
                if not await self._connections.run(operation, take):
                    return False
                maybe = True
            except BaseException as error:
                maybe = getattr(error, "outcome", "unknown") == "unknown"
                raise
            await self._connections.run(operation, touch)
            return await self._connections.run(operation, check)
        except BaseException as error:
            # The first step may stand: a lock that nobody knows to have would keep the job for its whole length.
            if maybe and not await self._undone(operation, job_id, nonce) and isinstance(error, StorageError):
                error.outcome = "unknown"
            raise

    async def _undone(self, operation: str, job_id: str, nonce: int) -> bool:
        """Whether the lock was taken back; it goes on doing so when the wait for it is over."""

        async def undo(conn: Connection) -> bool:
            await conn.execute(self._queries.lock_undo, job_id, nonce)
            return True

        task = asyncio.ensure_future(self._connections.run(operation, undo))
        self._undoing.add(task)
        task.add_done_callback(self._forget)
        with suppress(TimeoutError, StorageError):
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(task)
        return False

    def _forget(self, task: asyncio.Task[bool]) -> None:
        self._undoing.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the lock's own length is what is left then

    async def release(self, operation: str, job_id: str, worker: str) -> tuple[bool, str | None]:
        """Whether something was freed, and the queue of the job to wake, if there is one."""
        while True:
            held = await self._connections.fetchrow(
                operation, self._queries.lock_look, self._clock.offset, job_id, worker
            )
            if held["nonce"] is not None:
                query = self._queries.lock_free
                given: tuple[Any, ...] = (job_id, held["nonce"])
            elif held["token"] is not None:
                query = self._queries.claim_free
                given = (self._clock.offset, job_id, held["token"])
            else:
                return False, None
            resent = False

            async def free(conn: Connection, query: str = query, given: tuple[Any, ...] = given) -> Any:
                return await conn.fetchrow(query, *given)

            async def again(conn: Connection, free: Any = free) -> Any:
                nonlocal resent
                resent = True
                return await free(conn)

            row = await self._connections.run(operation, free, again=again)
            if row is not None:
                return True, row["queue"]
            if resent:
                return True, None  # it was there, and by its nonce or token nobody else's: our first request freed it
            # Freed, lapsed or settled between the look and this: look at what is held now.
