"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ferroq.cli import cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small tree: files of two kinds, one empty, one in a subfolder, and one that no job can name."""
    (tmp_path / "sub").mkdir()
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"line {number}\n" * number)
        (tmp_path / "sub" / f"{number}.py").write_text("pass\n")
    (tmp_path / "sub" / "empty").touch()
    (tmp_path / "link.txt").symlink_to(tmp_path / "1.txt")
    return tmp_path


def test_demo_ends_with_one_accepted_result_for_each_file(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["demo", str(folder), "--lock-timeout", "0.5", "--workers", "3"])
    assert done.exit_code == 0, done.output
    assert "81 jobs, 3 workers, memory://" in done.output
    assert "each file has exactly one accepted result" in done.output
    table = {line.split()[0]: line.split()[1:] for line in done.output.splitlines() if len(line.split()) == 2}
    assert table["queue"] == ["succeeded"]
    assert (table["txt"], table["py"], table["other"], table["total"]) == (["40"], ["40"], ["1"], ["81"])


def test_demo_shows_that_the_dead_workers_jobs_were_taken_over(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["demo", str(folder), "--lock-timeout", "0.5"])
    held = re.search(r"worker-1 dies with (\d+) claimed jobs: its task is dropped", done.output)
    taken_over = re.search(r"(\d+) jobs lapsed and were taken over", done.output)
    assert held is not None, done.output
    assert taken_over is not None, done.output
    assert int(taken_over[1]) >= int(held[1]) > 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--storage", "memory://?max_jobs=5"], 2, "5"),
        (["--storage", "memory://?max_job=5"], 2, "unknown option 'max_job'"),
        (["--storage", "nosuch://secret:word@host"], 2, "no backend for nosuch://"),
        (["--workers", "1"], 2, "--workers"),
        (["--lock-timeout", "0"], 2, "--lock-timeout"),
    ],
)
def test_demo_that_cannot_run_says_why(folder: Path, arguments: list[str], code: int, text: str) -> None:
    done = CliRunner().invoke(cli, ["demo", str(folder), *arguments])
    assert done.exit_code == code
    assert text in done.output
    assert "secret" not in done.output
    assert "Traceback" not in done.output


def test_demo_of_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["demo", str(tmp_path)])
    assert done.exit_code == 2
    assert "no files in" in done.output


def test_help_and_version() -> None:
    assert "demo" in CliRunner().invoke(cli, ["--help"]).output
    assert re.fullmatch(
        r"ferroq, version \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).output.replace("cli", "ferroq")
    )


def test_without_click_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from ferroq.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'ferroq[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run([sys.executable, "-m", "ferroq", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ferroq ")
