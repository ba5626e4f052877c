"""The Lua scripts: one file an operation in `lua/`, the parts that they share in `lua/lib/`.

The second line of a script names the parts that it needs; they are put in front of it when it is loaded. A script that
needs few parts pays for few: everything at its top runs with every call.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_FOLDER = files(__package__) / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it."""

    name: str
    text: bytes
    sha: bytes


def load(name: str, *, short: bool = True) -> Script:
    """Args:
    short: with its short ways (lua/lib/quick.lua), without which it answers the same, more slowly.
    """
    head, include, *lines = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8").split("\n")
    mark = "-- include: "
    if not head.startswith("#!lua") or not include.startswith(mark.rstrip()):
        raise ImportError(f"{name}.lua must begin with #!lua and a line '{mark}…'")
    named = [part for part in include[len(mark) :].split() if short or not part.startswith("quick")]
    parts = [(_FOLDER / "lib" / f"{part}.lua").read_text(encoding="utf-8") for part in named]
    # Comments and indentation stay here: a server that has not seen the script is sent it whole.
    code = [line.strip() for line in "\n".join((*parts, *lines)).split("\n")]
    text = "\n".join((head, *(line for line in code if line and not line.startswith("--")))).encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


RIGHTS: Final = load("rights")
ENQUEUE: Final = load("enqueue")
EXISTS: Final = load("exists")
GET: Final = load("get")
UPDATE: Final = load("update")
DELETE: Final = load("delete")
READ: Final = load("read")
AVAILABLE: Final = load("available")
CLAIM: Final = load("claim")
ACQUIRE: Final = load("acquire")
UNLOCK: Final = load("unlock")
EXTEND: Final = load("extend")
RELEASE: Final = load("release")
PURGE: Final = load("purge")
PEEK: Final = load("peek")
SPOIL: Final = load("spoil")
VERIFY: Final = load("verify")

ALL: Final = (
    RIGHTS,
    ENQUEUE,
    EXISTS,
    GET,
    UPDATE,
    DELETE,
    READ,
    AVAILABLE,
    CLAIM,
    ACQUIRE,
    UNLOCK,
    EXTEND,
    RELEASE,
    PURGE,
    PEEK,
    SPOIL,
    VERIFY,
)
