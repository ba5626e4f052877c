"""Requests: one command, one answer, and what to do when there is none [E4].

The policy, in one place. A refusal that says "not now" or "not here", or a connection that cannot be made, is tried
again until `command_timeout` is up: the command did not run. Only before the first answer ever a connection that cannot
be made is an error at once. A connection that drops before its answer leaves open whether it ran: only a request that
says how to be sent again is, because its script then answers as the first sending did; any other fails with outcome
"unknown". No answer in time is not asked again: the time is up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import AskError, AuthenticationError, MovedError, RedisError, ResponseError, TryAgainError

from .._lifecycle import Life
from ..errors import Outcome, StorageClosedError, StorageError, StorageTimeoutError
from .config import RedisConfig
from .connection import Pool, PoolExhausted, route_of
from .faults import BACKEND, Advice, advice_of, code_of, translated
from .keys import Keys
from .scripts import Script
from .slots import Slots
from .wire import Argument, Endpoint, Wire, packed

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5


class Sending:
    """How far a request has come, for a caller who is cancelled and must know what became of it."""

    __slots__ = ("begun", "wire")

    def __init__(self) -> None:
        self.begun = False
        """Whether it may have reached the server, and its answer has not been received."""
        self.wire: Wire | None = None
        """The connection by which that answer may still come: it belongs to this request."""


class Client:
    """Sends requests over a pool of connections of one event loop.

    Args:
        life: of the storage, which counts what is in flight.
    """

    def __init__(self, config: RedisConfig, life: Life[Any] | None = None) -> None:
        self.keys = Keys(config.key_prefix)
        self.route = route_of(config)
        self.slots = Slots(config)
        self._pool = Pool(self.route, config.pool_size, config.connection_timeout)
        self._timeout = config.command_timeout
        self._fixed: tuple[Argument, ...] = (len(self.keys.fixed), *self.keys.fixed)
        self._met = False
        self.life: Life[Any] = life if life is not None else Life(BACKEND)
        self._closed = False

    async def script(
        self,
        operation: str,
        script: Script,
        arguments: Sequence[Argument],
        again: Sequence[Argument] | None = None,
        *,
        slot: str = "",
        sending: Sending | None = None,
    ) -> Any:
        """Runs a script.

        Args:
            again: its arguments when it is sent a second time because the first answer was lost; None: it must not be.
            slot: where the server remembers its answer. It goes back to `slots`, but for a request that was sent twice
                or has no answer: one sending may still be under way, and would find another request's answer there.
            sending: is kept up to date. Given again after a cancellation, the request goes on where it was.
        """
        if self._closed:
            raise StorageClosedError("the storage is closed", backend=BACKEND, operation=operation)
        with self.life:
            return await self._attempts(operation, ("EVALSHA", script.sha), arguments, again, script, slot, sending)

    async def command(self, operation: str, *arguments: Argument) -> Any:
        """Runs a command that only reads."""
        if self._closed:
            raise StorageClosedError("the storage is closed", backend=BACKEND, operation=operation)
        with self.life:
            return await self._attempts(operation, (), arguments, arguments, None)

    def failed(self, error: BaseException, operation: str | None, outcome: Outcome = "not_applied") -> StorageError:
        """The error of this package for one of the driver's."""
        return translated(error, operation, outcome, self.route.secrets)

    async def _attempts(
        self,
        operation: str,
        head: tuple[Argument, ...],
        arguments: Sequence[Argument],
        again: Sequence[Argument] | None,
        script: Script | None,
        slot: str = "",
        sending: Sending | None = None,
    ) -> Any:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        pause = _FIRST_PAUSE
        keys = self._fixed if script is not None else ()
        command = packed((*head, *keys, *arguments))
        outcome: Outcome = "not_applied"
        ask: Endpoint | None = None
        refusal: RedisError | None = None
        owed: Wire | None = None
        if sending is not None:
            owed, sending.wire = sending.wire, None
        while True:
            try:
                wire = owed if owed is not None else await self._wire(ask, deadline)
            except PoolExhausted as error:
                raise StorageTimeoutError(str(error), backend=BACKEND, operation=operation, outcome=outcome) from None
            except (RedisError, OSError) as error:
                self.route.moved(None)
                ask = None
                # Before the first answer ever, the address is as likely wrong as the server is away: said at once.
                refused = isinstance(error, ResponseError) and advice_of(error) is Advice.GIVE_UP
                hopeless = refused or isinstance(error, AuthenticationError) or (not self._met and refusal is None)
                if hopeless or self._closed or clock() + pause >= deadline:
                    # Where the time ran out after refusals, they are the reason.
                    reason = refusal if refusal is not None and isinstance(error, TimeoutError) else error
                    raise self.failed(reason, operation, outcome) from reason
                pause = await self._wait(pause)
                continue
            try:
                if owed is not None:
                    owed = None
                    answer = await wire.receive(deadline)
                else:
                    if sending is not None:
                        sending.begun = True
                    answer = await wire.exchange(command, deadline)
            except (RedisError, OSError) as error:
                if isinstance(error, TimeoutError):
                    await self._put_away(wire, ask, broken=True)
                    text = f"no answer in {self._timeout} s"
                    raise StorageTimeoutError(text, backend=BACKEND, operation=operation, outcome="unknown") from error
                if not code_of(error):
                    # It dropped: the server may have run the command, or not.
                    await self._put_away(wire, ask, broken=True)
                    outcome = "unknown"
                    ask = None
                    if again is None or self._closed or clock() + pause >= deadline:
                        raise self.failed(error, operation, outcome) from error
                    command = packed((*head, *keys, *again))
                    pause = await self._wait(pause)
                    continue
                unexpected = script is not None and code_of(error) == "ERR"
                if unexpected and self.route.spread:
                    # A key of the slot that is not here (yet): it is on its way between nodes. Scripts read before they
                    # write, so that nothing was done. The server says TRYAGAIN of it for commands, but not for scripts.
                    error = TryAgainError(f"TRYAGAIN the slot is moving between nodes: {error}")
                    unexpected = False
                advice = advice_of(error)
                await self._put_away(wire, ask, broken=advice not in (Advice.GIVE_UP, Advice.LOAD))
                ask = None
                if advice is Advice.LOAD and script is not None:
                    head = ("EVAL", script.text)
                    command = packed((*head, *keys, *(arguments if outcome == "not_applied" else again or arguments)))
                elif advice is Advice.GIVE_UP or clock() + pause >= deadline:
                    # Scripts find most that can go wrong before they write. What they did not expect may come later.
                    raise self.failed(error, operation, "unknown" if unexpected else outcome) from error
                elif isinstance(error, MovedError):  # before AskError, of which the driver derives it
                    self.route.moved((error.host or (wire.endpoint or ("", 0))[0], int(error.port)))
                    await self._pool.forget()
                    pause = await self._wait(pause)
                elif isinstance(error, AskError):
                    ask = (error.host or (wire.endpoint or ("", 0))[0], int(error.port))
                else:
                    refusal = error if isinstance(error, RedisError) else None
                    self.route.moved(None)
                    await self._pool.forget()
                    pause = await self._wait(pause)
                continue
            except BaseException:
                # Cancelled with an answer on its way: this connection would give it to somebody else.
                if sending is not None and ask is None:
                    sending.wire = wire
                else:
                    await self._put_away(wire, ask, broken=True)
                raise
            await self._put_away(wire, ask, broken=False)
            self._met = True
            if sending is not None:
                sending.begun = False
            if slot and outcome == "not_applied":
                self.slots.give(slot)
            return answer

    async def _wire(self, ask: Endpoint | None, deadline: float) -> Wire:
        """A connection to send by, before the deadline: what is sent after it is run for nobody."""
        if ask is None:
            return await self._pool.take(deadline)
        async with asyncio.timeout_at(deadline):
            wire = await self.route.connect_to(ask)
            try:
                await wire.ask("ASKING")
            except BaseException:
                await wire.drop()
                raise
            return wire

    async def _put_away(self, wire: Wire, ask: Endpoint | None, *, broken: bool) -> None:
        if ask is not None:
            await wire.drop()
        elif broken:
            await self._pool.discard(wire)
        else:
            self._pool.give(wire)

    @staticmethod
    async def _wait(pause: float) -> float:
        """Waits about that long, by chance so that many clients do not come back at once; returns the next pause."""
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - chance, not a secret
        return min(2 * pause, _LONGEST_PAUSE)

    async def close(self) -> None:
        """Lets requests in flight end, for `command_timeout` at most."""
        try:
            await self.life.idle(self._timeout)
        finally:  # also if it is cancelled: nobody comes back for the connections
            self._closed = True
            await self._pool.close()
