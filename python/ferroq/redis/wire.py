"""One connection: commands out, answers in. The one place that knows the driver's connections from inside.

The driver connects, with TLS, password and database. From then on its streams, and a timer a request, would be a fifth
of the time of a small request (benches/redis/single.py): so the answers go straight from the event loop's transport
into hiredis, and one timer a connection looks after deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import InvalidResponse, RedisError

Argument: TypeAlias = bytes | str | int
Endpoint: TypeAlias = tuple[str, int]


def packed(arguments: Sequence[Argument]) -> bytes:
    """A command as it goes over the wire."""
    command: bytes = hiredis.pack_command(tuple(arguments))  # type: ignore[arg-type]  # its stub knows one argument only
    return command


class _Answers(asyncio.Protocol):
    """What comes in, for one request at a time or for one listener."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: hiredis.Reader) -> None:
        self._loop = loop
        self._reader = reader
        self._early: deque[Any] = deque()
        self._waiter: asyncio.Future[Any] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost: BaseException | None = None

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            answer = reader.gets()
            while answer is not False:
                waiter = self._waiter
                self._waiter = None
                if waiter is not None and not waiter.done():
                    waiter.set_result(answer)
                else:
                    self._early.append(answer)
                answer = reader.gets()
        except RedisError as error:  # it is no answer at all
            self._end(error)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: BaseException | None) -> None:
        if self._lost is None:
            self._lost = error if isinstance(error, RedisError) else DriverConnectionError("the connection was closed")
            self._lost.__cause__ = error if error is not self._lost else None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(self._lost)

    @property
    def clean(self) -> bool:
        """Whether it is open and owes nobody an answer."""
        return self._lost is None and not self._early and self._waiter is None and not self._reader.has_data()

    def next(self, deadline: float | None) -> asyncio.Future[Any]:
        """The next answer, an error of the server's as a value; TimeoutError at the deadline, by the loop's time."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        if self._early:
            waiter.set_result(self._early.popleft())
        elif self._lost is not None:
            waiter.set_exception(self._lost)
        else:
            self._waiter = waiter
            self._deadline = math.inf if deadline is None else deadline
            if deadline is not None:
                if self._timer is None:
                    self._timer = self._loop.call_at(deadline, self._expire)
                elif deadline < self._timer.when():
                    self._timer.cancel()
                    self._timer = self._loop.call_at(deadline, self._expire)
        return waiter

    def put_back(self, answer: Any) -> None:
        """Gives back an answer that nobody took."""
        self._early.appendleft(answer)

    def _expire(self) -> None:
        """The time of some request of this connection's is up: of the present one, or of one that was answered."""
        fired, self._timer = self._timer, None
        waiter = self._waiter
        if waiter is None or waiter.done() or fired is None:
            return
        if self._deadline == math.inf:
            return
        if self._deadline > fired.when():
            self._timer = self._loop.call_at(self._deadline, self._expire)
        else:
            self._waiter = None
            waiter.set_exception(TimeoutError())


class Wire:
    """A connection of the driver's, used by one request at a time."""

    __slots__ = ("_answers", "_connection", "_endpoint", "_transport")

    def __init__(self, connection: AbstractConnection, endpoint: Endpoint | None) -> None:
        self._connection = connection
        self._endpoint = endpoint

    @property
    def endpoint(self) -> Endpoint | None:
        """The server's host and port; None for a socket."""
        return self._endpoint

    async def connect(self) -> None:
        connection = self._connection
        await connection.connect()  # type: ignore[no-untyped-call]
        writer = connection._writer
        if writer is None:
            raise DriverConnectionError("the connection was closed")
        # With protocol 2 nothing comes that was not asked for: no answer can be lost between the driver and us.
        reader = hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)
        self._answers = _Answers(asyncio.get_running_loop(), reader)
        self._transport = writer.transport
        self._transport.set_protocol(self._answers)

    def usable(self) -> bool:
        """Whether nothing says that the server has closed it, or that it holds an answer to somebody else's request."""
        return self._answers.clean and not self._transport.is_closing()

    async def exchange(self, command: bytes, deadline: float | None = None) -> Any:
        """One command and its answer; an error of the server's is raised, and leaves the connection as it is.

        Args:
            deadline: the time of the event loop at which it is a TimeoutError.
        """
        waiter = self._answers.next(deadline)
        self._transport.write(command)
        return await self._answer(waiter)

    async def receive(self, deadline: float | None = None) -> Any:
        """The next answer: to somebody who was cancelled, or to nobody's question."""
        return await self._answer(self._answers.next(deadline))

    async def _answer(self, waiter: asyncio.Future[Any]) -> Any:
        try:
            answer = await waiter
        except asyncio.CancelledError:
            # It may be here already, and the task be cancelled before its turn: the next one to ask must find it.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._answers.put_back(waiter.result())
            raise
        if isinstance(answer, RedisError):
            raise answer
        return answer

    async def ask(self, *arguments: Argument) -> Any:
        """One command and its answer."""
        return await self.exchange(packed(arguments))

    async def drop(self) -> None:
        """Closes it without ceremony."""
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)
