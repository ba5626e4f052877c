"""Waiting for jobs [Q16]: one connection a process and store, whatever the number of waiters and of storages.

It subscribes to the store's shard channel and blocks on it. A script that brings jobs into a ready set publishes
their number and the queue's name there; each process wakes so many of its waiters of that queue, in the order in
which they came. Rejected: a list to block on, one a process, where a writer picks whom to wake: a process that was
killed while it was registered would swallow a wake-up. Rejected: a stream, which would cost each enqueue a write that
goes to the AOF and to replicas, waiter or not.

What comes due or lapses is published by nobody. For that, and for a message lost with its connection, each process
that has waiters looks once a second, or earlier when the first timer is earlier.

A connection belongs to an event loop: a process that runs several of them has one such connection in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError

from ..errors import StorageClosedError, StorageError
from .client import Client
from .config import RedisConfig
from .faults import BACKEND
from .scripts import PEEK
from .wire import Wire, packed

TICK: Final = 1.0
SILENCE: Final = 15.0
"""Seconds without a message after which the connection is asked whether it is there still."""
_OPERATION: Final = "wait_for_jobs"
_LONGEST_PAUSE: Final = 1.0
_SHORTEST_PAUSE: Final = 0.02
_NO_MATTER: Final[dict[str, Any]] = {
    "pool_size": 1,
    "connection_timeout": 5,
    "command_timeout": 5,
    "lock_timeout": 1800,
    "max_crashes": 3,
    "max_payload_bytes": 1,
    "server_name": "-",
    "keep_succeeded": None,
    "keep_failed": None,
    "keep_deleted": None,
    "strict": False,
}


class _Waiter:
    """One call of `wait_for_jobs`."""

    __slots__ = ("client", "future", "queues", "told")

    def __init__(self, client: Client, queues: frozenset[str] | None) -> None:
        self.client = client
        self.queues = queues
        self.future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.told: str | None = None
        """The queue of the message that woke it: a caller that is gone by then passes it on."""

    def wants(self, queue: str) -> bool:
        return not self.future.done() and (self.queues is None or queue in self.queues)

    def wake(self, told: str | None = None) -> None:
        if not self.future.done():
            self.told = told
            self.future.set_result(True)

    def fail(self, error: StorageError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the store found."""

    wave: bool
    """More came due or lapsed than one claim takes over: any claim helps."""
    some: bool
    ready: frozenset[str]
    after: float
    """Seconds until the next timer."""

    def concerns(self, waiter: _Waiter) -> bool:
        """Whether there are jobs in a queue of the waiter's."""
        return self.some if waiter.queues is None else not waiter.queues.isdisjoint(self.ready)


class Waiters:
    """The waiters of one storage."""

    def __init__(self, client: Client, config: RedisConfig) -> None:
        self._client = client
        self._config = config
        self._hub: _Hub | None = None

    async def wait(self, queues: frozenset[str] | None, timeout: float | None) -> bool:
        """True when a claim of one of the queues may succeed, False after the time-out."""
        if self._hub is None:
            self._hub = _Hub.of(self._config)
            self._hub.join(self._client)
        return await self._hub.wait(self._client, queues, timeout)

    async def close(self) -> None:
        """Ends every wait with `StorageClosedError`."""
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.leave(self._client)


class _Hub:
    """What wakes the waiters of all storages of one store, in one event loop."""

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, _Hub]]] = WeakKeyDictionary()

    def __init__(self, key: Any, config: RedisConfig) -> None:
        self._key = key
        self._patience = config.connection_timeout
        self._clients: dict[Client, None] = {}
        self._waiters: dict[_Waiter, None] = {}  # a set would forget who came first
        self._listening = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._wire: Wire | None = None
        self._somebody = asyncio.Event()
        self._sooner = asyncio.Event()

    @classmethod
    def of(cls, config: RedisConfig) -> _Hub:
        """That of the running loop for the store that a configuration names."""
        for loop in [loop for loop in cls._all if loop.is_closed()]:
            del cls._all[loop]
        hubs = cls._all.setdefault(asyncio.get_running_loop(), {})
        # Whatever is not about which store, and as whom, may differ.
        key = replace(config, **_NO_MATTER)
        hub = hubs.get(key)
        if hub is None:
            hub = hubs[key] = cls(key, config)
        return hub

    def join(self, client: Client) -> None:
        self._clients[client] = None

    async def leave(self, client: Client) -> None:
        self._clients.pop(client, None)
        closed = StorageClosedError("the storage was closed", backend=BACKEND, operation=_OPERATION)
        for waiter in self._waiters:
            if waiter.client is client:
                waiter.fail(closed)
        if not self._clients:
            self._all.get(asyncio.get_running_loop(), {}).pop(self._key, None)
            tasks, self._tasks = self._tasks, ()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, client: Client, queues: frozenset[str] | None, timeout: float | None) -> bool:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        waiter = _Waiter(client, queues)
        self._waiters[waiter] = None
        passed_on = True
        try:
            if not self._tasks:
                self._tasks = (loop.create_task(self._listen()), loop.create_task(self._tick()))
            self._somebody.set()
            # Not under the time-out: even one of 0 seconds finds what is there.
            heard = self._listening.is_set()
            if await self._finds(waiter):
                passed_on = False
                return True
            self._sooner.set()
            try:
                async with asyncio.timeout_at(deadline):
                    if not heard:
                        await self._begin(waiter)
                        # Subscribed first, looked second: a job that came in between is not missed.
                        if not waiter.future.done() and await self._finds(waiter):
                            passed_on = False
                            return True
                    found = await waiter.future
                    passed_on = False
                    return found
            except StorageError:
                raise  # some are time-outs too
            except TimeoutError:
                passed_on = not (waiter.future.done() and not waiter.future.cancelled())
                return not passed_on and waiter.future.result()
        finally:
            self._waiters.pop(waiter, None)
            if passed_on and waiter.told is not None:
                self._wake(waiter.told, 1)  # cancelled, or failed: the message was spent on nobody
            if waiter.future.done() and not waiter.future.cancelled():
                waiter.future.exception()  # looked at: nobody has to be told that it was not
            if not self._waiters:
                self._somebody.clear()

    async def _begin(self, waiter: _Waiter) -> None:
        """Until the subscription stands, or the waiter has its answer."""
        listening = asyncio.ensure_future(self._listening.wait())
        try:
            await asyncio.wait((listening, waiter.future), return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()

    async def _finds(self, waiter: _Waiter) -> bool:
        seen = await self._look(waiter.client, [waiter])
        return seen.wave or seen.concerns(waiter)

    async def _look(self, client: Client, waiters: Iterable[_Waiter]) -> _Seen:
        """What is there for these waiters."""
        names: set[str] = set()
        for waiter in waiters:
            names |= waiter.queues or frozenset()
        ordered = sorted(names)
        wave, after, some, flags = await client.script(_OPERATION, PEEK, ordered, ordered)
        ready = frozenset(name for name, flag in zip(ordered, flags.decode(), strict=True) if flag == "1")
        return _Seen(bool(wave), bool(some), ready, int(after) / 1e6)

    # ------------------------------------------------------------------ what wakes them

    def _wake(self, queue: str, jobs: int) -> None:
        for waiter in self._waiters:
            if jobs > 0 and waiter.wants(queue):
                waiter.wake(queue)
                jobs -= 1

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.01
        failing_since: float | None = None
        while True:
            client = next(iter(self._clients))
            try:
                wire = self._wire = await client.route.connect()
                subscribe = packed(("SSUBSCRIBE", client.keys.channel))
                await wire.exchange(subscribe, loop.time() + self._patience)
                failing_since = None
                pause = 0.01
                self._listening.set()
                self._sooner.set()  # something may have come while nobody listened
                while True:
                    message = await self._hear(wire, subscribe)
                    if message[0] == b"smessage":
                        self._heed(message[2])
                    elif message[0] == b"sunsubscribe":
                        break  # the slot has moved to another node
            except (RedisError, OSError, StorageError) as error:
                failing_since = failing_since if failing_since is not None else loop.time()
                if loop.time() - failing_since > self._patience:
                    failed = error if isinstance(error, StorageError) else client.failed(error, _OPERATION)
                    self._fail(failed)
            finally:
                self._listening.clear()
                if self._wire is not None:
                    await self._wire.drop()
                    self._wire = None
            client.route.moved(None)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _hear(self, wire: Wire, subscribe: bytes) -> Any:
        """The next message. A connection that may have died unseen is asked for a sign of life: subscribing again is
        answered, and changes nothing."""
        try:
            async with asyncio.timeout(SILENCE):
                return await wire.receive()
        except TimeoutError:
            return await wire.exchange(subscribe, asyncio.get_running_loop().time() + self._patience)

    def _heed(self, message: bytes) -> None:
        """Wakes whom a message is for; what it does not understand is a reason to look, no more."""
        count, _, queue = message.decode("utf-8", "replace").partition(":")
        if count.isascii() and count.isdigit():
            self._wake(queue, int(count))
        else:
            self._sooner.set()

    async def _tick(self) -> None:
        """Finds what nobody publishes. Its own failures are the listener's to report."""
        idle, early = _SHORTEST_PAUSE, False
        while True:
            await self._somebody.wait()
            self._sooner.clear()
            after = TICK
            try:
                seen = await self._look(next(iter(self._clients)), self._waiters)
            except StorageError as error:
                if not (error.retryable or isinstance(error, StorageClosedError)):
                    self._fail(error)
            else:
                woken = False
                for waiter in self._waiters:
                    if seen.wave or seen.concerns(waiter):
                        waiter.wake()
                        woken = True
                # Timers of queues for which nobody waits here are looked at ever more seldom.
                idle = min(2 * idle, TICK) if early and not woken else _SHORTEST_PAUSE
                after = TICK if seen.wave else max(seen.after, idle)
            early = after < TICK
            try:
                async with asyncio.timeout(min(TICK, after)):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    def _fail(self, error: StorageError) -> None:
        for waiter in self._waiters:
            waiter.fail(error)
