"""Every run of the tests is held against the table of promises; see `ferroq.testing.contract.report`."""

from __future__ import annotations

pytest_plugins = ["ferroq.testing.contract.report", "tests.server_fixtures"]

FLOORS = {"unit": 440, "memory": 950, "redis": 380, "postgres": 380}
"""How many tests each scope must pass at least: raise a floor with the tests, never lower it to get a run through."""


def pytest_ferroq_floors() -> dict[str, int]:
    """Answers the report."""
    return FLOORS
