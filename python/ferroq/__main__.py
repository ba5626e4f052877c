"""`ferroq`, and `python -m ferroq`: the command line, or what to install for it."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from .cli import cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("the command line needs click: pip install 'ferroq[cli]'")
    cli(prog_name="ferroq")


if __name__ == "__main__":
    main()
