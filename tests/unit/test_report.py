"""The report that holds a run against the table of promises [T4], in projects of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferroq.testing.contract import promises

TESTS = """
import pytest

from ferroq.testing import ContractBackend
from ferroq.testing.contract import promises
from ferroq.testing.contract.promises import owed


class Fake(ContractBackend):
    name = "memory"

    async def open(self, **options): ...
    async def reopen(self, storage): ...
    async def advance(self, seconds): ...
    async def now(self): ...
    async def close(self): ...


@pytest.fixture
def backend():
    return Fake()


@promises(*(owed("unit") - {"J1"}))
def test_unit():
    pass


@promises("J1")
def test_one_more():
    pass


@promises(*(owed("memory") - {"Q7"}))
def test_memory(backend):
    pass


@promises("Q7")
@pytest.mark.parametrize("good", [True, True])
def test_both(backend, good):
    assert good


@promises("E5", "E3", "C3")
@pytest.mark.scope("redis")
def test_marked():
    pass
"""

CONFTEST = """
pytest_plugins = ["ferroq.testing.contract.report"]


def pytest_ferroq_floors():
    return {"unit": 2, "memory": 3}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_project.py").write_text(TESTS)
    return tmp_path


def run(project: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={project}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *options, str(project)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


STRICT = ("--promises=strict", "--promises-scopes=unit,memory")


def edit(project: Path, old: str, new: str) -> None:
    path = project / "test_project.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@promises("T4")
def test_a_whole_run_passes_and_counts_each_scope(project: Path) -> None:
    code, text = run(project, *STRICT, "-k", "not marked")
    assert code == 0, text
    assert "unit: 2 of 2 tests passed (floor 2)" in text
    assert "memory: 3 of 3 tests passed (floor 3)" in text
    assert "no passing test" not in text


@promises("T4")
def test_a_promise_that_nothing_proves_fails_a_strict_run(project: Path) -> None:
    edit(project, '- {"Q7"}', '- {"Q7", "L3"}')
    code, text = run(project, *STRICT, "-k", "not marked")
    assert code == 1
    assert "memory: no passing test for L3" in text
    code, text = run(project, "-k", "not marked")
    assert code == 0, "it only reports"
    assert "memory: no passing test for L3" in text
    code, text = run(project, "--promises=off", "-k", "not marked")
    assert (code, "promises" in text) == (0, False)


@promises("T4")
def test_a_failing_test_proves_nothing_even_beside_a_passing_one(project: Path) -> None:
    edit(project, "[True, True]", "[True, False]")
    code, text = run(project, *STRICT, "-k", "not marked")
    assert code == 1
    assert "memory: no passing test for Q7" in text
    assert "memory: 2 of 3 tests passed" in text


@promises("T4")
def test_a_scope_below_its_floor_fails_a_strict_run(project: Path) -> None:
    edit(project, "[True, True]", "[True]")
    code, text = run(project, *STRICT, "-k", "not marked")
    assert code == 1
    assert "memory: 2 tests passed, the floor is 3" in text


@promises("T4")
def test_a_scope_without_a_single_test_fails_a_strict_run(project: Path) -> None:
    code, text = run(project, "--promises=strict", "-k", "not marked")
    assert code == 1
    assert "postgres: no passing test for" in text
    assert "postgres: 0 of 0 tests passed" in text


@promises("T4")
@pytest.mark.parametrize("body", ["pytest.skip('no server')", "pytest.xfail('known')"])
def test_a_skipped_test_fails_a_strict_run(project: Path, body: str) -> None:
    edit(project, "def test_one_more():\n    pass", f"def test_one_more():\n    pass\n\ndef test_more():\n    {body}")
    code, text = run(project, *STRICT, "-k", "not marked")
    assert code == 1
    assert "1 tests were skipped" in text


@promises("T4")
def test_a_mark_says_where_a_test_without_a_backend_ran(project: Path) -> None:
    code, text = run(project, "-k", "marked")
    assert code == 0
    assert "redis: 1 of 1 tests passed" in text
    assert "E5" not in text.split("redis: no passing test for", 1)[1].split()


@promises("T4")
def test_an_id_that_does_not_exist_breaks_the_collection(project: Path) -> None:
    edit(project, '@promises("J1")', '@promises("J99")')
    code, text = run(project)
    assert code == 2
    assert "J99" in text
