"""Waking: NOTIFY after our commits, and waiting for what others send [Q16].

NOTIFY takes a database-wide lock at commit, so it never rides along with the work: a task of its own sends it, at once
when none went out in the last 10 ms, else what has come together by then, each queue once. A payload is the sender, how
many jobs became available and the queue: each process wakes as many waiters, the longest waiting first, and not all of
them for one job. Waiters of the sending process are woken without the server. What is lost (a crash between commit and
NOTIFY, no LISTEN connection) the poll finds, at the latest a second after.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..errors import StorageClosedError, StorageError
from .connection import Connections
from .hub import Hub, Waiter
from .records import BACKEND

if TYPE_CHECKING:
    from .clock import Clock

_INTERVAL: Final = 0.01
_POLL: Final = (0.6, 0.9)  # seconds, jittered
_MANY: Final = 64  # queues in one flush from which on one payload says "all"


class Wakeups:
    """What one storage tells, and those who wait on it."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._queries = connections.queries
        self._clock = clock
        self._hub = Hub.of(connections)
        self._news: Counter[str] = Counter()
        self._sender: asyncio.Task[None] | None = None
        self._sent = 0.0
        self._closed = False

    # -------------------------------------------------------------- sending

    def announce(self, available: Mapping[str, int]) -> None:
        """So many jobs of these queues became available, and that is committed."""
        if not available:
            return
        for queue, count in available.items():
            self._hub.wake(queue, count)
        self._news.update(available)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.ensure_future(self._send())

    def payloads(self, available: Mapping[str, int], *, own: bool = False) -> list[str]:
        """What NOTIFY carries.

        Args:
            own: whether the waiters here know already.
        """
        # Else of nobody, and each time of another: the server drops what a transaction has said before.
        sender = self._hub.sender_id if own else secrets.token_hex(4)
        if len(available) > _MANY:
            return [f"{sender}:0:"]
        return [f"{sender}:{count}:{queue}" for queue, count in sorted(available.items())]

    @property
    def channel(self) -> str:
        return self._hub.channel

    async def _send(self) -> None:
        while self._news:
            pause = self._sent + _INTERVAL - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            news, self._news = self._news, Counter()
            self._sent = time.monotonic()

            # Lost news is found by the poll.
            with suppress(StorageError):
                await self._connections.fetch(
                    "notify", self._queries.notify, self.channel, self.payloads(news, own=True)
                )

    # -------------------------------------------------------------- waiting

    async def wait(self, operation: str, queues: Sequence[str] | None, timeout: float | None) -> bool:
        """Sleeps until a claim may succeed (True), or `timeout` seconds are up (False)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = Waiter(queues, self)
        # Before the first look: news that comes while it runs must not be missed.
        self._hub.join(waiter)
        try:
            self._hub.listen()
            while True:
                waiter.look()
                available, pause = await self._probe(operation, queues)
                if available:
                    return True
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    if waiter.event.is_set():
                        continue  # news while the last look was under way: look once more
                    return False
                limits = [random.uniform(*_POLL), pause, left]  # noqa: S311 (jitter)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(limit for limit in limits if limit is not None)):
                        await waiter.event.wait()
                if self._closed:
                    raise StorageClosedError(
                        f"{operation}: the storage was closed", backend=BACKEND, operation=operation
                    )
        finally:
            # With a job found, or cancelled: news that came meanwhile was perhaps meant for this one alone.
            self._hub.part(waiter)

    async def _probe(self, operation: str, queues: Sequence[str] | None) -> tuple[bool, float | None]:
        """Whether a claim may succeed now, and seconds until something comes due or lapses."""

        row = await self._connections.fetchrow(operation, self._queries.probe, self._clock.offset, queues)
        pause = None if row["wait"] is None else max(0.001, row["wait"] / 1_000_000)
        return bool(row["available"]), pause

    async def close(self) -> None:
        """Wakes the waiters with `StorageClosedError`, sends what is left and stops listening."""
        self._closed = True
        self._hub.wake_all(self)
        await self._hub.leave(self._connections)
        if self._sender is not None and not self._sender.done():
            await asyncio.wait([self._sender], timeout=1.0)
            self._sender.cancel()
