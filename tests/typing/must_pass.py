"""What a user writes, as strict mypy must accept it, with the types it must infer. Never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from ferroq import (
    ConfigurationError,
    ConflictError,
    Job,
    JobLock,
    JobNotFoundError,
    JobState,
    JobStateKind,
    LockLostError,
    ManualClock,
    MemoryConfig,
    MemoryStorage,
    PostgresConfig,
    PostgresStorage,
    RedisConfig,
    RedisStorage,
    Storage,
    StorageConfig,
    StorageError,
    StorageInstance,
    StorageTimeoutError,
    StorageWarning,
)


def jobs() -> None:
    job = Job(
        "resize",
        ["cat.png", {"width": 640, "formats": ["png", None, 1.5, True]}],
        id="an-id",
        queue="images",
        priority=-1,
        max_retries=3,
        metadata={"tenant": "a"},
        job_type="image",
        timeout_seconds=30,
        state=JobState.scheduled(datetime.now(UTC), "later"),
    )
    assert_type(job.id, str)
    assert_type(job.created_at, datetime)
    assert_type(job.metadata, dict[str, str])
    assert_type(job.job_type, str | None)
    assert_type(job.timeout_seconds, int | None)
    assert_type(job.version, int)
    assert_type(job.sequence, int)
    assert_type(job.attempt, int)
    assert_type(job.crash_count, int)
    assert_type(job.retry_count, int)
    assert_type(job.lock, JobLock | None)
    if job.lock is not None:
        assert_type(job.lock.token, int)
        assert_type(job.lock.expires_at, datetime)
    job.queue = "other"
    job.priority = 3
    job.metadata["k"] = "v"
    job.add_metadata("k", "v")
    job.set_state(JobState.enqueued("q"))
    assert_type(job.clone_with_new_id(), Job)
    assert_type(Job.from_json(job.to_json()), Job)


def states(state: JobState) -> str | None:
    assert_type(state.kind, JobStateKind)
    assert_type(state.is_final, bool)
    assert_type(state.can_transition_to(JobStateKind.DELETED), bool)
    match state:
        case JobState.Enqueued(queue=queue):
            return queue
        case JobState.Processing(worker_id=worker, server_name=server):
            return worker + server
        case JobState.Failed() as failed:
            assert_type(failed.failed_at, datetime)
            assert_type(failed.stack_trace, str | None)
            return failed.exception
        case JobState.Succeeded(total_duration=duration):
            assert_type(duration, int)
            return None
        case JobState.AwaitingRetry(retry_at=at):
            assert_type(at, datetime)
            return None
        case _:
            return None


async def storages(storage: Storage) -> None:
    job = Job("m")
    assert_type(await storage.enqueue(job, if_exists="skip"), bool)
    assert_type(await storage.get("id"), Job | None)
    assert_type(await storage.list(JobStateKind.FAILED, 10, 0, queue="q", after=job), list[Job])
    assert_type(await storage.list("failed", after=12), list[Job])
    assert_type(await storage.list(job.state), list[Job])
    assert_type(await storage.get_job_counts(), dict[JobStateKind, int])
    assert_type(await storage.get_available_jobs(5), list[Job])
    assert_type(await storage.fetch_and_lock_job("w", ["q"], lock_timeout=1), Job | None)
    assert_type(await storage.fetch_available_jobs_atomic("w", 10, ("q",), lock_timeout=0.5), list[Job])
    assert_type(await storage.enqueue_many(Job(f"{n}") for n in range(3)), list[bool])
    assert_type(await storage.update_many((job,)), list[StorageError | None])
    assert_type(await storage.extend_job_locks([job], 30), list[bool])
    assert_type(await storage.release_jobs([job], delay=timedelta(seconds=5)), list[bool])
    assert_type(await storage.try_acquire_job_lock("id", "w", 1.5), bool)
    assert_type(await storage.release_job_lock("id", "w"), bool)
    assert_type(await storage.wait_for_jobs(["q"], timeout=1), bool)
    assert_type(await storage.purge([JobStateKind.SUCCEEDED, "failed"], timedelta(days=1), None), int)
    assert_type(await storage.purge("deleted", 60), int)
    assert_type(await storage.verify(), list[str])
    assert_type(await storage.delete("id"), bool)
    assert_type(storage.clone(), Storage)


async def connecting(config: StorageConfig) -> None:
    assert_type(StorageInstance.memory(), MemoryStorage)
    assert_type(await StorageInstance.connect("memory://"), Storage)
    assert_type(await StorageInstance.from_config(config), Storage)
    async with MemoryStorage(MemoryConfig(max_jobs=5, auto_cleanup=True), clock=ManualClock()) as storage:
        assert_type(storage, MemoryStorage)
        assert_type(len(storage), int)
        assert_type(storage.enqueue_nowait(Job("m")), bool)
        assert_type(storage.fetch_and_lock_job_nowait("w"), Job | None)
        assert_type(storage.get_job_counts_nowait(), dict[JobStateKind, int])
        storage.clear()


def clocks(clock: ManualClock) -> None:
    assert_type(clock.now(), datetime)
    clock.advance(1.5)


def errors(error: StorageError) -> None:
    assert_type(error.code, str)
    assert_type(error.retryable, bool)
    assert_type(error.stored, int)
    assert_type(error.backend, str | None)
    if isinstance(error, ConflictError | JobNotFoundError):
        assert_type(error.job_ids, tuple[str, ...])
    as_key_error: KeyError = JobNotFoundError("x")
    as_time_out: TimeoutError = StorageTimeoutError("x")
    as_conflict: ConflictError = LockLostError("x")
    as_warning: Warning = StorageWarning("x")
    print(as_key_error, as_time_out, as_conflict, as_warning, ConfigurationError("x"))


async def servers() -> None:
    configs: list[StorageConfig] = [RedisConfig(key_prefix="app"), PostgresConfig(schema_name="app"), MemoryConfig()]
    for config in configs:
        assert_type(await StorageInstance.from_config(config), Storage)
    assert_type(await StorageInstance.redis(), RedisStorage)
    assert_type(await StorageInstance.postgres(PostgresConfig(auto_migrate=True)), PostgresStorage)
    async with RedisStorage(RedisConfig(url="redis://localhost")) as redis:
        assert_type(redis, RedisStorage)
        assert_type(redis.config.key_prefix, str)
    async with PostgresStorage(PostgresConfig()) as postgres:
        assert_type(postgres, PostgresStorage)
        assert_type(await postgres.enqueue(Job("work"), connection=None, wake=False), bool)
        assert_type(await postgres.enqueue_many([Job("work")], if_exists="skip"), list[bool])
