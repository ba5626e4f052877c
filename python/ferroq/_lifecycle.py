"""The life of a storage that connects: unopened, open on one event loop of one process, closed.

A method goes through it in this order [E1, J14]: what must not be used here and now is refused, inputs are checked,
and only then is anything connected:

    opened = self._life.enter("get")
    check_name("job_id", job_id, BACKEND, "get")
    opened = opened or await self._life.open("get", self._connect, Open.close)
    with self._life:
        ...

The two steps and the one `with` over an object that is there anyway cost a call some 0.2 µs; a generator-based context
manager costs ten times that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Generic, TypeVar

from ._native import fork_epoch
from .errors import (
    ForkedStorageError,
    LoopMismatchError,
    StorageClosedError,
    StorageConnectionError,
    StorageTimeoutError,
)

T = TypeVar("T")

_choosing: Final = threading.Lock()


class Life(Generic[T]):
    """Where one storage stands in its life, and what it has while it is open.

    Args:
        backend: named in the errors.
    """

    __slots__ = ("_active", "_backend", "_epoch", "_idle", "_loop", "_made", "_openers", "_opening", "closed", "opened")

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self.opened: T | None = None
        self._made = fork_epoch()
        self._epoch = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: tuple[int, asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._openers = 0  # that are at it, or wait for their turn
        self._active = 0
        self._idle: asyncio.Event | None = None
        self.closed = False

    def enter(self, operation: str) -> T | None:
        """What the storage has while it is open, None if that is to be made yet; refuses a storage that is closed, that
        was inherited through a fork, or that belongs to another loop."""
        if self.closed:
            raise StorageClosedError(f"{operation}: the storage was closed", backend=self._backend, operation=operation)
        opened = self.opened
        if opened is None:
            self._chosen(operation)
            return None
        if self._epoch != fork_epoch():
            raise ForkedStorageError(
                f"{operation}: the storage was opened before a fork; use a clone made before it",
                backend=self._backend,
                operation=operation,
            )
        if self._loop is not asyncio.get_running_loop():
            raise LoopMismatchError(
                f"{operation}: the storage belongs to another event loop; use clone()",
                backend=self._backend,
                operation=operation,
            )
        return opened

    def _chosen(self, operation: str) -> None:
        """Refuses a loop other than the one on which the storage is being opened."""
        opening = self._opening
        if opening is not None and self._is_elsewhere(opening):
            raise LoopMismatchError(
                f"{operation}: the storage is being opened on another event loop; use clone()",
                backend=self._backend,
                operation=operation,
            )

    @staticmethod
    def _is_elsewhere(opening: tuple[int, asyncio.AbstractEventLoop, asyncio.Lock]) -> bool:
        epoch, loop, _ = opening
        return epoch == fork_epoch() and loop is not asyncio.get_running_loop() and loop.is_running()

    async def open(
        self, operation: str, make: Callable[[str], Awaitable[T]], undo: Callable[[T], Awaitable[None]]
    ) -> T:
        """What the storage has while it is open, made by the first that comes; the others wait for it.

        Args:
            make: connects, for an operation; leaves nothing behind if it fails.
            undo: takes back what was made while the storage was being closed.
        """
        turn = self._turn(operation)
        try:
            async with turn:
                opened = self.enter(operation)
                if opened is None:
                    opened = await make(operation)
                    try:
                        self.enter(operation)
                    except BaseException:
                        await undo(opened)
                        raise
                    self._epoch, self._loop = fork_epoch(), asyncio.get_running_loop()
                    self.opened = opened
            return opened
        finally:
            with _choosing:
                if self._opening is not None and self._opening[2] is turn:
                    self._openers -= 1
                    if self._openers == 0:
                        self._opening = None  # one that failed binds the storage to no loop

    def _turn(self, operation: str) -> asyncio.Lock:
        """The lock under which the storage is opened: of the loop that tries it first, and of no other beside it."""
        running = asyncio.get_running_loop()
        with _choosing:
            self._chosen(operation)
            if self._opening is not None:
                epoch, loop, lock = self._opening
                if epoch == fork_epoch() and loop is running:
                    self._openers += 1
                    return lock
                if epoch != fork_epoch():
                    self._active = 0  # what was under way is under way in the parent process
            lock = asyncio.Lock()
            self._opening = (fork_epoch(), running, lock)
            self._openers = 1
            return lock

    def check_clone(self) -> None:
        """Refuses a clone of a storage that was inherited through a fork, or is closed [Q19, Q20]."""
        if (self._made if self.opened is None else self._epoch) != fork_epoch():
            raise ForkedStorageError(
                "clone: the storage was inherited through a fork; make the clone before it",
                backend=self._backend,
                operation="clone",
            )
        if self.closed:
            raise StorageClosedError("clone: the storage was closed", backend=self._backend, operation="clone")

    # What is in flight. The object itself is the context manager: nothing is made for a call. One loop only comes here,
    # so that the count needs no lock.

    def __enter__(self) -> None:
        self._active += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._active -= 1
        if self._active == 0 and self._idle is not None:
            self._idle.set()
        if self.closed and isinstance(error, StorageConnectionError | StorageTimeoutError):
            # Cut off by close(), which had waited for as long as it may. A refusal stays what it is.
            raise StorageClosedError(
                f"{error.operation}: the storage was closed",
                backend=self._backend,
                operation=error.operation,
                outcome=error.outcome,
            ) from (error.__cause__ or error)

    def end(self) -> T | None:
        """Closes the storage to all that comes from now on: what was open, and is to be closed once it is idle.

        None where nothing is: it was closed before or never opened; what it has is the parent process's; or its event
        loop has ended, and with it all that could be waited for."""
        if self.closed:
            return None
        opened = self.opened
        if opened is None:
            self._chosen("close")
        elif self._epoch != fork_epoch():
            opened = None
        elif self._loop is not asyncio.get_running_loop():
            if self._loop is not None and not self._loop.is_closed():
                raise LoopMismatchError(
                    "close: the storage belongs to another event loop; close it there",
                    backend=self._backend,
                    operation="close",
                )
            opened = self.opened = None
        self.closed = True
        return opened

    async def idle(self, patience: float) -> None:
        """Waits until nothing is in flight, for so many seconds at most."""
        if self._active:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._idle.wait()
