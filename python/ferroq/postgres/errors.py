"""From a driver's error to one of `ferroq.errors`, by SQLSTATE and class, never by message text [E5]."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import asyncpg

from .._options import mask_text
from ..errors import (
    AuthenticationError,
    CapacityExceededError,
    ConfigurationError,
    Outcome,
    SchemaMismatchError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)

DRIVER: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    EOFError,
)
"""All that a driver's call may raise. The third is no kind of the second: it comes, for one, out of a connection whose
session the server has just ended, until the socket says so too."""

RETRIED: Final = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: nothing was applied, and the same statement may pass now."""

UNIQUE_VIOLATION: Final = "23505"

_CLASSES: Final[dict[str, type[StorageError]]] = {
    # the whole code first, then its class of two characters
    "28000": AuthenticationError,  # invalid authorization
    "28P01": AuthenticationError,  # invalid password
    "3D000": ConfigurationError,  # no such database
    "3F000": SchemaMismatchError,  # no such schema
    "42P01": SchemaMismatchError,  # no such table
    "42703": SchemaMismatchError,  # no such column
    "42883": SchemaMismatchError,  # no such function
    "42501": ConfigurationError,  # insufficient privilege
    "42P05": ConfigurationError,  # duplicate prepared statement: a transaction pooler
    "26000": ConfigurationError,  # no such prepared statement: a transaction pooler
    "53300": StorageUnavailableError,  # too many connections
    "57014": StorageTimeoutError,  # query cancelled, statement_timeout
    "55P03": StorageTimeoutError,  # lock_timeout
    "25P03": StorageTimeoutError,  # idle_in_transaction_session_timeout
    "25P04": StorageTimeoutError,  # transaction_timeout
    "57P05": StorageConnectionError,  # idle_session_timeout
    "25006": StorageUnavailableError,  # read-only: a standby
    "57P01": StorageConnectionError,  # terminated by an administrator
    "57P02": StorageConnectionError,  # crash of another session
    "57P03": StorageUnavailableError,  # starting up, shutting down
    "54000": CapacityExceededError,  # program limit exceeded
    "08": StorageConnectionError,  # connection exceptions
    "28": AuthenticationError,
    "40": StorageUnavailableError,  # rolled back, after our own retries
    "53": StorageUnavailableError,  # out of memory, disk full, connections
    "57": StorageUnavailableError,  # operator intervention
    "58": StorageUnavailableError,  # the server's own system errors
    "XX": StorageUnavailableError,  # internal error, corruption
}
_HINTS: Final[dict[str, str]] = {
    "42P05": "; behind pgbouncer in transaction mode set statement_cache_size=0",
    "26000": "; behind pgbouncer in transaction mode set statement_cache_size=0",
    "42501": "; `ferroq migrate --sql` prints the grants that a role needs",
    "3F000": "; run `ferroq migrate`",
    "42P01": "; run `ferroq migrate`",
    "42703": "; run `ferroq migrate`",
}
# The connection went away before the server could have answered a statement.
_LOST: Final = frozenset({"57P01", "57P02", "57P05", "25P03"})


def sqlstate(error: BaseException | None) -> str | None:
    """The SQLSTATE of a driver's error, if the server sent one."""
    code = getattr(error, "sqlstate", None)
    return code if isinstance(code, str) and isinstance(error, asyncpg.PostgresError) else None


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that another may answer."""
    code = sqlstate(error)
    if code is not None:
        return code in _LOST or code.startswith("08")
    if isinstance(error, TimeoutError | asyncio.TimeoutError | ssl.SSLError):
        return False
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | EOFError)


def wrapped(
    error: BaseException, operation: str, *, sent: bool, secrets: list[str], connecting: bool = False
) -> StorageError:
    """The error to raise in place of a driver's.

    Args:
        sent: whether a statement was on its way: then only the server's own refusal says that nothing was applied.
        connecting: it happened while a connection was made or waited for.
    """
    code = sqlstate(error)
    kind: type[StorageError]
    outcome: Outcome = "not_applied"
    if code is not None:
        kind = _CLASSES.get(code) or _CLASSES.get(code[:2]) or StorageError
        # A session that is ended may have committed before: the answer alone would tell.
        if sent and (code in _LOST or code.startswith("08")):
            outcome = "unknown"
    elif isinstance(error, TimeoutError | asyncio.TimeoutError):
        kind = StorageTimeoutError
        outcome = "unknown" if sent else "not_applied"
    elif isinstance(error, ssl.SSLError | ssl.CertificateError):
        kind = ConfigurationError if connecting else StorageConnectionError
        outcome = "unknown" if sent else "not_applied"
    elif isinstance(error, asyncpg.ClientConfigurationError if hasattr(asyncpg, "ClientConfigurationError") else ()):
        kind = ConfigurationError
    elif isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | EOFError):
        kind = StorageConnectionError
        outcome = "unknown" if sent else "not_applied"
    else:
        kind = StorageError
        outcome = "unknown" if sent else "not_applied"
    text = mask_text(str(error), secrets)
    if not text:
        text = "no answer in time" if kind is StorageTimeoutError else type(error).__name__
    hint = _HINTS.get(code or "", "")
    label = f" [{code}]" if code else ""
    return kind(f"{operation}: {text}{label}{hint}", backend="postgres", operation=operation, outcome=outcome)
