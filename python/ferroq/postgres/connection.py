"""Connections: the pool, its time-outs, and what happens when a statement fails or its answer is lost.

No operation leaves anything in a session: every statement stands alone or inside one transaction, so that pgbouncer may
hand each to another server connection.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg

from ..errors import (
    ConfigurationError,
    LoopMismatchError,
    SchemaMismatchError,
    StorageClosedError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageWarning,
)
from . import migrate
from .config import PostgresConfig
from .errors import DRIVER, RETRIED, UNIQUE_VIOLATION, is_lost, sqlstate, wrapped
from .queries import Queries

Connection: TypeAlias = Any
"""An asyncpg connection, a pool's or the caller's own."""

T = TypeVar("T")

# A plan that is kept was perhaps made while the tables were empty, when reading and sorting all of them looked best; it
# would do so with a million jobs in line until the next ANALYZE. Every statement here is written for its index. Where
# no statement is kept (behind a pooler, whose sessions are not ours to change) each is planned for what is there.
PLANS: Final = (
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan"
)
_LOSING: Final = (
    (
        "synchronous_commit",
        "off",
        "synchronous_commit is off: a crash of the server forgets what it had acknowledged last, settlements too",
    ),
    ("track_counts", "off", "track_counts is off: nothing is vacuumed by itself, and claims get slower and slower"),
)
"""Settings, and what they do to jobs."""
_ATTEMPTS: Final = 6  # of a statement that deadlocks
_BACKOFF: Final = 0.005
_PATIENCE: Final = 1.0  # seconds that the cancelling of a statement may take before its connection is dropped
_IDLE: Final = 5.0  # seconds that the server waits for this process inside a transaction
_GREETED: Final = 1_000  # sessions of a caller's pool that are known to have met the tokens
_RESENDS: Final = 2  # after a dropped connection; a caller's pool may hold more that are dead
_UNUSED: Final = 60.0  # seconds after which a connection at hand that nobody used goes back to the pool


class Connections:
    """The pool of one storage, on one event loop."""

    def __init__(self, config: PostgresConfig, queries: Queries) -> None:
        self.config = config
        self.queries = queries
        self.secrets = config.secrets()
        self._pool: Any = config.pool
        self._owned = config.pool is None
        self.store = config.address() if self._owned else f"pool {id(config.pool)}"
        """Tells the stores of this process apart, together with the schema."""
        self._greeted: set[int] = set()
        self._returning: set[asyncio.Task[None]] = set()
        # Sound connections of our own pool that the next call takes at once, the last one used first: the pool's own
        # taking and giving back are three tasks, and cost a call 110 µs of its 500.
        self._at_hand: list[Connection] = []
        self._fewest = 0  # that were at hand since the last look: so many were not used
        self._look: asyncio.TimerHandle | None = None
        self._asking = 0  # calls that wait for the pool: to them what is given back goes
        self._age = 0  # of the connections; one more with each that was dropped
        self.listens_at = config.dsn(listening=True) if self._owned else self.store
        """Where news is heard."""

    async def open(self, operation: str) -> None:
        """Makes the pool and looks at the server and the schema."""
        if self._owned:
            self.config.check_tls()
            self._pool = await self._make_pool(operation)
        elif getattr(self._pool, "_loop", None) not in (None, asyncio.get_running_loop()):
            raise LoopMismatchError(
                f"{operation}: the pool that was given belongs to another event loop",
                backend="postgres",
                operation=operation,
            )
        try:
            await self.run(operation, self._inspect)
        except BaseException:
            await self.close()
            raise

    async def _make_pool(self, operation: str) -> Any:
        config = self.config
        try:
            async with asyncio.timeout(config.connect_timeout):
                return await asyncpg.create_pool(
                    config.dsn(),
                    password=config.password,
                    min_size=config.min_connections,
                    max_size=config.max_connections,
                    timeout=config.connect_timeout,
                    command_timeout=config.command_timeout,
                    statement_cache_size=config.statement_cache_size,
                    # The claim and its kin are longer than the driver's default limit for what it keeps prepared.
                    max_cacheable_statement_size=0,
                    init=self._settle_in,
                    # Nothing to reset, see above: the default one would cost a round trip a call.
                    reset=_no_reset,
                )
        except StorageError:
            raise
        except Exception as error:
            raise wrapped(error, operation, sent=False, secrets=self.secrets, connecting=True) from error

    async def _settle_in(self, connection: Connection) -> None:
        """What a session of our own pool begins with."""
        if self.config.statement_cache_size:
            await connection.execute(PLANS)
        await self._greet(connection)

    async def _greet(self, connection: Connection) -> None:
        # At every connect, also to a new primary after a failover. Without the schema there is nothing to raise yet.
        try:
            await connection.fetch(self.queries.token_raise)
        except asyncpg.PostgresError as error:
            if sqlstate(error) not in ("3F000", "42P01", "42501"):
                raise

    async def _inspect(self, connection: Connection) -> None:
        schema = self.config.schema_name
        version = int(await connection.fetchval("SELECT current_setting('server_version_num')::int"))
        if version < 150000:
            raise ConfigurationError(
                f"the server is PostgreSQL {version // 10000}; ferroq needs 15 or later", backend="postgres"
            )
        encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"the database's encoding is {encoding}; jobs need one made with ENCODING 'UTF8'", backend="postgres"
            )
        found = [text for name, value, text in _LOSING if await connection.fetchval(f"SHOW {name}") == value]
        if found and self.config.strict:
            raise ConfigurationError("; ".join(found), backend="postgres")
        for text in found:
            warnings.warn(text, StorageWarning, stacklevel=2)
        if self.config.auto_migrate:
            await migrate.apply(connection, schema)
        else:
            await migrate.check(connection, schema)
        if self.config.auto_migrate:
            await connection.fetch(self.queries.token_raise)

    async def close(self, patience: float = 0.0) -> None:
        """Closes the pool; calls in flight have so many seconds."""
        pool, self._pool = self._pool, None
        if pool is None or not self._owned:
            return
        if self._look is not None:
            self._look.cancel()
        try:
            async with asyncio.timeout(patience):
                for connection in self._at_hand:
                    await pool.release(connection)
                self._at_hand.clear()
                await pool.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()
        except asyncio.CancelledError:
            pool.terminate()
            raise

    async def run(
        self,
        operation: str,
        work: Callable[[Connection], Awaitable[T]],
        *,
        resend: bool = True,
        again: Callable[[Connection], Awaitable[T]] | None = None,
        raw: tuple[str, ...] = (),
    ) -> T:
        """Runs `work` on a connection of the pool.

        Args:
            resend: whether `work` may be repeated after its connection was dropped: it answers as the first time would.
            again: what to run in that case instead.
            raw: SQLSTATEs of errors that the caller wants as they are.
        """
        resends = attempts = 0
        most = _RESENDS if self._owned else self._pool_size() + 1
        while True:
            try:
                connection = await self._acquire(operation)
            except StorageError as error:
                if resends:
                    error.outcome = "unknown"  # of the request that was sent before
                raise
            failure: BaseException | None = None
            age = self._age
            try:
                try:
                    return await work(connection)
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    if failure is not None or not self._kept_at_hand(connection, age):
                        await self._give_back(connection, failure)
            except StorageError as error:
                if error.operation is None:
                    error.operation = operation
                raise
            except Exception as error:
                if sqlstate(error) in raw:
                    raise
                if sqlstate(error) in RETRIED and attempts < _ATTEMPTS:
                    attempts += 1
                    await asyncio.sleep(random.uniform(0, _BACKOFF * 2**attempts))  # noqa: S311 (jitter)
                    continue
                if is_lost(error) and self._pool is not None:
                    await self._forget_dead()
                    if resend and resends < most:
                        resends += 1
                        work = again or work
                        continue
                if not isinstance(error, DRIVER):
                    raise
                if sqlstate(error) in ("42P01", "3F000", "42703") and isinstance(error, asyncpg.PostgresError):
                    raise SchemaMismatchError(
                        migrate.mend(self.config.schema_name, "has no tables of ferroq, or old ones"),
                        backend="postgres",
                        operation=operation,
                    ) from error
                failed = wrapped(error, operation, sent=True, secrets=self.secrets)
                if resends:
                    failed.outcome = "unknown"
                raise failed from error

    def _pool_size(self) -> int:
        return 0 if self._pool is None else int(self._pool.get_size())

    async def fetch(self, operation: str, query: str, *arguments: Any) -> list[Any]:
        """The rows of one statement, which may be sent again."""

        async def work(connection: Connection) -> list[Any]:
            rows: list[Any] = await connection.fetch(query, *arguments)
            return rows

        return await self.run(operation, work)

    async def fetchrow(self, operation: str, query: str, *arguments: Any) -> Any:
        """The first row of one statement, which may be sent again."""
        return next(iter(await self.fetch(operation, query, *arguments)), None)

    async def on(self, connection: Connection, operation: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Runs `work` on the caller's own connection, in whatever transaction that is in."""
        if connection.is_closed():
            raise StorageConnectionError(
                f"{operation}: the connection that was given is closed", backend="postgres", operation=operation
            )
        try:
            return await work(connection)
        except DRIVER as error:
            if sqlstate(error) == UNIQUE_VIOLATION:
                raise
            raise wrapped(error, operation, sent=True, secrets=self.secrets) from error

    @asynccontextmanager
    async def transaction(self, connection: Connection) -> AsyncIterator[None]:
        """A short READ COMMITTED transaction, which the server ends if this process freezes in it: what it holds
        locked would else stop the claims of all others. Inside the caller's own transaction: nothing but that."""
        if connection.is_in_transaction():
            yield
            return
        limit = round(min(_IDLE, self.config.command_timeout / 2) * 1000)
        await connection.execute(
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = {max(1, limit)}"
        )
        try:
            yield
        except BaseException:
            with suppress(*DRIVER):
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")

    def may_listen(self) -> bool:
        """Whether a connection can be spared for that: of a caller's pool of one, none can."""
        return self.config.listen and (self._owned or self._pool is None or self._pool.get_max_size() > 1)

    async def connect_listener(self) -> Connection:
        """A connection of its own, for LISTEN; of the caller's pool where there is one."""
        config = self.config
        if not self._owned:
            return await self._acquire("wait_for_jobs")
        async with asyncio.timeout(config.connect_timeout):
            return await asyncpg.connect(
                config.dsn(listening=True),
                password=config.password,
                timeout=config.connect_timeout,
                command_timeout=config.command_timeout,
                statement_cache_size=0,
            )

    def _taken_at_hand(self) -> Connection | None:
        while self._at_hand:
            connection = self._at_hand.pop()
            self._fewest = min(self._fewest, len(self._at_hand))
            try:
                if not connection.is_closed():
                    return connection
                connection.terminate()
            except asyncpg.InterfaceError:
                pass  # it ended, and the pool has taken it back
        return None

    def _kept_at_hand(self, connection: Connection, age: int) -> bool:
        """Keeps a connection for the next call; not where somebody waits for the pool, or another one was dropped while
        this one was out."""
        if not self._owned or self._asking or self._pool is None or age != self._age:
            return False
        self._at_hand.append(connection)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_UNUSED, self._look_for_unused)
        return True

    def _look_for_unused(self) -> None:
        """What nobody used for a while goes to the pool, which closes it in its time."""
        unused, self._at_hand = self._at_hand[: self._fewest], self._at_hand[self._fewest :]
        self._fewest, self._look = len(self._at_hand), None
        for connection in unused:
            self._in_background(self._give_back(connection))
        if self._at_hand:
            self._look = asyncio.get_running_loop().call_later(_UNUSED, self._look_for_unused)

    def _in_background(self, returning: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(returning)
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _acquire(self, operation: str) -> Connection:
        pool = self._pool
        if pool is None:
            raise StorageClosedError(f"{operation}: the storage was closed", backend="postgres", operation=operation)
        connection = self._taken_at_hand()
        if connection is not None:
            return connection
        self._asking += 1
        try:
            # Around the whole of it: the driver's own time-out leaves out the reconnect of a dead connection.
            async with asyncio.timeout(self.config.connect_timeout):
                connection = await self._taken(pool)
        except TimeoutError as error:
            most = f"max_connections is {self.config.max_connections}" if self._owned else "of the pool that was given"
            raise StorageTimeoutError(
                f"{operation}: no free connection within {self.config.connect_timeout:g} s ({most})",
                backend="postgres",
                operation=operation,
            ) from error
        except DRIVER as error:
            raise wrapped(error, operation, sent=False, secrets=self.secrets, connecting=True) from error
        finally:
            self._asking -= 1
        if not self._owned and connection.get_server_pid() not in self._greeted:
            await self._greet_guest(connection, operation)
        return connection

    async def _taken(self, pool: Any) -> Connection:
        if pool.get_idle_size():
            return await pool.acquire(timeout=self.config.connect_timeout)
        # Perhaps a new one is made. A driver that is cancelled in the middle of that leaves an error behind that nobody
        # fetches: it goes on, and what it makes is for the next one.
        making = asyncio.ensure_future(pool.acquire(timeout=self.config.connect_timeout))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, made: asyncio.Future[Connection]) -> None:
        if not made.cancelled() and made.exception() is None:
            self._in_background(self._give_back(made.result()))

    async def _greet_guest(self, connection: Connection, operation: str) -> None:
        """What `_greet` is for a pool of ours: the caller's pool may have connected to a new primary."""
        try:
            await self._greet(connection)
        except BaseException as error:
            await self._give_back(connection, error)
            if isinstance(error, DRIVER):
                raise wrapped(error, operation, sent=False, secrets=self.secrets, connecting=True) from error
            raise
        if len(self._greeted) >= _GREETED:
            self._greeted.clear()
        self._greeted.add(connection.get_server_pid())

    async def _give_back(self, connection: Connection, failure: BaseException | None = None) -> None:
        """Back to the pool, or away with it: of a session that ended nobody else may make use.

        Args:
            failure: what the last statement ended in.
        """
        pool, patience = self._pool, self.config.command_timeout
        lost = failure is not None and is_lost(failure)
        if failure is not None and sqlstate(failure) is None:
            patience = min(_PATIENCE, patience)  # a statement is being cancelled, or nobody answers
        # Released already, or closed under our hands: both are what is wanted, and no news for the caller.
        with suppress(*DRIVER):
            if pool is None or lost:
                # Before it is given back: the driver takes a session that has just ended for a sound one.
                connection.terminate()
            if pool is None:
                return
            try:
                # Shielded: a cancelled call must not take the connection along.
                await asyncio.shield(pool.release(connection, timeout=patience))
            except DRIVER:
                connection.terminate()

    async def _forget_dead(self) -> None:
        """After a dropped connection the others of the pool are probably dead too: new ones are made on demand."""
        self._age += 1
        expire = getattr(self._pool, "expire_connections", None)
        if self._owned and expire is not None:
            await expire()
        doubtful, self._at_hand, self._fewest = self._at_hand, [], 0
        for connection in doubtful:
            # Ended at once: a farewell to a server that does not answer would keep its place in the pool meanwhile.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()


async def _no_reset(_connection: Connection) -> None:
    """See `Connections._make_pool`."""
