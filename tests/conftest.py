"""Every run of the tests is held against the table of promises; see `ferroq.testing.contract.report`."""

from __future__ import annotations

from typing import Final

import pytest

pytest_plugins = ["ferroq.testing.contract.report", "tests.server_fixtures"]

FLOORS: Final = {"unit": 525, "memory": 980, "redis": 900, "postgres": 735}
"""How many tests each scope must pass at least: raise a floor with the tests, never lower it to get a run through."""

FLOORS_WITH_MATRIX: Final = {"redis": 1440, "postgres": 1410}
"""With Debian's servers; see `test-debian` in the Makefile."""


def pytest_ferroq_floors(config: pytest.Config) -> dict[str, int]:
    """Answers the report."""
    return FLOORS if config.option.markexpr == "not matrix" else FLOORS_WITH_MATRIX
