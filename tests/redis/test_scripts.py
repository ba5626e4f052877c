"""What the scripts are made of."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from ferroq.redis import scripts
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("redis")

LUA = files("ferroq.redis") / "lua"


@promises("Q21")
@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_no_script_walks_a_whole_store(script: scripts.Script) -> None:
    forbidden = re.findall(rb"'(KEYS|H?S?Z?SCAN|SMEMBERS|HGETALL|HKEYS|HVALS|LREM|FLUSH\w*|tostring)'", script.text)
    assert forbidden == []
    assert b"tostring(" not in script.text, "it loses digits"
    assert b"cjson" not in script.text, "payloads are not parsed"


@promises("Q28")
def test_the_time_is_read_in_one_place() -> None:
    assert sum(script.text.count(b"'TIME'") for script in scripts.ALL) == len(scripts.ALL)
    assert (LUA / "lib" / "base.lua").read_text().count("'TIME'") == 1


@promises("N1")
def test_every_file_is_used() -> None:
    names = {path.name.removesuffix(".lua") for path in LUA.iterdir() if path.name.endswith(".lua")}
    assert names == {script.name for script in scripts.ALL}
