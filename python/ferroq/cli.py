"""The commands: thin layers over functions that can be called without them, and that use the public interface only."""

from __future__ import annotations

from pathlib import Path

import click

from . import demo as demonstration
from .postgres.cli import migrate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ferroq")
def cli() -> None:
    """Job storage with a Rust core."""


@cli.command()
@click.argument(
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=demonstration.DEFAULT_FOLDER,
)
@click.option("--storage", metavar="URL", default="memory://", show_default=True, help="Where the jobs are kept.")
@click.option("--workers", type=click.IntRange(min=2), default=4, show_default=True, help="One of them dies.")
@click.option(
    "--lock-timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.001, 31_536_000),
    default=2.0,
    show_default=True,
    help="How long the dead worker's jobs stay claimed.",
)
@click.option("--keep", is_flag=True, help="Leave the jobs in the store.")
@click.pass_context
def demo(context: click.Context, folder: Path, storage: str, workers: int, lock_timeout: float, keep: bool) -> None:
    """Index the files of FOLDER, one job a file, while one of the workers dies.

    FOLDER is Python's standard library unless you name one. The exit code is 0 if each file has exactly one accepted
    result at the end, 1 if not, 2 if it could not run. The program is examples/index_files.py.
    """
    context.exit(demonstration.demonstrate(folder, storage, workers, lock_timeout, keep))


cli.add_command(migrate)
