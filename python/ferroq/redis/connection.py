"""Connections: where the server is, and a pool of them.

The whole store lies in one slot, so that even a cluster is one server at a time, which may move: a route finds it,
and is asked again after a refusal that says it has moved. The driver's own pools, retries and cluster client are not
used: each re-sends commands by rules of its own, which would store a job twice.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as DriverConnectionError

from ..errors import ConfigurationError
from .config import Address, RedisConfig
from .faults import BACKEND
from .wire import Endpoint, Wire

LONGEST_IDLE = 60.0
"""Seconds after which a connection is not trusted to be there still."""


class Route(ABC):
    """Finds the server that is in charge, and makes connections to it."""

    def __init__(self, config: RedisConfig, address: Address) -> None:
        self._config = config
        self._address = address
        database = config.db if config.db is not None else address.database
        self._login = {
            "username": config.username if config.username is not None else address.username,
            "password": config.password if config.password is not None else address.password,
            "db": database or 0,
        }
        self._secure = config.tls or address.scheme == "rediss"
        self.spread = address.scheme == "redis+cluster"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error text may show."""
        found = (self._login["password"], self._config.sentinel_password)
        return tuple(str(secret) for secret in found if secret and len(str(secret)) > 3)

    def _options(self) -> dict[str, Any]:
        return {
            "socket_timeout": None,  # a request has one deadline of ours, over all that it does
            "socket_connect_timeout": self._config.connection_timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
        }

    def _tcp(self, endpoint: Endpoint, login: dict[str, Any]) -> Wire:
        options = {**self._options(), **login, "host": endpoint[0], "port": endpoint[1], "socket_keepalive": True}
        if not self._secure:
            return Wire(Connection(**options), endpoint)
        config = self._config
        for path in (config.tls_ca_file, config.tls_cert_file, config.tls_key_file):
            if path is not None and not Path(path).is_file():
                raise ConfigurationError(f"there is no file {path}", backend=BACKEND)
        return Wire(
            SSLConnection(
                **options,
                ssl_ca_certs=config.tls_ca_file,
                ssl_certfile=config.tls_cert_file,
                ssl_keyfile=config.tls_key_file,
                ssl_cert_reqs="required" if config.tls_verify else "none",
                ssl_check_hostname=config.tls_check_hostname and config.tls_verify,
            ),
            endpoint,
        )

    async def connect(self) -> Wire:
        """A fresh connection to the server in charge."""
        wire = await self._make()
        await self._establish(wire)
        return wire

    async def connect_to(self, endpoint: Endpoint) -> Wire:
        """A fresh connection to a certain node, to which an answer pointed."""
        wire = self._tcp(endpoint, self._login)
        await self._establish(wire)
        return wire

    async def _establish(self, wire: Wire) -> None:
        try:
            async with asyncio.timeout(self._config.connection_timeout):
                await wire.connect()
        except BaseException:
            await wire.drop()
            raise

    @abstractmethod
    async def _make(self) -> Wire: ...

    def moved(self, endpoint: Endpoint | None) -> None:
        """The server is at `endpoint` now, or has to be found again."""
        del endpoint  # a server that is named by the URL stays where it is


class _Fixed(Route):
    """One server, or one socket."""

    async def _make(self) -> Wire:
        if self._address.scheme == "unix":
            options = {**self._options(), **self._login}
            return Wire(UnixDomainSocketConnection(path=self._address.path, **options), None)
        return self._tcp(self._address.hosts[0], self._login)


class _Found(Route):
    """A server that others know the place of."""

    def __init__(self, config: RedisConfig, address: Address) -> None:
        super().__init__(config, address)
        self._at: Endpoint | None = None

    def moved(self, endpoint: Endpoint | None) -> None:
        self._at = endpoint

    async def _make(self) -> Wire:
        if self._at is None:
            self._at = await self._ask_around()
        return self._tcp(self._at, self._login)

    async def _ask_around(self) -> Endpoint:
        """The first answer counts: all are asked at once, since one that is switched off answers nothing."""
        asking = {asyncio.ensure_future(self._ask(host)) for host in self._address.hosts}
        last: BaseException | None = None
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None and (found := task.result()) is not None:
                        return found
                    if not isinstance(last, AuthenticationError):
                        last = error or last
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if isinstance(last, AuthenticationError):
            raise last
        raise DriverConnectionError(f"none of the {len(self._address.hosts)} hosts knows the server") from last

    async def _ask(self, host: Endpoint) -> Endpoint | None:
        wire = self._informant(host)
        try:
            await self._establish(wire)
            async with asyncio.timeout(self._config.connection_timeout):
                return await self._question(wire, host)
        finally:
            await wire.drop()

    @abstractmethod
    def _informant(self, host: Endpoint) -> Wire: ...

    @abstractmethod
    async def _question(self, wire: Wire, host: Endpoint) -> Endpoint | None: ...


class _Sentinel(_Found):
    """The master that the sentinels agree on."""

    def _informant(self, host: Endpoint) -> Wire:
        config = self._config
        return self._tcp(host, {"username": config.sentinel_username, "password": config.sentinel_password, "db": 0})

    async def _question(self, wire: Wire, host: Endpoint) -> Endpoint | None:
        answer = await wire.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
        return (answer[0].decode(), int(answer[1])) if answer else None


class _Cluster(_Found):
    """The node that serves the store's slot."""

    def _informant(self, host: Endpoint) -> Wire:
        return self._tcp(host, self._login)

    async def _question(self, wire: Wire, host: Endpoint) -> Endpoint | None:
        slot = key_slot(self._config.key_prefix.encode())
        for first, last, master, *_replicas in await wire.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return (master[0].decode() if master[0] else host[0], int(master[1]))
        return None


def route_of(config: RedisConfig) -> Route:
    """The way to the server that a configuration names."""
    address = config.address
    kinds: dict[str, type[Route]] = {"redis+sentinel": _Sentinel, "redis+cluster": _Cluster}
    return kinds.get(address.scheme, _Fixed)(config, address)


class PoolExhausted(TimeoutError):
    """No connection came free in time."""


class Pool:
    """At most `size` connections; the one used last is handed out first."""

    __slots__ = ("_idle", "_route", "_slots", "_timeout", "_used", "size")

    def __init__(self, route: Route, size: int, timeout: float) -> None:
        self._route = route
        self._timeout = timeout
        self._slots = asyncio.Semaphore(size)
        self._idle: deque[tuple[Wire, float]] = deque()
        self._used: set[Wire] = set()
        self.size = size

    async def take(self, deadline: float) -> Wire:
        """A connection for one request; it goes back by `give` or `discard`.

        Args:
            deadline: the time of the event loop at which nobody wants it any more.

        Raises:
            PoolExhausted: none came free in time.
            RedisError, OSError, TimeoutError: none could be made.
        """
        clock = asyncio.get_running_loop().time
        if self._slots.locked():
            begun = clock()
            try:
                async with asyncio.timeout_at(min(begun + self._timeout, deadline)):
                    await self._slots.acquire()
            except TimeoutError:
                text = f"none of {self.size} connections came free in {clock() - begun:.3g} s"
                raise PoolExhausted(text) from None
        else:
            await self._slots.acquire()
        try:
            wire = await self._idle_or_new(deadline)
        except BaseException:
            self._slots.release()
            raise
        self._used.add(wire)
        return wire

    async def _idle_or_new(self, deadline: float) -> Wire:
        now = asyncio.get_running_loop().time()
        while self._idle:
            wire, since = self._idle.pop()
            # One that lay long may have been dropped on the way, by a router that tells nobody.
            if now - since < LONGEST_IDLE and wire.usable():
                return wire
            await wire.drop()
        async with asyncio.timeout_at(deadline):
            return await self._route.connect()

    def give(self, wire: Wire) -> None:
        """Back, in good order."""
        self._used.discard(wire)
        self._idle.append((wire, asyncio.get_running_loop().time()))
        self._slots.release()

    async def discard(self, wire: Wire) -> None:
        """Back, of no further use."""
        self._used.discard(wire)
        self._slots.release()
        await wire.drop()

    async def forget(self) -> None:
        """Drops what lies idle: the server has moved."""
        idle, self._idle = self._idle, deque()
        await self._drop(wire for wire, _ in idle)

    async def close(self) -> None:
        """Drops everything, also what is in use."""
        await self.forget()
        await self._drop(self._used)

    @staticmethod
    async def _drop(wires: Iterable[Wire]) -> None:
        for wire in list(wires):
            await wire.drop()
