"""Claims: taking jobs, and giving back those that nobody is there to receive [L7]."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import _native
from .._native import Job
from ..errors import StorageError
from . import scripts
from .batches import microseconds
from .client import Client
from .config import RedisConfig
from .faults import BACKEND
from .record import BrokenRecord, stored
from .wire import Argument

if TYPE_CHECKING:
    from .._rows import Stored

MOST_BYTES: Final = 16 * 1024 * 1024
_GIVE_BACK: Final = 1.0


class Claims:
    """The claims of one storage."""

    def __init__(self, client: Client, config: RedisConfig) -> None:
        self._client = client
        self._lock_timeout = microseconds(config.lock_timeout)
        self._max_crashes = config.max_crashes
        self._server = json.dumps(config.server_name, ensure_ascii=False)
        # The event loop keeps no reference to what nobody awaits any more.
        self._orphans: set[asyncio.Task[Any]] = set()

    async def claim(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int | None
    ) -> list[Job]:
        """Up to `limit` jobs. Cancelled, it waits for its answer up to a second and gives back what it got."""
        # A storage that is closed in the meantime waits for all of it: giving back is part of the call.
        with self._client.in_flight():
            request = asyncio.ensure_future(self._claim(operation, worker, limit, queues, lock_timeout))
            try:
                return await asyncio.shield(request)
            except asyncio.CancelledError:
                if request.cancelled():
                    raise
                await self._give_back(request)
                raise

    async def _give_back(self, request: asyncio.Task[list[Job]]) -> None:
        """Runs to its end even when it is cancelled again: what it holds would stay claimed."""
        task = asyncio.ensure_future(self._return(request))
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)
        done, _pending = await asyncio.wait((task,), timeout=_GIVE_BACK)
        if not done:
            return

    async def _return(self, request: asyncio.Task[list[Job]]) -> None:
        with self._client.in_flight(), contextlib.suppress(StorageError):  # else the lapse gives them back
            jobs = await request
            if jobs:
                arguments: list[Any] = [""]
                for job in jobs:
                    assert job.lock is not None
                    arguments += (job.sequence.to_bytes(6, "big"), job.id, job.lock.token)
                await self._client.script("release_jobs", scripts.RELEASE, arguments, arguments, late=True)

    async def _claim(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int | None
    ) -> list[Job]:
        jobs: list[Job] = []
        while True:
            try:
                more, spoiled, found = await self._once(operation, worker, limit - len(jobs), queues, lock_timeout)
            except StorageError:
                if jobs:
                    return jobs  # an error must not take them along
                raise
            jobs += found
            # A claim goes on behind what cannot be claimed: behind more of it than one script looks at, too.
            if len(jobs) >= limit or not (more or spoiled):
                return jobs

    async def _once(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int | None
    ) -> tuple[bool, bool, list[Job]]:
        client = self._client
        length = lock_timeout if lock_timeout is not None else self._lock_timeout
        state = f',"worker_id":{json.dumps(worker, ensure_ascii=False)},"server_name":{self._server}}}'
        slot = client.slots.take()
        arguments: list[Argument] = [limit, length, self._max_crashes, worker, state, slot, os.urandom(8)]
        arguments += (client.slots.keep, MOST_BYTES, *(queues or ()))
        answer = await client.script(operation, scripts.CLAIM, arguments, arguments, slot=slot)
        first, _expires, more, order, *cells = answer
        jobs: list[Job] = []
        broken: list[Argument] = []
        rows: list[Stored] = []
        for at in range(len(cells) // 2):
            record, body = cells[2 * at], cells[2 * at + 1]
            if not record:
                continue  # of a claim whose answer was lost, and which is lost itself by now
            sequence = order[6 * at : 6 * at + 6]
            try:
                if body[:6] != sequence:
                    raise BrokenRecord("it has no body, or another job's")
                rows.append(stored(record, body, claimed=True))
            except BrokenRecord:
                broken += (sequence, int(first) + at, int(body[:6] != sequence))
        for row, job in zip(rows, _native.restore(rows, BACKEND, operation), strict=True):
            if isinstance(job, Exception):
                broken += (row[16].to_bytes(6, "big"), row[17] or 0, 0)
            else:
                jobs.append(job)
        if broken:
            with contextlib.suppress(StorageError):  # a later claim tries again
                await client.script(operation, scripts.SPOIL, broken, broken)
        return bool(more), bool(broken), jobs
