"""The pytest plugin that comes with the package [T3], in a project of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ferroq.testing.contract import promises

PROJECT = """
import asyncio

import pytest

from ferroq import Job, JobState, MemoryStorage
from ferroq.errors import StorageClosedError

seen = []


def test_synchronous(ferroq_storage, ferroq_clock):
    assert isinstance(ferroq_storage, MemoryStorage)
    seen.append(ferroq_storage)
    ferroq_storage.enqueue_nowait(Job("work", id="x"))
    job = ferroq_storage.fetch_and_lock_job_nowait("w", lock_timeout=60)
    assert job.id == "x"
    ferroq_clock.advance(61)
    again = ferroq_storage.fetch_and_lock_job_nowait("w")
    assert (again.id, again.crash_count) == ("x", 1)


def test_each_test_has_its_own(ferroq_storage):
    assert len(ferroq_storage) == 0
    assert ferroq_storage is not seen[0]


def test_it_is_closed_afterwards():
    with pytest.raises(StorageClosedError):
        seen[0].get_nowait("x")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asynchronous(ferroq_storage, ferroq_clock):
    waiter = asyncio.ensure_future(ferroq_storage.wait_for_jobs(timeout=10))
    await asyncio.sleep(0)
    due = ferroq_clock.now().replace(year=ferroq_clock.now().year + 1, day=1)
    await ferroq_storage.enqueue(Job("work", state=JobState.scheduled(due)))
    ferroq_clock.advance(400 * 86400)
    assert await waiter is True


def test_a_loop_of_the_users_own_survives(ferroq_storage):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(ferroq_storage.enqueue(Job("work")))


def test_it_is_still_the_current_one():
    loop = asyncio.get_event_loop_policy().get_event_loop()
    assert not loop.is_closed()
    loop.close()
"""


@promises("T3")
def test_the_fixtures_need_no_import(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@promises("T3")
def test_the_plugin_costs_a_user_nothing_but_the_package(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(
        "import sys\n\n\ndef test_loaded():\n"
        "    assert 'ferroq.testing.plugin' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.startswith('ferroq.testing.contract')]\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
