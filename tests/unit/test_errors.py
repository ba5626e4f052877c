"""The tree of errors and what each carries [E4]."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest

import ferroq
from ferroq import errors
from ferroq.errors import (
    CapacityExceededError,
    ConflictError,
    InvalidArgumentError,
    JobNotFoundError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
    StorageWarning,
)
from ferroq.testing.contract import promises

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, StorageError)]
PUBLIC = [error for error in CLASSES if not error.__name__.startswith("_")]

BASES: dict[str, tuple[type[BaseException], ...]] = {
    "StorageError": (Exception,),
    "JobNotFoundError": (KeyError,),
    "JobAlreadyExistsError": (),
    "ConflictError": (),
    "ConcurrentModificationError": (ConflictError,),
    "LockLostError": (ConflictError,),
    "JobLockedError": (ConflictError,),
    "InvalidTransitionError": (ValueError,),
    "InvalidJobDataError": (ValueError,),
    "InvalidArgumentError": (ValueError,),
    "CapacityExceededError": (),
    "PayloadTooLargeError": (CapacityExceededError,),
    "StorageConnectionError": (ConnectionError, OSError),
    "StorageTimeoutError": (TimeoutError, OSError),
    "StorageUnavailableError": (),
    "ConfigurationError": (),
    "AuthenticationError": (),
    "SchemaMismatchError": (),
    "CorruptJobError": (),
    "StorageClosedError": (),
    "ForkedStorageError": (),
    "LoopMismatchError": (),
}

ABOUT_JOBS = {
    "JobNotFoundError",
    "JobAlreadyExistsError",
    "ConflictError",
    "ConcurrentModificationError",
    "LockLostError",
    "JobLockedError",
    "CorruptJobError",
}


@promises("E4", "N1")
def test_the_tree() -> None:
    assert {error.__name__ for error in PUBLIC} == set(BASES)
    for error in PUBLIC:
        assert issubclass(error, StorageError)
        for base in BASES[error.__name__]:
            assert issubclass(error, base)
        assert getattr(ferroq, error.__name__) is error
    assert ferroq.StorageWarning is StorageWarning
    assert issubclass(StorageWarning, UserWarning)
    assert not issubclass(StorageWarning, StorageError)


@promises("E4")
def test_nothing_is_a_kind_of_error_that_it_is_not() -> None:
    for error in PUBLIC:
        for builtin in (KeyError, ValueError, TypeError, OSError, RuntimeError, LookupError):
            if builtin is LookupError and error is JobNotFoundError:
                continue
            assert issubclass(error, builtin) == any(issubclass(base, builtin) for base in BASES[error.__name__])


@promises("E4")
def test_codes_tell_classes_apart() -> None:
    codes = [error.code for error in PUBLIC]
    assert len(set(codes)) == len(codes)
    assert all(code.islower() and code.replace("_", "").isalpha() for code in codes)


@promises("E4")
def test_what_may_be_tried_again() -> None:
    assert {error for error in PUBLIC if error.retryable} == {
        StorageConnectionError,
        StorageTimeoutError,
        StorageUnavailableError,
    }


@promises("E4")
@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
def test_what_every_error_carries(error: type[StorageError]) -> None:
    bare = error("a text")
    assert str(bare) == "a text"
    assert (bare.backend, bare.operation, bare.outcome, bare.stored) == (None, None, "not_applied", 0)
    assert type(bare.retryable) is bool
    cause = RuntimeError("a driver's")
    full = error("a text", backend="redis", operation="enqueue", outcome="unknown", stored=3)
    full.__cause__ = cause
    assert (full.backend, full.operation, full.outcome, full.stored) == ("redis", "enqueue", "unknown", 3)
    assert "a text" in repr(full)
    with pytest.raises(error) as caught:
        raise full from cause
    assert caught.value.__cause__ is cause


@promises("E4")
@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
def test_errors_travel_between_processes(error: type[StorageError]) -> None:
    jobs = {"job_ids": ("a", "b")} if error.__name__ in ABOUT_JOBS else {}
    original = error("a 'quoted' text", backend="postgres", operation="update", outcome="unknown", stored=7, **jobs)
    original.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original)):
        assert type(twin) is error
        assert str(twin) == str(original) == "a 'quoted' text"
        assert vars(twin) == vars(original)
        assert twin.args == original.args


@promises("E4")
def test_jobs_are_named() -> None:
    for error in PUBLIC:
        if error.__name__ not in ABOUT_JOBS:
            assert not hasattr(error("x"), "job_ids")
            continue
        one = error("x", job_ids=["a", "b"])  # type: ignore[call-arg]
        assert one.job_ids == ("a", "b")  # type: ignore[attr-defined]
        assert one.job_id == "a"  # type: ignore[attr-defined]
        assert error("x").job_id is None  # type: ignore[attr-defined]


@promises("E4")
def test_a_key_error_is_not_quoted() -> None:
    assert str(JobNotFoundError("no job x", job_ids=["x"])) == "no job x"
    assert str(KeyError("no job x")) == "'no job x'", "which is why"


@promises("E4")
def test_a_connection_error_speaks_its_text() -> None:
    error = StorageConnectionError("refused", backend="redis")
    assert str(error) == "refused"
    assert error.errno is None


@promises("E4")
def test_arguments_are_keywords() -> None:
    with pytest.raises(TypeError):
        InvalidArgumentError("x", "memory")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        InvalidArgumentError("x", nonsense=1)  # type: ignore[call-arg]


@promises("E4")
def test_the_warning_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="look"), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("have a look", StorageWarning, stacklevel=1)
