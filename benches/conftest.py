"""The contract's tests, as far as the yardstick goes."""

from __future__ import annotations

import pytest

BEYOND = {
    "test_a_batch_is_cut_at_sixteen_mebibytes": "no caps in bytes",
    "test_chunks_are_also_cut_by_bytes": "no caps in bytes",
    "test_a_kind_that_is_not_kept_is_gone_at_once": "no retention",
    "test_a_crash_failed_job_is_kept": "no retention",
    "test_a_queue_named_twice_counts_once": "nobody waits for jobs",
    "test_a_wave_of_another_queue_delays_but_hides_nothing": "nobody waits for jobs",
}
"""Tests of its topics that ask for more than it has: with it the yardstick would only be slower."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promises(*ids): the promises of the contract that a test proves")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if getattr(item, "originalname", item.name) not in BEYOND]
