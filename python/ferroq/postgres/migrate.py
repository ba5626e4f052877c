"""Migrations: numbered, forward only, each applied once and its text checked by a checksum ever after.

Everything is one transaction under an advisory lock of that transaction: two that migrate at once do it once, and one
that is interrupted has done nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import SchemaMismatchError
from .queries import Queries, quoted


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: `{schema}` in its text stands for the quoted schema."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def sql(self, schema: str) -> str:
        return self.text.replace("{schema}", quoted(schema))


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps, in order; their numbers have no gap."""
    found = []
    for file in files(__package__).joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.version)
    return tuple(found)


def mend(schema: str, what: str) -> str:
    """The text of a `SchemaMismatchError`: what is wrong and the command that mends it."""
    option = "" if schema == "ferroq" else f" --schema {schema}"
    return f"schema {schema!r} {what}; run `ferroq migrate{option}` or set auto_migrate=True"


def _mismatch(text: str) -> SchemaMismatchError:
    return SchemaMismatchError(text, backend="postgres")


def _lock(schema: str) -> str:
    return f"SELECT pg_advisory_xact_lock(hashtext('ferroq migrate'), hashtext('{quoted(schema)}'))"


def _table(schema: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(schema)}.migration (\n"
        "    version integer PRIMARY KEY,\n"
        "    name text NOT NULL,\n"
        "    checksum text NOT NULL,\n"
        "    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()\n"
        ")"
    )


def _record(schema: str, migration: Migration) -> str:
    # Names and checksums come from our own files: letters, digits and underscores.
    return (
        f"INSERT INTO {quoted(schema)}.migration (version, name, checksum) "  # noqa: S608
        f"VALUES ({migration.version}, '{migration.name}', '{migration.checksum}')"
    )


def grants(schema: str, role: str) -> list[str]:
    """What a role needs to use the store: nothing of the schema itself, and no other schema."""
    name = quoted(schema)
    who = '"' + role.replace('"', '""') + '"'
    return [
        f"GRANT USAGE ON SCHEMA {name} TO {who}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.job, {name}.ready, {name}.lease, {name}.future, {name}.done, "
        f"{name}.explicit_lock TO {who}",
        f"GRANT SELECT ON {name}.record, {name}.migration TO {who}",
        f"GRANT SELECT, USAGE, UPDATE ON {name}.job_seq, {name}.token_seq TO {who}",
    ]


def script(schema: str, role: str | None = None) -> str:
    """All of it as SQL for somebody else to run, without a connection: a new store, from nothing to the last step."""
    parts = ["BEGIN ISOLATION LEVEL READ COMMITTED", _lock(schema), f"CREATE SCHEMA {quoted(schema)}", _table(schema)]
    for migration in migrations():
        parts.append(migration.sql(schema).strip().removesuffix(";"))
        parts.append(_record(schema, migration))
    lines = ";\n\n".join([*parts, "COMMIT"]) + ";\n"
    lines += "\n-- What the role of an application needs, and no more" + (
        ":\n" if role else " (ferroq stands for it):\n"
    )
    for grant in grants(schema, role or "ferroq"):
        lines += f"{grant};\n" if role else f"-- {grant};\n"
    return lines


async def applied(connection: Any, schema: str) -> dict[int, str]:
    """Checksums by version, of what the database has; empty where there is nothing of ours."""
    # Looked for first: an error would end a transaction that is open.
    known = await connection.fetchval("SELECT to_regclass($1)", f"{quoted(schema)}.migration")
    if known is None:
        return {}
    return {row["version"]: row["checksum"] for row in await connection.fetch(Queries(schema).versions)}


def pending(have: dict[int, str], schema: str) -> list[Migration]:
    """The steps that are missing.

    Raises:
        SchemaMismatchError: the database is newer than this version, or one of its steps was another.
    """
    ours = migrations()
    newer = sorted(set(have) - {migration.version for migration in ours})
    if newer:
        raise _mismatch(
            f"schema {schema!r} is at version {newer[-1]}, newer than this ferroq knows ({ours[-1].version}); "
            "upgrade it with `pip install --upgrade ferroq`"
        )
    for migration in ours:
        checksum = have.get(migration.version)
        if checksum is not None and checksum != migration.checksum:
            raise _mismatch(
                f"schema {schema!r} was migrated by another text of step {migration.version} ({migration.name}); "
                "install the ferroq that made it, or migrate a new schema with `ferroq migrate --schema NAME`"
            )
    return [migration for migration in ours if migration.version not in have]


async def check(connection: Any, schema: str) -> None:
    """Raises `SchemaMismatchError` unless the schema is exactly the one that this version needs."""
    try:
        have = await applied(connection, schema)
    except Exception as error:
        # By its code alone: this module is also there without the driver.
        if getattr(error, "sqlstate", None) == "42501":
            raise _mismatch(
                f"schema {schema!r} is there but not readable for this role; "
                f"`ferroq migrate --sql --schema {schema} --role NAME` prints the grants it needs"
            ) from error
        raise
    missing = pending(have, schema)
    if missing:
        what = "has no tables of ferroq" if not have else f"is at version {max(have)} of {missing[-1].version}"
        raise _mismatch(mend(schema, what))


async def apply(connection: Any, schema: str) -> list[Migration]:
    """Brings the schema to this version; the steps that were made.

    Raises:
        SchemaMismatchError: as `pending`.
    """
    if not pending(await applied(connection, schema), schema):
        return []  # without a lock, and without the right to create anything
    # Read committed: what somebody else migrated while this waited for the lock must be seen behind it.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_lock(schema))
        exists = await connection.fetchval("SELECT to_regnamespace($1)", quoted(schema))
        if exists is None:
            await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
        await connection.execute(_table(schema))
        missing = pending(await applied(connection, schema), schema)
        for migration in missing:
            await connection.execute(migration.sql(schema))
            await connection.execute(_record(schema, migration))
    return missing
