"""What only a backend on a server can break: damaged records, event loops, clones beyond a fork [E1, E3, Q19]."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import Any

import pytest

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import (
    CorruptJobError,
    JobAlreadyExistsError,
    LoopMismatchError,
    StorageError,
    StorageWarning,
)
from ferroq.storage import Storage

from .backend import ContractBackend
from .life import CALLS, in_child
from .promises import promises
from .support import BOUND, LONG, SHORT, A, B, claim, kind, names, put, soon


class CorruptRecordContract:
    """One record that cannot be decoded stops no other. Needs the feature "corrupt"."""

    @promises("E3", "E4")
    async def test_get_says_which_record(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "x", "good")
        await backend.corrupt(storage, "x", "record")
        with pytest.raises(CorruptJobError) as caught:
            await storage.get("x")
        assert caught.value.job_ids == ("x",)
        assert "x" in str(caught.value)
        assert (caught.value.backend, caught.value.operation) == (backend.name, "get")
        assert (await storage.get("good")) is not None

    @promises("E3", "Q5", "Q6", "Q7")
    async def test_lists_leave_it_out_and_name_it(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "a", "bad", "c")
        await backend.corrupt(storage, "bad", "record")
        with pytest.warns(StorageWarning, match="bad"):
            assert names(await storage.list()) == ["c", "a"]
        with pytest.warns(StorageWarning, match="bad"):
            assert names(await storage.list(JobStateKind.ENQUEUED, limit=3)) == ["c", "a"]
        with pytest.warns(StorageWarning, match="bad"):
            assert names(await storage.get_available_jobs()) == ["a", "c"]
        assert (await storage.get_job_counts())[JobStateKind.ENQUEUED] == 3

    @promises("E3", "Q8", "Q11")
    @pytest.mark.parametrize("batch", [True, False])
    async def test_a_claim_moves_it_to_failed_and_goes_on(self, backend: ContractBackend, batch: bool) -> None:
        storage = await backend.open()
        await put(storage, "bad", priority=9)
        await put(storage, "a", "b")
        await backend.corrupt(storage, "bad", "record")
        if batch:
            assert names(await storage.fetch_available_jobs_atomic(A, 2)) == ["a", "b"]
        else:
            assert [(await claim(storage)).id for _ in range(2)] == ["a", "b"]
        assert await storage.fetch_and_lock_job(A) is None
        counts = await storage.get_job_counts()
        assert (counts[JobStateKind.FAILED], counts[JobStateKind.PROCESSING]) == (1, 2)
        # Its bytes are kept, so it still cannot be decoded; nobody meets it twice.
        with pytest.raises(CorruptJobError):
            await storage.get("bad")

    @promises("E3", "L4")
    @pytest.mark.parametrize("way", ["due", "lapsed"])
    async def test_it_comes_due_and_lapses_without_harm(self, backend: ContractBackend, way: str) -> None:
        storage = await backend.open()
        if way == "due":
            await storage.enqueue(Job("work", id="bad", state=JobState.scheduled(await backend.now())))
        else:
            await put(storage, "bad")
            await claim(storage, lock_timeout=SHORT)
        await put(storage, "good")
        await backend.corrupt(storage, "bad", "record")
        await backend.advance(SHORT + 1)
        assert names(await storage.fetch_available_jobs_atomic(B, 10)) == ["good"]
        assert await storage.fetch_and_lock_job(B) is None
        assert (await storage.get_job_counts())[JobStateKind.FAILED] == 1

    @promises("E3", "Q4", "Q12")
    async def test_it_can_be_deleted_and_its_id_used_again(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "bad", "good")
        await backend.corrupt(storage, "bad", "record")
        with pytest.raises(JobAlreadyExistsError):
            await storage.enqueue(Job("work", id="bad"))
        assert await storage.delete("bad") is True
        assert sum((await storage.get_job_counts()).values()) == 1
        assert await storage.verify() == []
        await put(storage, "bad")
        assert names(await storage.list()) == ["bad", "good"]

    @promises("E3", "Q18")
    async def test_the_audit_finds_it(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "bad", "good")
        await backend.corrupt(storage, "bad", "record")
        assert any("bad" in finding for finding in await storage.verify())

    @promises("E3", "Q17")
    async def test_it_can_be_purged_once_it_failed(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "bad")
        await backend.corrupt(storage, "bad", "record")
        assert await storage.fetch_and_lock_job(A) is None
        assert await storage.purge("failed", 0) == 1
        assert sum((await storage.get_job_counts()).values()) == 0

    @promises("E3", "J3")
    async def test_broken_arguments_break_when_they_are_read(self, backend: ContractBackend) -> None:
        storage = await backend.open()
        await put(storage, "bad", metadata={"a": "b"})
        await backend.corrupt(storage, "bad", "arguments")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            [listed] = await storage.list()
        job = await storage.get("bad")
        claimed = await claim(storage)
        for each in (listed, job, claimed):
            assert each is not None
            assert (each.id, each.metadata) == ("bad", {"a": "b"})
            with pytest.raises(CorruptJobError) as caught:
                _ = each.arguments
            assert caught.value.job_ids == ("bad",)
        claimed.set_state(JobState.failed("cannot be read"))
        await storage.update(claimed)
        assert kind(await storage.get("bad")) is JobStateKind.FAILED


class LoopContract:
    """A storage that is bound to its loop, and what it says about that."""

    @promises("E1", "E4")
    async def test_a_second_loop_is_refused_at_once(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")

        def elsewhere() -> list[str]:
            wrong = []
            for method, arguments in CALLS.items():
                start = time.monotonic()
                try:
                    asyncio.run(_call(storage, method, arguments))
                except LoopMismatchError as error:
                    if (error.backend, error.operation) != (backend.name, method):
                        wrong.append(f"{method}: carries {error.backend}, {error.operation}")
                except StorageError as error:
                    wrong.append(f"{method}: {error!r}")
                else:
                    wrong.append(f"{method}: it worked")
                if time.monotonic() - start > BOUND / 2:
                    wrong.append(f"{method}: it took its time")
            return wrong

        assert await soon(asyncio.to_thread(elsewhere), 3 * BOUND) == []
        assert (await claim(storage)).attempt == 1

    @promises("E1", "Q19")
    async def test_a_clone_works_on_another_loop(self, storage: Storage) -> None:
        await put(storage, "x")
        clone = storage.clone()

        async def work() -> Any:
            async with clone:
                return await clone.fetch_and_lock_job(B, lock_timeout=LONG)

        job = await soon(asyncio.to_thread(lambda: asyncio.run(work())))
        assert isinstance(job, Job)
        # The claim is the job's, not the client's.
        job.set_state(JobState.succeeded(1))
        await storage.update(job)
        assert kind(await storage.get("x")) is JobStateKind.SUCCEEDED

    @promises("E1", "Q19")
    async def test_a_clone_made_before_a_fork_works_in_the_child(self, storage: Storage) -> None:
        await put(storage, "x")
        clone = storage.clone()

        def child() -> str:
            async def work() -> str:
                async with clone:
                    job = await clone.fetch_and_lock_job("child", lock_timeout=LONG)
                    return "nothing" if job is None else f"{job.id} {job.attempt}"

            return asyncio.run(asyncio.wait_for(work(), BOUND))

        assert await in_child(child) == "x 1"
        back = await storage.get("x")
        assert back is not None
        assert isinstance(back.state, JobState.Processing)
        assert back.state.worker_id == "child"
        # The parent's own connections came through it.
        await put(storage, "y")
        job = await claim(storage)
        job.set_state(JobState.succeeded(1))
        await storage.update(job)
        assert kind(await storage.get("y")) is JobStateKind.SUCCEEDED


async def _call(storage: Storage, method: str, arguments: tuple[Any, ...]) -> Any:
    return await getattr(storage, method)(*arguments)
