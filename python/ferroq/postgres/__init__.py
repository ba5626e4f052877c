"""The Postgres backend: needs the extra `ferroq[postgres]`, which is asyncpg."""

from .config import PostgresConfig
from .storage import PostgresStorage

__all__ = ["PostgresConfig", "PostgresStorage"]
