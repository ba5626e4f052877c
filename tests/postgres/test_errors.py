"""Errors by SQLSTATE [E5]."""

from __future__ import annotations

import asyncpg
import pytest

from ferroq.errors import (
    AuthenticationError,
    CapacityExceededError,
    ConfigurationError,
    SchemaMismatchError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from ferroq.postgres.errors import is_lost, sqlstate, wrapped
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("postgres")


def made(code: str, text: str = "some words") -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": code, "M": text, "S": "ERROR"})


@promises("E5")
@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        ("28P01", AuthenticationError, "not_applied"),
        ("28000", AuthenticationError, "not_applied"),
        ("3D000", ConfigurationError, "not_applied"),
        ("42501", ConfigurationError, "not_applied"),
        ("26000", ConfigurationError, "not_applied"),
        ("3F000", SchemaMismatchError, "not_applied"),
        ("42P01", SchemaMismatchError, "not_applied"),
        ("53300", StorageUnavailableError, "not_applied"),
        ("53100", StorageUnavailableError, "not_applied"),
        ("53200", StorageUnavailableError, "not_applied"),
        ("25006", StorageUnavailableError, "not_applied"),
        ("57P03", StorageUnavailableError, "not_applied"),
        ("58030", StorageUnavailableError, "not_applied"),
        ("XX001", StorageUnavailableError, "not_applied"),
        ("40P01", StorageUnavailableError, "not_applied"),
        ("57014", StorageTimeoutError, "not_applied"),
        ("55P03", StorageTimeoutError, "not_applied"),
        ("57P01", StorageConnectionError, "unknown"),
        ("57P02", StorageConnectionError, "unknown"),
        ("08006", StorageConnectionError, "unknown"),
        ("54000", CapacityExceededError, "not_applied"),
        ("22012", StorageError, "not_applied"),
    ],
)
def test_the_code_decides(code: str, kind: type[StorageError], outcome: str) -> None:
    error = wrapped(made(code), "update", sent=True, secrets=[])
    assert type(error) is kind
    assert (error.backend, error.operation, error.outcome) == ("postgres", "update", outcome)
    assert code in str(error)


@promises("E5", "E4")
def test_words_decide_nothing_and_secrets_are_masked() -> None:
    error = wrapped(made("22012", "password authentication failed; hunter2"), "get", sent=True, secrets=["hunter2"])
    assert type(error) is StorageError
    assert "hunter2" not in str(error)


@promises("E5", "E4")
def test_without_a_code() -> None:
    refused = wrapped(ConnectionRefusedError("no"), "get", sent=False, secrets=[])
    assert isinstance(refused, StorageConnectionError)
    assert refused.outcome == "not_applied"
    late = wrapped(TimeoutError(), "get", sent=True, secrets=[])
    assert isinstance(late, StorageTimeoutError)
    assert late.outcome == "unknown"
    assert str(late)


def test_what_counts_as_a_lost_connection() -> None:
    assert is_lost(made("57P01"))
    assert is_lost(made("08006"))
    assert is_lost(ConnectionResetError())
    assert not is_lost(made("40P01"))
    assert not is_lost(TimeoutError())
    assert sqlstate(ValueError()) is None
