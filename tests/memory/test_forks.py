"""A forked child and a store that belongs to its parent [E1, Q19]."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

from ferroq import Job, ManualClock, MemoryStorage
from ferroq.errors import ForkedStorageError
from ferroq.testing.contract import promises
from ferroq.testing.contract.life import CALLS

from .children import in_child

pytestmark = pytest.mark.scope("memory")


def expect_refusals(storage: MemoryStorage) -> None:
    for method, arguments in CALLS.items():
        for call in (_plain(storage, method, arguments), *_twin(storage, method, arguments)):
            try:
                call()
            except ForkedStorageError as error:
                assert error.backend == "memory"
                assert error.operation == method
                assert error.retryable is False
            else:
                raise AssertionError(f"{method}: no error")
    for also in (storage.clone, storage.clear, storage.__len__):
        with pytest.raises(ForkedStorageError):
            also()


def _twin(storage: MemoryStorage, method: str, arguments: tuple[Any, ...]) -> list[Any]:
    if method == "wait_for_jobs":
        return []
    return [lambda: getattr(storage, f"{method}_nowait")(*arguments)]


def _plain(storage: MemoryStorage, method: str, arguments: tuple[Any, ...]) -> Any:
    return lambda: asyncio.run(_await(getattr(storage, method)(*arguments)))


async def _await(call: Any) -> Any:
    return await call


@promises("E1", "Q19")
def test_an_inherited_store_refuses_at_once() -> None:
    storage = MemoryStorage(clock=ManualClock())
    storage.enqueue_nowait(Job("work", id="x"))
    in_child(lambda: expect_refusals(storage))
    job = storage.fetch_and_lock_job_nowait("parent")
    assert job is not None
    assert (job.id, job.attempt) == ("x", 1)


@promises("E1")
def test_a_child_may_have_a_store_of_its_own() -> None:
    inherited = MemoryStorage()

    def body() -> None:
        storage = MemoryStorage()
        storage.enqueue_nowait(Job("work", id="x"))
        assert storage.fetch_and_lock_job_nowait("child") is not None
        assert asyncio.run(_await(storage.wait_for_jobs(timeout=0))) is False
        assert inherited is not storage

        def grandchild() -> None:
            expect_refusals(storage)

        in_child(grandchild)
        assert storage.get_nowait("x") is not None

    in_child(body)


@promises("E1")
def test_a_fork_in_the_middle_of_other_threads_calls_hangs_nothing() -> None:
    # Some of these forks happen while another thread is inside the store and holds its lock, for ever in the child.
    storage = MemoryStorage()
    over = threading.Event()
    failures: list[BaseException] = []

    def hammer(number: int) -> None:
        try:
            while not over.is_set():
                jobs = [Job("work", ["x" * 100]) for _ in range(300)]
                storage.enqueue_many_nowait(jobs)
                storage.fetch_available_jobs_atomic_nowait(f"w{number}", 300)
                for job in jobs:
                    storage.delete_nowait(job.id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 30
        for _ in range(25):
            in_child(lambda: expect_refusals(storage), seconds=20)
            if time.monotonic() > deadline:
                break
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert storage.verify_nowait() == []


@promises("E1")
def test_jobs_may_be_inherited() -> None:
    job = Job("work", [1], metadata={"a": "b"})
    storage = MemoryStorage()
    storage.enqueue_nowait(job)
    claimed = storage.fetch_and_lock_job_nowait("w")
    assert claimed is not None

    def body() -> None:
        assert job.arguments == [1]
        job.add_metadata("c", "d")
        assert claimed.lock is not None
        other = MemoryStorage()
        other.enqueue_nowait(job.clone_with_new_id())
        # Ids of a child are its own: those of two children never collide.
        assert Job("work").id != Job("work").id

    in_child(body)


@promises("J1", "E1")
def test_children_make_ids_of_their_own() -> None:
    Job("work")
    reader, writer = os.pipe()

    def tell() -> None:
        os.write(writer, "".join(Job("work").id for _ in range(20)).encode())

    for _ in range(4):
        in_child(tell)
    text = os.read(reader, 65536).decode()
    os.close(reader)
    os.close(writer)
    ids = [text[start : start + 36] for start in range(0, len(text), 36)]
    assert len(ids) == 80
    assert len(set(ids)) == 80
