"""Waiting for jobs [Q16]: one connection a storage, whatever the number of waiters.

It subscribes to the store's shard channel and blocks on it. A script that brings jobs into a ready set publishes
their number and the queue's name there; each process wakes so many of its waiters of that queue, in the order in
which they came. Rejected: a list to block on, one a process, where a writer picks whom to wake: a process that was
killed while it was registered would swallow a wake-up. Rejected: a stream, which would cost each enqueue a write that
goes to the AOF and to replicas, waiter or not.

What comes due or lapses is published by nobody. For that, and for a message lost with its connection, each process
that has waiters looks once a second, or earlier when the first timer is earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from ..errors import StorageClosedError, StorageError
from .client import Client
from .connection import Wire
from .faults import BACKEND
from .scripts import PEEK

TICK: Final = 1.0
_OPERATION: Final = "wait_for_jobs"
_LONGEST_PAUSE: Final = 1.0


class _Waiter:
    """One call of `wait_for_jobs`."""

    __slots__ = ("future", "queues", "told")

    def __init__(self, queues: frozenset[str] | None) -> None:
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
    """All the waiters of a storage, and what wakes them."""

    def __init__(self, client: Client, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._waiters: dict[_Waiter, None] = {}  # a set would forget who came first
        self._listening = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._wire: Wire | None = None
        self._somebody = asyncio.Event()
        self._sooner = asyncio.Event()

    async def wait(self, queues: frozenset[str] | None, timeout: float | None) -> bool:
        """True when a claim of one of the queues may succeed, False after the time-out."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        waiter = _Waiter(queues)
        self._waiters[waiter] = None
        try:
            if not self._tasks:
                self._tasks = (loop.create_task(self._listen()), loop.create_task(self._tick()))
            self._somebody.set()
            self._sooner.set()
            # Not under the time-out: even one of 0 seconds finds what is there.
            heard = self._listening.is_set()
            if await self._finds(waiter):
                return True
            try:
                async with asyncio.timeout_at(deadline):
                    if not heard:
                        await self._begin(waiter)
                        # Subscribed first, looked second: a job that came in between is not missed.
                        if not waiter.future.done() and await self._finds(waiter):
                            return True
                    return await waiter.future
            except StorageError:
                raise  # some are time-outs too
            except TimeoutError:
                return waiter.future.done() and not waiter.future.cancelled() and waiter.future.result()
        except asyncio.CancelledError:
            if waiter.told is not None:
                self._wake(waiter.told, 1)
            raise
        finally:
            self._waiters.pop(waiter, None)
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
        seen = await self._look([waiter])
        return seen.wave or seen.concerns(waiter)

    async def _look(self, waiters: Iterable[_Waiter]) -> _Seen:
        """What is there for these waiters."""
        names: set[str] = set()
        for waiter in waiters:
            names |= waiter.queues or frozenset()
        ordered = sorted(names)
        wave, after, some, flags = await self._client.script(_OPERATION, PEEK, ordered, ordered)
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
            try:
                async with asyncio.timeout(self._patience):
                    wire = self._wire = await self._client.route.connect()
                    await wire.ask("SSUBSCRIBE", self._client.keys.channel)
                failing_since = None
                pause = 0.01
                self._listening.set()
                self._sooner.set()  # something may have come while nobody listened
                while True:
                    message = await wire.receive()
                    if message[0] == b"smessage":
                        jobs, _, queue = message[2].decode("utf-8", "replace").partition(":")
                        self._wake(queue, int(jobs))
                    elif message[0] == b"sunsubscribe":
                        break  # the slot has moved to another node
            except (RedisError, OSError) as error:
                failing_since = failing_since if failing_since is not None else loop.time()
                if loop.time() - failing_since > self._patience:
                    self._fail(self._client.failed(error, _OPERATION))
            finally:
                self._listening.clear()
                if self._wire is not None:
                    await self._wire.drop()
                    self._wire = None
            self._client.route.moved(None)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tick(self) -> None:
        """Finds what nobody publishes. Its own failures are the listener's to report."""
        while True:
            await self._somebody.wait()
            after = TICK
            try:
                seen = await self._look(self._waiters)
            except StorageError as error:
                if not error.retryable:
                    self._fail(error)
            else:
                after = TICK if seen.wave else seen.after
                for waiter in self._waiters:
                    if seen.wave or seen.concerns(waiter):
                        waiter.wake()
            self._sooner.clear()
            try:
                async with asyncio.timeout(min(TICK, max(after, 0.001))):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    def _fail(self, error: StorageError) -> None:
        for waiter in self._waiters:
            waiter.fail(error)

    async def close(self) -> None:
        """Ends every wait with `StorageClosedError`."""
        self._fail(StorageClosedError("the storage was closed", backend=BACKEND, operation=_OPERATION))
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
