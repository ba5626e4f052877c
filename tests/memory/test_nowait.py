"""The synchronous twins [T2]: the same signatures, and the whole contract once more, through them."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ferroq import Job, MemoryStorage
from ferroq.storage import Storage
from ferroq.testing import StorageContract
from ferroq.testing.contract import promises
from ferroq.testing.contract.life import CALLS

from ..contract.memory_backend import MemoryBackend

pytestmark = pytest.mark.scope("memory")

TWINS = sorted(set(CALLS) - {"wait_for_jobs"})


def through_twin(name: str) -> Any:
    async def method(self: NowaitStorage, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, f"{name}_nowait")(*args, **kwargs)

    return method


class NowaitStorage(Storage):
    """A memory storage of which only the twins are used, where there is one."""

    def __init__(self, inner: MemoryStorage) -> None:
        self.inner = inner

    enqueue = through_twin("enqueue")
    get = through_twin("get")
    update = through_twin("update")
    delete = through_twin("delete")
    list = through_twin("list")
    get_job_counts = through_twin("get_job_counts")
    get_available_jobs = through_twin("get_available_jobs")
    fetch_and_lock_job = through_twin("fetch_and_lock_job")
    fetch_available_jobs_atomic = through_twin("fetch_available_jobs_atomic")
    extend_job_locks = through_twin("extend_job_locks")
    release_jobs = through_twin("release_jobs")
    try_acquire_job_lock = through_twin("try_acquire_job_lock")
    release_job_lock = through_twin("release_job_lock")
    enqueue_many = through_twin("enqueue_many")
    update_many = through_twin("update_many")
    purge = through_twin("purge")
    verify = through_twin("verify")

    async def wait_for_jobs(self, queues: Any = None, timeout: float | None = None) -> bool:
        return await self.inner.wait_for_jobs(queues, timeout)

    def clone(self) -> NowaitStorage:
        return NowaitStorage(self.inner.clone())

    async def close(self) -> None:
        await self.inner.close()

    async def open(self) -> None:
        await self.inner.open()


class NowaitBackend(MemoryBackend):
    """The memory backend, seen through the twins."""

    async def open(self, **options: Any) -> Storage:
        storage = await super().open(**options)
        assert isinstance(storage, MemoryStorage)
        return NowaitStorage(storage)

    async def reopen(self, storage: Storage) -> Storage:
        return await storage.clone()


@pytest.fixture
async def backend(anyio_backend: object) -> AsyncIterator[NowaitBackend]:
    backend = NowaitBackend()
    yield backend
    await backend.close()


class TestNowait(StorageContract):
    """The contract through the twins."""


@promises("T2")
@pytest.mark.parametrize("name", TWINS)
def test_each_method_has_a_twin_of_the_same_signature(name: str) -> None:
    method, twin = getattr(MemoryStorage, name), getattr(MemoryStorage, f"{name}_nowait")
    assert inspect.iscoroutinefunction(method)
    assert not inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin) == inspect.signature(method) == inspect.signature(getattr(Storage, name))


@promises("T2")
def test_there_are_no_other_twins() -> None:
    assert {name for name in dir(MemoryStorage) if name.endswith("_nowait")} == {f"{name}_nowait" for name in TWINS}
    abstract = {name for name in Storage.__abstractmethods__ if name not in ("wait_for_jobs", "close", "clone", "open")}
    assert abstract == set(TWINS)


@promises("T2", "E1")
def test_twins_need_no_event_loop_and_work_in_any_thread() -> None:
    storage = MemoryStorage()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            job = Job("work")
            storage.enqueue_nowait(job)
            assert storage.get_nowait(job.id) == job
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    work()
    assert failures == []
    assert len(storage) == 5
