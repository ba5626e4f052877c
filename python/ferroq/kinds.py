"""The seven kinds of state, as a string enum (CONTRACT S2). The Rust core mirrors it; the order is part of neither."""

from enum import StrEnum


class JobStateKind(StrEnum):
    """What a `JobState` is, without its fields. Its value is what URLs, JSON and filters spell."""

    ENQUEUED = "enqueued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DELETED = "deleted"
    SCHEDULED = "scheduled"
    AWAITING_RETRY = "awaiting_retry"

    @property
    def is_final(self) -> bool:
        """Succeeded, failed or deleted: no claim ever returns the job."""
        return self in _FINAL

    @property
    def is_active(self) -> bool:
        """Not final."""
        return self not in _FINAL


_FINAL = frozenset({JobStateKind.SUCCEEDED, JobStateKind.FAILED, JobStateKind.DELETED})
