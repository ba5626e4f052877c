"""The example on real servers, where the worker that dies is a process, killed by SIGKILL with claims in its hands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ferroq

EXAMPLE = Path(__file__).parents[2] / "examples" / "index_files.py"


@pytest.mark.parametrize(
    ("server", "options"),
    [
        pytest.param("redis_url", f"key_prefix=example-{os.getpid()}", marks=pytest.mark.scope("redis"), id="redis"),
        pytest.param(
            "postgres_dsn",
            f"schema_name=example_{os.getpid()}&auto_migrate=true",
            marks=pytest.mark.scope("postgres"),
            id="postgres",
        ),
    ],
)
def test_a_killed_process_loses_no_job(server: str, options: str, request: pytest.FixtureRequest) -> None:
    url = f"{request.getfixturevalue(server)}?{options}"
    folder = Path(ferroq.__file__).parent
    command = [sys.executable, str(EXAMPLE), str(folder), "--storage", url, "--lock-timeout", "0.5", "--workers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "its process is killed" in done.stdout
    assert done.stdout.endswith("each file has exactly one accepted result\n")
