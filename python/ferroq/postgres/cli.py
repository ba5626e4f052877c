"""`ferroq migrate`: creates or upgrades the schema of the Postgres backend."""

from __future__ import annotations

import asyncio

import click

from ..errors import ConfigurationError, SchemaMismatchError, StorageError
from .config import PostgresConfig


@click.command()
@click.option("--url", metavar="URL", envvar="DATABASE_URL", help="postgresql://…; without it DATABASE_URL.")
@click.option("--schema", metavar="NAME", default="ferroq", show_default=True, help="The schema of the tables.")
@click.option("--role", metavar="NAME", help="Also grant this role what an application needs, and no more.")
@click.option("--check", is_flag=True, help="Change nothing; the exit code is 1 if there is something to do.")
@click.option("--sql", is_flag=True, help="Print the SQL of a new store, grants included, without a connection.")
def migrate(url: str | None, schema: str, role: str | None, check: bool, sql: bool) -> None:
    """Create or upgrade the schema of the Postgres backend.

    Steps are applied in order, in one transaction, under a lock: it may run on every deployment, on several machines at
    once. Exit code 0: the schema is the one that this version needs; 1: it is not; 2: it could not run.
    """
    try:
        if sql:
            from .migrate import script

            PostgresConfig(schema_name=schema)
            click.echo(script(schema, role), nl=False)
            return
        config = PostgresConfig(database_url=url, schema_name=schema)
        asyncio.run(_migrate(config, role, check))
    except SchemaMismatchError as error:
        click.echo(f"ferroq migrate: {error}", err=True)
        raise SystemExit(1) from None
    except (StorageError, ModuleNotFoundError) as error:
        click.echo(f"ferroq migrate: {error}", err=True)
        raise SystemExit(2) from None


async def _migrate(config: PostgresConfig, role: str | None, check: bool) -> None:
    # The driver only now: printing the SQL needs none.
    try:
        import asyncpg

        from . import migrate as steps
        from .errors import wrapped
    except ModuleNotFoundError as error:
        raise ConfigurationError("asyncpg is missing: pip install 'ferroq[postgres]'", backend="postgres") from error
    try:
        connection = await asyncpg.connect(config.dsn(), timeout=config.connect_timeout, statement_cache_size=0)
        try:
            if check:
                await steps.check(connection, config.schema_name)
                click.echo(f"schema {config.schema_name} is up to date")
                return
            made = await steps.apply(connection, config.schema_name)
            for step in made:
                click.echo(f"applied {step.version:04} {step.name}")
            if not made:
                click.echo(f"schema {config.schema_name} is up to date")
            for grant in steps.grants(config.schema_name, role) if role else ():
                await connection.execute(grant)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise wrapped(error, "migrate", sent=False, secrets=config.secrets(), connecting=True) from error
