"""A pytest plugin, installed with the package: an empty store for a test, and its clock.

::

    async def test_my_worker(ferroq_storage, ferroq_clock):
        await ferroq_storage.enqueue(Job("send_email", ["ada@example.org"]))
        job = await ferroq_storage.fetch_and_lock_job("worker", lock_timeout=60)
        ferroq_clock.advance(61)  # the claim lapses, without a sleep

Both are plain fixtures, so that they fit synchronous tests (by the `*_nowait` twins) and any asynchronous plugin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ferroq import ManualClock, MemoryStorage


@pytest.fixture
def ferroq_clock() -> ManualClock:
    """The clock of `ferroq_storage`: it starts at the real time and moves by `advance(seconds)` only."""
    return ManualClock()


@pytest.fixture
def ferroq_storage(ferroq_clock: ManualClock) -> Iterator[MemoryStorage]:
    """An empty `MemoryStorage` on `ferroq_clock`, closed after the test, so that a forgotten worker stops with it."""
    storage = MemoryStorage(clock=ferroq_clock)
    yield storage
    # A loop of its own that never becomes the current one: whatever loop the test ran on stays as it was.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(storage.close())
    finally:
        loop.close()
