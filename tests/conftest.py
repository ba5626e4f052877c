"""Every run of the tests is held against the table of promises; see `ferroq.testing.contract.report`."""

from __future__ import annotations

pytest_plugins = ["ferroq.testing.contract.report"]

FLOORS = {"unit": 1, "memory": 1, "redis": 1, "postgres": 1}
"""How many tests each scope must pass at least: raise a floor with the tests, never lower it to get a run through."""


def pytest_ferroq_floors() -> dict[str, int]:
    """Answers the report."""
    return FLOORS
