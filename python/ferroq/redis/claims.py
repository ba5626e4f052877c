"""Claims: taking jobs, and giving back those that nobody is there to receive [L7]."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from .. import _native
from .._native import Job
from ..errors import StorageError
from . import scripts
from .batches import microseconds, place_of, release
from .client import Client, Sending
from .config import RedisConfig
from .wire import Argument

T = TypeVar("T")

MOST_BYTES: Final = 16 * 1024 * 1024
_GIVE_BACK: Final = 1.0


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    """A name as JSON: workers are few, and claim often."""
    return json.dumps(name, ensure_ascii=False)


def _token(job: Job) -> int | None:
    lock = job.lock
    return None if lock is None else lock.token


class _Taking:
    """A claim under way: what it has got, and what it is asking for."""

    __slots__ = ("arguments", "jobs", "operation", "sending", "slot")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.jobs: list[Job] = []
        self.slot = ""
        self.arguments: list[Argument] = []
        self.sending = Sending()


class Claims:
    """The claims of one storage."""

    def __init__(self, client: Client, config: RedisConfig) -> None:
        self._client = client
        self._lock_timeout = microseconds(config.lock_timeout)
        self._max_crashes = config.max_crashes
        self._server = _quoted(config.server_name)
        # The event loop keeps no reference to what nobody awaits any more.
        self._orphans: set[asyncio.Task[Any]] = set()

    async def claim(
        self, operation: str, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int | None
    ) -> list[Job]:
        """Up to `limit` jobs. Cancelled, it waits for its answer up to a second and gives back what it got."""
        taking = _Taking(operation)
        # A storage that is closed in the meantime waits for all of it: giving back is part of the call.
        with self._client.life:
            try:
                return await self._claim(taking, worker, limit, queues, lock_timeout)
            except asyncio.CancelledError:
                # Here and not in a task of its own behind a shield: that would cost each claim three turns of the loop.
                if taking.jobs or taking.sending.begun:
                    await self._give_back(self._return(taking))
                raise

    async def unless_cancelled(self, jobs: Sequence[Job], work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, a write that makes some of the jobs Processing. Where the caller is cancelled it goes
        on, and the claims that it took are given back [L7]."""
        before = [_token(job) for job in jobs]
        with self._client.life:
            task = asyncio.ensure_future(work)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if not task.cancelled():
                    await self._give_back(self._undo(jobs, before, task))
                raise

    async def _undo(self, jobs: Sequence[Job], before: Sequence[int | None], task: asyncio.Future[Any]) -> None:
        # Whatever goes wrong here, the lapse gives the jobs back.
        with self._client.life, contextlib.suppress(StorageError):
            await asyncio.wait((task,))
            if task.exception() is None or isinstance(task.exception(), StorageError):
                taken = [job for job, token in zip(jobs, before, strict=True) if _token(job) not in (None, token)]
                await release(self._client, taken, 0)

    async def _give_back(self, giving: Coroutine[Any, Any, None]) -> None:
        """Runs to its end even when it is cancelled again: what it holds would stay claimed."""
        task = asyncio.ensure_future(giving)
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)
        done, _pending = await asyncio.wait((task,), timeout=_GIVE_BACK)
        if not done:
            return

    async def _return(self, taking: _Taking) -> None:
        with self._client.life:
            if taking.sending.begun:
                with contextlib.suppress(StorageError):  # else the lapse gives them back
                    await self._unpack(taking, await self._answer(taking, late=True))
            if taking.jobs:
                arguments: list[Argument] = [""]
                for job in taking.jobs:
                    assert job.lock is not None
                    arguments += (place_of(job.sequence), job.id, job.lock.token)
                with contextlib.suppress(StorageError):
                    await self._client.script("release_jobs", scripts.RELEASE, arguments, arguments)

    async def _claim(
        self, taking: _Taking, worker: str, limit: int, queues: Sequence[str] | None, lock_timeout: int | None
    ) -> list[Job]:
        client = self._client
        length = lock_timeout if lock_timeout is not None else self._lock_timeout
        state = f',"worker_id":{_quoted(worker)},"server_name":{self._server}}}'
        jobs = taking.jobs
        again = False
        while True:
            slot = taking.slot = client.slots.take()
            taking.arguments = [limit - len(jobs), length, self._max_crashes, worker, state, slot]
            taking.arguments += (client.slots.request(), client.slots.keep, MOST_BYTES, *(queues or ()))
            try:
                more = await self._unpack(taking, await self._answer(taking))
            except StorageError:
                if jobs:
                    return jobs  # an error must not take them along
                raise
            # A claim goes on behind what cannot be claimed: behind more of it than one script looks at, too.
            if len(jobs) >= limit or not more:
                break
            again = True
        # A claim shorter than this call may have lapsed in it, and been taken over by the call itself.
        return list({job.id: job for job in jobs}.values()) if again else jobs

    async def _answer(self, taking: _Taking, *, late: bool = False) -> Any:
        """The script's. A late one, of a call that was cancelled, is that to the first sending, however often it is
        sent; its slot does not go back, since that sending may be under way still."""
        slot = "" if late else taking.slot
        arguments, sending = taking.arguments, taking.sending
        return await self._client.script(
            taking.operation, scripts.CLAIM, arguments, arguments, slot=slot, sending=sending
        )

    async def _unpack(self, taking: _Taking, answer: Any) -> bool:
        """Adds the jobs of an answer, fails those that cannot be decoded; whether there may be more."""
        first, _expires, more, order, *cells = answer
        jobs, broken = _native.unpack_claim(int(first), order, cells)
        taking.jobs += jobs
        if broken:
            with contextlib.suppress(StorageError):  # a later claim tries again
                await self._client.script(taking.operation, scripts.SPOIL, broken, broken)
        return bool(more or broken)
