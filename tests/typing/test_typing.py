"""The types as a user's strict mypy sees them: a sample that must pass, and one that must fail where it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def mypy(sample: str) -> str:
    # In the folder of the samples, without the project's configuration: as for a user who has installed the package.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty", "--show-error-codes", sample]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_what_users_write_is_accepted() -> None:
    assert mypy("must_pass.py").startswith("Success"), mypy("must_pass.py")


def test_mistakes_are_found_where_they_are() -> None:
    expected = {
        (number, found[1])
        for number, line in enumerate((FOLDER / "must_fail.py").read_text().splitlines(), 1)
        if (found := re.search(r"# E: ([a-z-]+)$", line))
    }
    output = mypy("must_fail.py")
    errors = re.findall(r"^must_fail\.py:(\d+): error: .*\[([a-z-]+)\]$", output, re.MULTILINE)
    assert {(int(line), code) for line, code in errors} == expected, output
    assert len(expected) > 20
