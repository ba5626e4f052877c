"""Jobs to the bytes that the scripts keep, and back. The layout is described in lua/lib/record.lua."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._rows import Row, Stored

_FIXED = Struct(">BBIIIQQBQBIQIIiIBB")
_FRONT = Struct(">BBIIIQQBQBIQII")
_BACK = Struct(">iIBB")
_FRESH = Struct(">IIiIBB")
_SPEC = Struct(">IIB")
_BODY = Struct(">QB")
_FORMAT = 1
PROCESSING = 1
_LARGEST = 2**32 - 1

NOT_TEXT = "\x00"
"""Stands for arguments that are not even UTF-8: no JSON, so that reading them says so [E3]."""


class BrokenRecord(Exception):
    """Bytes that are no record."""


def fresh_of(row: Row) -> bytes:
    """What `enqueue` sends of an enqueued job: its record but for the first 52 bytes, which the script knows."""
    name, queue, head, names = _names(row, b"")
    return _FRESH.pack(0, _bytes(row[1]) + _bytes(row[2]), row[5], head, name, queue) + names


def record_of(row: Row, *, attempt: int = 0, version: int = 1, token: int = 0) -> tuple[bytes, bytes]:
    """What the scripts keep of a job, and what `update` sends of one: its first 60 bytes, and the rest."""
    worker = row[13].encode() if row[13] is not None else b""
    front = _FRONT.pack(
        _FORMAT,
        row[10],
        min(version, _LARGEST),  # no stored one is larger
        attempt,
        0,
        token,
        0,
        len(worker),
        0,
        0,
        0,
        row[12] or 0,
        row[14],
        _bytes(row[1]) + _bytes(row[2]),
    )
    name, queue, head, names = _names(row, worker)
    return front, _BACK.pack(row[5], head, name, queue) + names


def _names(row: Row, worker: bytes) -> tuple[int, int, int, bytes]:
    """Lengths of id and queue, where the worker begins, and all that has no fixed size."""
    name, queue = row[0].encode(), row[4].encode()
    kind = row[7].encode() if row[7] is not None else b""
    spec = _SPEC.pack(row[6], row[8] or 0, len(kind)) + kind
    if row[9] is not None:
        spec += row[9].encode()
    head = _FIXED.size + len(name) + len(queue) + len(spec)
    return len(name), len(queue), head, b"".join((name, queue, spec, worker, row[11].encode()))


def body_of(row: Row) -> bytes:
    """What never changes of a job, but for its sequence, which the script puts in front."""
    method = row[1].encode()
    return b"".join((_BODY.pack(row[3], len(method)), method, row[2].encode()))


def stored(record: bytes, body: bytes, *, claimed: bool) -> Stored:
    """A job's columns out of its two halves.

    Args:
        claimed: whether the caller holds the claim that the record shows.

    Raises:
        BrokenRecord: the bytes cannot be told apart.
    """
    try:
        fixed = _FIXED.unpack_from(record)
        format_, kind, version, attempt, crashes, token, expires, worker_size = fixed[:8]
        retry, _size, priority, head, name_size, queue_size = fixed[12:]
        if format_ != _FORMAT:
            raise BrokenRecord(f"format {format_}")
        middle = _FIXED.size + name_size
        name = record[_FIXED.size : middle].decode()
        at = middle + queue_size
        queue = record[middle:at].decode()
        state = record[head + worker_size :].decode()
        max_retries, timeout, type_size = _SPEC.unpack_from(record, at)
        at += _SPEC.size
        job_type = record[at : at + type_size].decode() if type_size else None
        metadata = record[at + type_size : head].decode() or None
        sequence = int.from_bytes(body[:6], "big")
        created, method_size = _BODY.unpack_from(body, 6)
        at = 6 + _BODY.size
        method = body[at : at + method_size].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise BrokenRecord(str(error)) from error
    try:
        arguments = body[at + method_size :].decode()
    except UnicodeDecodeError:
        arguments = NOT_TEXT
    return (
        name,
        method,
        arguments,
        created,
        queue,
        priority,
        max_retries,
        job_type,
        timeout or None,
        metadata,
        kind,
        state,
        attempt,
        crashes,
        retry,
        version,
        sequence,
        token if claimed else None,
        expires if claimed else None,
    )


def name_of(sequence: bytes, record: bytes, body: bytes) -> str:
    """How to call a record that cannot be decoded: by its id where the body vouches for it, else by its sequence."""
    if body[:6] == sequence and len(record) > 70:
        try:
            return record[70 : 70 + record[68]].decode()
        except UnicodeDecodeError:
            pass
    return f"#{int.from_bytes(sequence, 'big')}"


def size_of(row: Row) -> int:
    """About how many bytes a job takes in a request."""
    return _bytes(row[2]) + _bytes(row[11]) + _bytes(row[9] or "") + 128


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def place_of(sequence: int) -> bytes:
    """Six bytes; those of no job for one that this store cannot have given."""
    return sequence.to_bytes(6, "big") if sequence < 2**48 else bytes(6)


def chunks(rows: Iterable[Row], most: int, most_bytes: int, *, distinct: bool) -> Iterable[list[int]]:
    """Positions in runs that fit one request each; with `distinct` no id comes twice in a run."""
    run: list[int] = []
    size = 0
    seen: set[str] = set()
    for position, row in enumerate(rows):
        here = size_of(row)
        if run and (len(run) >= most or size + here > most_bytes or (distinct and row[0] in seen)):
            yield run
            run, size = [], 0
            seen.clear()
        run.append(position)
        size += here
        if distinct:
            seen.add(row[0])
    if run:
        yield run
