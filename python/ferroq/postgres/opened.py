"""What a storage has while it is open, and the calls of many jobs: chunk by chunk, with what each made of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .._native import settle_columns, snapshot
from ..errors import StorageError
from .claims import Claims
from .common import Common
from .connection import Connection, Connections
from .listener import Wakeups
from .locks import Locks
from .records import BACKEND, CHUNK, FINAL, ID, KIND, PROCESSING, TOKEN, Accepted, Item, chunks
from .words import doubtful, held_by, items_of, pages, write_back
from .writes import Writes

if TYPE_CHECKING:
    from .._lifecycle import Life
    from .._native import Job
    from .._rows import EnqueueColumns
    from .clock import Clock
    from .config import PostgresConfig
    from .queries import Queries

_EXPIRE_STEP: Final = CHUNK  # a kind, once a second

# When this process last purged what a store keeps for a time only, by store.
_expired: dict[tuple[str, str], float] = {}


class Open:
    """What a storage has while it is open, on one loop of one process."""

    def __init__(self, config: PostgresConfig, queries: Queries, clock: Clock, life: Life[Open]) -> None:
        self.config = config
        self.queries = queries
        self.clock = clock
        self.life = life
        self.connections = Connections(config, queries)
        self.writes = Writes(self.connections, clock)
        self.common = Common(self.connections, clock)
        self.locks = Locks(self.connections, clock)
        self.claims = Claims(self.connections, clock, self._give_back)
        self.wakeups = Wakeups(self.connections, clock)

    async def close(self) -> None:
        await self.wakeups.close()
        await self.connections.close()

    async def _give_back(self, operation: str, jobs: Sequence[Job]) -> None:
        """Of a cancelled call: its claims, which no caller received."""
        await self.release(operation, held_by(jobs), None)

    async def enqueue(
        self,
        operation: str,
        items: Sequence[Item],
        skip: bool,
        connection: Connection | None,
        wake: bool,
    ) -> list[bool]:
        """Stores jobs chunk by chunk, in whatever state they are."""
        answers = [False] * len(items)
        for chunk in chunks(items):
            work = self._enqueue_chunk(operation, chunk, skip, connection, wake, answers)
            try:
                if connection is None and any(item.row[KIND] == PROCESSING for item in chunk):
                    # The jobs come back claimed: a cancelled caller never gets to know of it. In the caller's own
                    # transaction it is the caller's rollback that gives them back.
                    await self.claims.unless_cancelled(operation, work)
                else:
                    await work
            except StorageError as error:
                error.stored = sum(answers) if operation == "enqueue_many" else 0
                raise
        if connection is None and any(item.row[KIND] in FINAL for item in items):
            await self._expire()
        return answers

    async def enqueue_common(
        self,
        operation: str,
        given: list[Job],
        chunks: Sequence[tuple[int, EnqueueColumns]],
        wake: bool,
    ) -> list[bool]:
        """Stores chunks of enqueued jobs, no id twice."""
        stored = 0
        for count, columns in chunks:
            chunk = given[stored : stored + count]
            try:
                available = await self.common.enqueue(operation, chunk, columns)
                if available is None:
                    # An id is stored, or was while we looked: the way of rows says which, or stores them after all.
                    items = items_of(operation, chunk, self.config.max_payload_bytes)
                    await self._enqueue_chunk(operation, items, False, None, wake, [False] * count)
                elif wake:
                    self.wakeups.announce(available)
            except StorageError as error:
                error.stored = stored if operation == "enqueue_many" else 0
                raise
            stored += count
        return [True] * stored

    async def _enqueue_chunk(
        self,
        operation: str,
        chunk: Sequence[Item],
        skip: bool,
        connection: Connection | None,
        wake: bool,
        answers: list[bool],
    ) -> list[Job]:
        """Stores a chunk and writes back; its jobs."""
        first: dict[str, Item] = {}
        for item in chunk:
            first.setdefault(item.row[ID], item)
        fresh = list(first.values())
        if len(fresh) < len(chunk) and not skip:
            raise await self.writes.twice(operation, chunk, fresh, connection)
        accepted, queues = await self.writes.enqueue(operation, fresh, skip=skip, connection=connection)
        for item, made in zip(fresh, accepted, strict=True):
            if made is not None:
                answers[item.place] = True
                write_back(item.job, made)
        if wake and connection is None:
            self.wakeups.announce(queues)
        elif wake and queues:
            payloads = self.wakeups.payloads(queues)
            await self.connections.on(
                connection,
                operation,
                lambda conn: conn.execute(self.queries.notify_within, self.wakeups.channel, payloads),
            )
        return [item.job for item in fresh]

    async def update(self, operation: str, given: list[Job]) -> list[StorageError | None]:
        """Updates jobs page by page and writes back; a verdict each."""
        verdicts: list[StorageError | None] = [None] * len(given)
        for start in range(0, len(given), CHUNK):
            page = given[start : start + CHUNK]
            left, again = list(range(len(page))), False
            columns = settle_columns(page, self.config.max_payload_bytes)
            if columns is not None:
                try:
                    left, wake, again = await self.common.settle(operation, page, columns)
                    self.wakeups.announce(wake)
                except StorageError as error:
                    verdicts[start : start + len(page)] = [error] * len(page)
                    left = []
                await self._expire()
            items = []
            for place in left:
                # What a job cannot carry is that job's verdict; the others go on.
                try:
                    [row] = snapshot([page[place]], self.config.max_payload_bytes, BACKEND, operation)
                except StorageError as error:
                    verdicts[start + place] = error
                else:
                    items.append(Item(start + place, page[place], row))
            for chunk in chunks(items, unique=True):
                found = await self._update(operation, chunk, again)
                for item, verdict in zip(chunk, found, strict=True):
                    verdicts[item.place] = verdict
        if self.life.closed:
            for verdict in verdicts:
                if verdict is not None and verdict.retryable:
                    raise verdict  # cut off by close()
        return verdicts

    async def _update(self, operation: str, chunk: Sequence[Item], again: bool) -> list[StorageError | None]:
        """Updates a chunk and writes back; a verdict each."""
        verdicts: list[StorageError | None] = []

        async def work() -> list[Job]:
            found, wake = await self.writes.update(operation, chunk, again=again)
            self.wakeups.announce(wake)
            taken = []
            for item, verdict in zip(chunk, found, strict=True):
                if isinstance(verdict, Accepted):
                    write_back(item.job, verdict)
                    if verdict.lock is not None and item.row[TOKEN] is None:
                        taken.append(item.job)
                    verdicts.append(None)
                else:
                    verdicts.append(verdict)
            return taken

        if any(item.row[KIND] == PROCESSING for item in chunk):
            await self.claims.unless_cancelled(operation, work())
        else:
            await work()
        await self._expire()
        return verdicts

    async def release(self, operation: str, held: Sequence[tuple[Job, int | None]], delay: int | None) -> list[bool]:
        """Gives claims back by their tokens and writes back."""
        first: dict[int, int] = {}
        for place, (_, token) in enumerate(held):
            if token is not None:
                first.setdefault(token, place)
        items = [(place, held[place][0].id, held[place][0].sequence, token) for token, place in first.items()]
        accepted: dict[int, Accepted] = {}
        with doubtful(accepted):
            for page in pages(items):
                self.wakeups.announce(await self.writes.release(operation, page, delay, accepted))
        answers = []
        for job, token in held:
            made = accepted.get(first[token]) if token is not None else None
            answers.append(made is not None)
            if made is not None:
                write_back(job, made)
        return answers

    async def _expire(self) -> None:
        """Purges a step of what is kept for a time only, at most once a second in this process [C1]."""
        config = self.config
        keeps = zip(FINAL, (config.keep_succeeded, config.keep_failed, config.keep_deleted), strict=True)
        limited = [(kind, keep) for kind, keep in keeps if keep]
        if not limited:
            return
        store = (self.connections.store, config.schema_name)
        if time.monotonic() < _expired.get(store, 0.0) + 1.0:
            return
        _expired[store] = time.monotonic()
        for kind, keep in limited:
            # The settlement stands, whatever becomes of this.
            with suppress(StorageError):
                age = round(keep * 1_000_000)
                await self.connections.fetchrow(
                    "purge", self.queries.purge, self.clock.offset, [kind], age, _EXPIRE_STEP
                )
