"""A pytest plugin that holds a run against the table of promises.

It prints how many tests ran and passed in each scope, and the promises that no passing test of the run names. With
`--promises=strict` (what CI uses) any of these fails the run: a promise that a scope owes and nothing proved, fewer
tests than the scope's floor, and any test that was skipped: a server that is missing must never look like success.

Load it by `-p ferroq.testing.contract.report` or by `pytest_plugins` in a conftest.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from .backend import ContractBackend
from .promises import PROMISES, SCOPES, UNIT, owed

_PROPERTY: Final = "ferroq_promises"
_TALLY: Final = pytest.StashKey["Tally"]()


class Hooks:
    """What a conftest may answer."""

    @pytest.hookspec(firstresult=True)
    def pytest_ferroq_floors(self, config: pytest.Config) -> dict[str, int] | None:
        """How many passing tests each scope must have at least, by scope."""


@dataclass(slots=True)
class Scope:
    """What happened in one scope."""

    executed: int = 0
    passed: int = 0
    proved: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """What happened in a run."""

    strict: bool
    wanted: tuple[str, ...]
    floors: dict[str, int]
    scopes: dict[str, Scope] = field(default_factory=dict)
    skipped: int = 0

    def add(self, scope: str, ids: Iterable[str], passed: bool) -> None:
        """Counts one test that ran."""
        seen = self.scopes.setdefault(scope, Scope())
        seen.executed += 1
        seen.passed += passed
        (seen.proved if passed else seen.broken).update(ids)

    def missing(self, scope: str) -> list[str]:
        """The promises that the scope owes and nothing proved: a failing test beside a passing one proves nothing."""
        seen = self.scopes.get(scope, Scope())
        proved = seen.proved - seen.broken
        return [id_ for id_ in PROMISES if id_ in owed(scope) and id_ not in proved]

    def reported(self) -> list[str]:
        """The scopes to speak of: those asked for, in strict mode all of ours, and whatever else ran."""
        asked = self.wanted or (SCOPES if self.strict else ())
        return [*asked, *(name for name in self.scopes if name not in asked)]

    def complaints(self) -> list[str]:
        """Why the run does not prove what it should; empty when it does."""
        found = [
            f"{scope}: no passing test for {' '.join(missing)}"
            for scope in self.reported()
            if (missing := self.missing(scope))
        ]
        for scope in self.reported():
            passed, floor = self.scopes.get(scope, Scope()).passed, self.floors.get(scope, 0)
            if self.strict and passed < floor:  # a part of the tests, run by hand, is not short of anything
                found.append(f"{scope}: {passed} tests passed, the floor is {floor}")
        if self.skipped:
            found.append(f"{self.skipped} tests were skipped")
        return found


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declares `pytest_ferroq_floors`."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the two options."""
    group = parser.getgroup("ferroq")
    group.addoption(
        "--promises",
        choices=("off", "report", "strict"),
        default="report",
        help="hold the run against the contract's promises; strict fails it while one has no passing test",
    )
    group.addoption(
        "--promises-scopes",
        default="",
        help=f"comma-separated scopes to hold to account (strict: {','.join(SCOPES)}; report: those that ran)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marks and starts the count."""
    config.addinivalue_line("markers", "promises(*ids): the promises of the contract that the test proves")
    config.addinivalue_line("markers", "scope(name): where the test runs, for a test without the `backend` fixture")
    mode = config.getoption("--promises")
    if mode != "off":
        wanted = tuple(name for name in config.getoption("--promises-scopes").split(",") if name)
        floors = config.pluginmanager.hook.pytest_ferroq_floors(config=config) or {}
        config.stash[_TALLY] = Tally(mode == "strict", wanted, floors)
        config.pluginmanager.register(_Counter(config.stash[_TALLY]), "ferroq-promises-counter")


def _scope(item: pytest.Item) -> str:
    backend = getattr(item, "funcargs", {}).get("backend")
    if isinstance(backend, ContractBackend):
        return backend.name
    mark = item.get_closest_marker("scope")
    return str(mark.args[0]) if mark else UNIT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Sends scope and ids along with the report, so that the count also works where tests run in other processes."""
    report = yield
    if call.when == "call":
        ids = [str(id_) for mark in item.iter_markers("promises") for id_ in mark.args]
        report.user_properties.append((_PROPERTY, [_scope(item), *ids]))
    return report


class _Counter:
    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.tally.skipped += 1
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, list):
                scope, *ids = value
                self.tally.add(scope, ids, report.passed)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails a strict run that did not prove what it should."""
    tally = session.config.stash.get(_TALLY, None)
    on_worker: Any = hasattr(session.config, "workerinput")
    if tally and tally.strict and not on_worker and exitstatus == pytest.ExitCode.OK and tally.complaints():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the count of each scope, and what is missing."""
    tally = config.stash.get(_TALLY, None)
    if tally is None or not (tally.scopes or tally.strict):
        return
    terminalreporter.section("promises")
    for scope in tally.reported():
        seen = tally.scopes.get(scope, Scope())
        done = len(owed(scope)) - len(tally.missing(scope))
        terminalreporter.line(
            f"{scope}: {seen.passed} of {seen.executed} tests passed (floor {tally.floors.get(scope, 0)}), "
            f"{done} of {len(owed(scope))} promises proved"
        )
    for complaint in tally.complaints():
        terminalreporter.line(complaint, red=True)
