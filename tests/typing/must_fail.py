"""Mistakes that strict mypy must find, each on the line and with the code that its comment names. Never run."""

from __future__ import annotations

from ferroq import Job, JobState, MemoryConfig, MemoryStorage, Storage, StorageInstance

Job(7)  # E: arg-type
Job("m", priority="high")  # E: arg-type
Job("m", [], "an-id")  # E: call-arg
Job("m", metadata={"k": 1})  # E: dict-item
Job("m", surprise=True)  # E: call-arg
JobState.succeeded("12")  # E: arg-type
JobState.processing("worker")  # E: call-arg
MemoryConfig(5)  # E: call-arg
MemoryConfig(max_jobs="5")  # E: arg-type


def read_only(job: Job) -> None:
    job.id = "other"  # E: misc
    job.version = 2  # E: misc
    job.arguments = []  # E: misc
    job.state = JobState.enqueued("q")  # E: misc
    job.lock.token  # E: union-attr
    job.no_such_attribute  # E: attr-defined


def frozen(config: MemoryConfig) -> None:
    config.max_jobs = 6  # E: misc


async def storages(storage: Storage) -> None:
    Storage()  # E: abstract
    await storage.enqueue("m")  # E: arg-type
    await storage.enqueue(Job("m"), if_exists="overwrite")  # E: arg-type
    await storage.fetch_and_lock_job("w", None, 5)  # E: call-arg
    job = await storage.get("id")
    job.id  # E: union-attr
    await storage.wait_for_jobs(timeout="soon")  # E: arg-type
    storage.enqueue_nowait(Job("m"))  # E: attr-defined


async def connecting() -> None:
    await StorageInstance.connect(5)  # E: arg-type
    await StorageInstance.memory()  # not awaitable by accident: a storage opens by await
    MemoryStorage("memory://")  # E: arg-type
