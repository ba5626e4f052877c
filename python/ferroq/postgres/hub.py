"""Waiters of one process and the one connection that LISTENs for them [Q16].

All storages of one event loop with one address and one schema share a hub, however many they are: a connection of the
driver belongs to its loop, so a process has one LISTEN connection a loop, and as a rule one.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from .._native import fork_epoch
from ..errors import StorageError
from .connection import Connections
from .errors import DRIVER

_RECONNECT: Final = (0.05, 5.0)
_PATIENCE: Final = 1.0  # seconds that leaving waits for a connection in the making
_STEADY: Final = 1.0  # seconds after which a connection that goes was a good one
_FAILURES: Final[tuple[type[Exception], ...]] = (StorageError, *DRIVER)

_Key = tuple[int, str, str]
_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Hub]] = weakref.WeakKeyDictionary()


class Waiter:
    """One call that waits, and what woke it."""

    __slots__ = ("event", "news", "owner", "queues")

    def __init__(self, queues: Sequence[str] | None, owner: object) -> None:
        self.event = asyncio.Event()
        self.queues = None if queues is None else frozenset(queues)
        self.owner = owner
        self.news: list[str | None] = []
        """Queues of the jobs that it was woken for, and that nobody else was."""

    def tell(self, queue: str | None) -> None:
        self.news.append(queue)
        self.event.set()

    def look(self) -> None:
        """What was told until now is what the next look is for."""
        self.news.clear()
        self.event.clear()


class Hub:
    """The waiters that one LISTEN connection serves, the longest waiting first."""

    def __init__(self, channel: str, patience: float) -> None:
        self.channel = channel
        self.sender_id = secrets.token_hex(4)
        """In the payloads of this hub's storages, whose waiters know already."""
        self._patience = patience
        self._waiters: dict[Waiter, None] = {}
        self._members: list[Connections] = []
        self._listening: asyncio.Task[None] | None = None
        self._connecting: asyncio.Future[Any] | None = None

    @classmethod
    def of(cls, connections: Connections) -> Hub:
        """The hub of that address and schema on the running loop; `leave` it in the end."""
        config = connections.config
        key = (fork_epoch(), connections.listens_at, config.schema_name)
        hubs = _hubs.setdefault(asyncio.get_running_loop(), {})
        hub = hubs.get(key)
        if hub is None:
            hub = hubs[key] = cls(f"ferroq_{config.schema_name}", config.command_timeout)
        hub._members.append(connections)
        return hub

    async def leave(self, connections: Connections) -> None:
        """One storage less. The last that may listen takes the connection along."""
        self._members = [member for member in self._members if member is not connections]
        if not self._members:
            for key, hub in list(_hubs.get(asyncio.get_running_loop(), {}).items()):
                if hub is self:
                    del _hubs[asyncio.get_running_loop()][key]
        if self._listener() is None and self._listening is not None:
            listening, self._listening = self._listening, None
            if self._connecting is not None and not self._connecting.done():
                await asyncio.wait([self._connecting], timeout=_PATIENCE)
                self._connecting.cancel()
            listening.cancel()
            await asyncio.wait([listening])

    # -------------------------------------------------------------- waiters

    def join(self, waiter: Waiter) -> None:
        """From now on news wakes the waiter."""
        self._waiters[waiter] = None

    def part(self, waiter: Waiter) -> None:
        """The waiter goes. What it was told of and has not looked for is for the next one."""
        self._waiters.pop(waiter, None)
        for queue in waiter.news:
            self.wake(queue, 1)

    def wake(self, queue: str | None, count: int) -> None:
        """Wakes waiters of that queue (None: of any), the longest waiting first, one a job."""
        for waiter in self._waiters:
            if count <= 0:
                return
            if not waiter.event.is_set() and (queue is None or waiter.queues is None or queue in waiter.queues):
                waiter.tell(queue)
                count -= 1

    def wake_all(self, owner: object = None) -> None:
        """Lets every waiter look, or those of one storage."""
        for waiter in self._waiters:
            if owner is None or waiter.owner is owner:
                waiter.event.set()

    # -------------------------------------------------------------- listening

    def listen(self) -> None:
        """Sees to it that somebody listens, if one of the storages may."""
        if self._listener() is not None and (self._listening is None or self._listening.done()):
            self._listening = asyncio.ensure_future(self._keep_listening())

    def _listener(self) -> Connections | None:
        return next((member for member in self._members if member.may_listen()), None)

    async def _keep_listening(self) -> None:
        """One connection that LISTENs, made again whenever it goes; until then the poll serves."""
        pause = _RECONNECT[0]
        while (member := self._listener()) is not None:
            started = time.monotonic()
            # Whatever goes wrong, also right behind the LISTEN: it is tried again, and never in a tight loop.
            with suppress(*_FAILURES):
                self._connecting = asyncio.ensure_future(member.connect_listener())
                try:
                    # Never cancelled in the middle: the driver leaves an error behind that nobody fetches.
                    await self._serve(await asyncio.shield(self._connecting))
                finally:
                    made = self._connecting
                    if made.done() and not made.cancelled() and made.exception() is None:
                        with suppress(*DRIVER):
                            made.result().terminate()
            pause = _RECONNECT[0] if time.monotonic() - started > _STEADY else min(_RECONNECT[1], 2 * pause)
            await asyncio.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 (jitter)

    async def _serve(self, connection: Any) -> None:
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _connection: gone.set())
        await connection.add_listener(self.channel, self._heard)
        # News of before this LISTEN may have been missed.
        self.wake_all()
        while not gone.is_set():
            # A dead peer is found by asking: TCP alone may take hours to notice.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await gone.wait()
            if not gone.is_set():
                await connection.execute("SELECT 1", timeout=self._patience)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        sender, _, rest = payload.partition(":")
        count, _, queue = rest.partition(":")
        if sender != self.sender_id and count.isdigit():
            self.wake(queue or None, int(count) or len(self._waiters))
