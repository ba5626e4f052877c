"""The suite itself: it passes a sound backend, and fails a broken one [T4]."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ferroq.testing
from ferroq.storage import Storage
from ferroq.testing import ContractBackend, StorageContract
from ferroq.testing.contract import PROMISES, promises
from ferroq.testing.contract.promises import EVERYWHERE, SCOPES, owed
from ferroq.testing.contract.suite import ContractBase

from .mutants import MUTANTS

ROOT = Path(__file__).parents[2]

MODULE = """
import pytest
from ferroq.testing.contract.suite import ContractBase
from tests.contract.mutants import MUTANTS, MutantBackend, Sound


def bound(mutant):
    @pytest.fixture
    async def backend(self, anyio_backend):
        backend = MutantBackend(mutant)
        yield backend
        await backend.close()

    return backend


for mutant, topic in MUTANTS.items():
    name = f"Test{mutant.__name__}"
    globals()[name] = type(name, (topic, ContractBase), {"backend": bound(mutant)})
for topic in set(MUTANTS.values()):
    name = f"TestSound{topic.__name__}"
    globals()[name] = type(name, (topic, ContractBase), {"backend": bound(Sound)})
del name, topic, mutant
"""

# A mutant is found out by its first failure: what would come after it only costs time.
CONFTEST = """
import collections
import pytest

seen = collections.defaultdict(collections.Counter)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    verdicts = seen[item.cls.__name__]
    if verdicts["passed"] and verdicts["failed"]:
        pytest.skip("found out")


def pytest_runtest_logreport(report):
    if report.failed or (report.when == "call" and report.passed):
        seen[report.nodeid.split("::")[1]][report.outcome] += 1
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Counter[str]]:
    """What became of the topics' tests, by class: how many passed and how many failed."""
    folder = tmp_path_factory.mktemp("mutants")
    (folder / "test_mutants.py").write_text(MODULE)
    (folder / "conftest.py").write_text(CONFTEST)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--import-mode=importlib", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", f"--rootdir={folder}", f"--junitxml={report}", str(folder)]
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "").rpartition(".")[2]
        if case.find("skipped") is not None:
            continue
        broken = case.find("failure") is not None or case.find("error") is not None
        found.setdefault(name, Counter())["failed" if broken else "passed"] += 1
    return found


@promises("T4")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_backend_fails(verdicts: dict[str, Counter[str]], mutant: type) -> None:
    verdict = verdicts[f"Test{mutant.__name__}"]
    assert verdict["failed"] >= 1, "nobody noticed"
    assert verdict["passed"] >= 1, "it was to break one behaviour and broke all"


@promises("T4")
def test_a_sound_backend_passes(verdicts: dict[str, Counter[str]]) -> None:
    sound = {name: verdict for name, verdict in verdicts.items() if name.startswith("TestSound")}
    assert len(sound) == len(set(MUTANTS.values()))
    assert all(verdict["failed"] == 0 for verdict in sound.values()), sound


@promises("T4")
def test_whoever_writes_a_backend_finds_the_suite() -> None:
    assert set(ferroq.testing.__all__) >= {"StorageContract", "ContractBackend"}
    assert ferroq.testing.StorageContract is StorageContract
    assert issubclass(StorageContract, ContractBase)
    assert ContractBackend.__abstractmethods__ == {"open", "reopen", "advance", "now", "close"}
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ferroq.testing.nonsense


@promises("T4")
def test_each_test_of_the_suite_names_what_it_proves() -> None:
    tests = {name: getattr(StorageContract, name) for name in dir(StorageContract) if name.startswith("test_")}
    assert len(tests) > 150
    for name, test in tests.items():
        marks = [mark for mark in test.pytestmark if mark.name == "promises"]
        assert marks, name
        assert all(id_ in PROMISES for mark in marks for id_ in mark.args), name


@promises("T4")
def test_no_body_of_the_suite_asks_which_backend_it_runs_on() -> None:
    folder = Path(ferroq.testing.__file__).parent / "contract"
    for path in folder.glob("*.py"):
        if path.name in ("report.py", "promises.py"):
            continue
        for line in path.read_text().splitlines():
            assert not re.match(r"\s*(if|elif|while|match)\b.*\bbackend\.name\s*(==|!=|:|in\b)", line), (path, line)
            assert "backend.features" not in line, (path, line)


@promises("T4")
def test_the_table_of_promises_is_whole() -> None:
    numbers = {"J": 15, "S": 4, "Q": 28, "L": 7, "E": 5, "C": 6, "T": 4, "N": 1}
    assert list(PROMISES) != []
    assert set(PROMISES) == {f"{letter}{index}" for letter, last in numbers.items() for index in range(1, last + 1)}
    for id_, promise in PROMISES.items():
        assert promise.id == id_
        assert promise.about
        assert promise.scopes
        assert set(promise.scopes) <= set(SCOPES)
        stores = set(promise.scopes) & {"memory", "redis", "postgres"}
        if stores != {"memory", "redis", "postgres"}:
            assert promise.reason, f"{id_}: why not everywhere?"
    assert set(EVERYWHERE) == set(SCOPES)
    # A backend from elsewhere owes what all of ours owe, and nothing that only some do.
    assert {"Q1", "L3", "E2"} <= owed("theirs")
    assert not {"E3", "C2", "T1", "Q27"} & owed("theirs")


@promises("T4")
def test_the_marks_are_checked() -> None:
    with pytest.raises(LookupError, match="Q99"):
        promises("Q1", "Q99")
    with pytest.raises(LookupError):
        promises()


@promises("T4")
def test_the_interface_is_what_the_suite_calls() -> None:
    from ferroq.testing.contract.life import CALLS

    assert set(CALLS) == set(Storage.__abstractmethods__) - {"open", "close", "clone"}
