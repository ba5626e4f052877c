"""The first example, run as its reader would run it; and that its check finds what it looks for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import ferroq
from ferroq import Job, JobState, MemoryStorage, demo

EXAMPLE = Path(__file__).parents[2] / "examples" / "index_files.py"


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_example_indexes_this_package() -> None:
    folder = Path(ferroq.__file__).parent
    done = run_example(folder, "--lock-timeout", "0.5", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("each file has exactly one accepted result\n")


def test_the_command_is_the_example() -> None:
    assert Path(demo.__file__).read_bytes() == EXAMPLE.read_bytes()


def test_wrong_arguments_end_it_with_2() -> None:
    assert run_example("--workers", "1").returncode == 2
    done = run_example(EXAMPLE.parent, "--storage", "memory://?nonsense=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown option 'nonsense'")


def test_index_hashes_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a\nb\nc")
    sha256 = "ea7fb08b7a2dc4619ffb7c7bb38d95a2047935fa165d71b12efd3852a2e6d0cc"
    assert demo.index(str(file)) == {"sha256": sha256, "lines": 2}


def test_a_file_that_cannot_be_read_is_a_failed_job(tmp_path: Path) -> None:
    state = demo.attempt(Job("index_file", [str(tmp_path / "gone")]))
    assert isinstance(state, JobState.Failed)
    assert "gone" in state.exception


def test_the_doomed_process_speaks_and_is_killed() -> None:
    async def watch() -> demo.Halfway:
        # A process has a memory store of its own, an empty one: this is about its start, its words and its end.
        async with demo.doomed_process("memory://", demo.Orders(["q"], 2, 1.0)) as doomed:
            doomed.kill()
        with pytest.raises(ProcessLookupError):
            doomed.kill()
        return doomed.halfway

    assert asyncio.run(watch()) == demo.Halfway([], 0)


def test_a_doomed_process_that_ends_by_itself_is_an_error() -> None:
    async def start() -> None:
        async with demo.doomed_process("memory://nonsense", demo.Orders(["q"], 2, 1.0)):
            pass

    with pytest.raises(ChildProcessError):
        asyncio.run(start())


@pytest.fixture
def settled() -> list[Job]:
    """Four jobs as a run leaves them in the store, one of them taken over from a dead worker."""
    storage = MemoryStorage()
    storage.enqueue_many_nowait([Job("index_file", [f"/{number}"], id=f"{number}") for number in range(4)])
    jobs = storage.fetch_available_jobs_atomic_nowait("w", 4)
    for job in jobs:
        job.set_state(JobState.succeeded(1))
    storage.update_many_nowait(jobs)
    return jobs


def test_the_check_accepts_one_result_for_each_file(settled: list[Job]) -> None:
    assert demo.problems_of(settled, settled, Counter("0123"), held=0) == []


@pytest.mark.parametrize(
    ("accepted", "text"),
    [("012", "/3: 0 accepted results"), ("01233", "/3: 2 accepted results")],
)
def test_the_check_finds_a_missing_and_a_second_result(settled: list[Job], accepted: str, text: str) -> None:
    assert demo.problems_of(settled, settled, Counter(accepted), held=0) == [text]


def test_the_check_finds_what_the_store_lost(settled: list[Job]) -> None:
    lost = [job for job in settled if job.id != "2"]
    assert demo.problems_of(settled, lost, Counter("0123"), held=0) == ["/2: the accepted result is not in the store"]


def test_the_check_finds_jobs_that_nobody_took_over(settled: list[Job]) -> None:
    found = demo.problems_of(settled, settled, Counter("0123"), held=3)
    assert found == ["the dead worker held 3 jobs, 0 were taken over"]
