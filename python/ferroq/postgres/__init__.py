"""The Postgres backend: needs the extra `ferroq[postgres]`, which is asyncpg, as soon as a storage is made [N1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import PostgresConfig

if TYPE_CHECKING:
    from .storage import PostgresStorage

__all__ = ["PostgresConfig", "PostgresStorage"]


def __getattr__(name: str) -> Any:
    if name != "PostgresStorage":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .storage import PostgresStorage
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ModuleNotFoundError(
            "PostgresStorage needs asyncpg: pip install 'ferroq[postgres]'", name="asyncpg"
        ) from error
    return PostgresStorage
