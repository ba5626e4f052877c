"""What the README and the pages of docs/ show is true: Python runs and prints what they say, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<language>[a-z]*)(?P<note> [^\n]*)?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    name: str
    code: str
    output: str | None
    """What the page says that it prints, in a block of text right behind it."""


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        fences = list(FENCE.finditer(page.read_text()))
        for fence, after in zip(fences, [*fences[1:], None], strict=False):
            if fence["language"] == "python" and fence["note"] is None:
                adjacent = after is not None and page.read_text()[fence.end() : after.start()].strip() == ""
                output = after["text"] if after is not None and adjacent and after["language"] == "text" else None
                line = page.read_text().count("\n", 0, fence.start()) + 1
                found.append(Block(f"{page.name}:{line}", fence["text"], output))
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """Where the pages of the server backends find theirs: both write to disk, so that none of them warns."""
    with RedisServer(durable=True) as redis, PostgresServer(durable=True) as postgres:
        yield {"REDIS_URL": redis.url, "DATABASE_URL": postgres.dsn}


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.name)
def test_the_python_of_a_page_runs(block: Block, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment = dict(os.environ)
    if block.name.startswith(("redis.md", "postgres.md")):
        environment |= request.getfixturevalue("servers")
    is_test = "\ndef test_" in block.code or "\nasync def test_" in block.code
    file = tmp_path / ("test_page.py" if is_test else "page.py")
    file.write_text(block.code)
    # As a user would: a process of its own; warnings are errors, and asynchronous tests run by anyio's plugin.
    command = [sys.executable, "-W", "error", str(file)]
    if is_test:
        (tmp_path / "conftest.py").write_text(
            "import pytest\n"
            "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
            "def pytest_collection_modifyitems(items):\n"
            "    for item in items:\n        item.add_marker(pytest.mark.anyio)\n"
        )
        options = ["-p", "no:cacheprovider", "-p", "no:valkey", "--rootdir", str(tmp_path)]
        command = [sys.executable, "-m", "pytest", "-q", *options, str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if is_test:
        assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE), done.stdout
    if block.output is not None:
        assert done.stdout == block.output


def test_there_are_blocks_to_run() -> None:
    pages = [block.name.partition(":")[0] for block in blocks()]
    assert pages.count("README.md") >= 2
    assert {"workers.md", "testing.md", "redis.md", "postgres.md"} <= set(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # In code only: "make a note" is no command.
    code = re.findall(r"`make ([a-z -]+)`|^\$ make ([a-z -]+)", page.read_text(), re.MULTILINE)
    named = {target for pair in code for target in " ".join(pair).split()}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
