"""Jobs to the bytes that the scripts keep, and back. The layout is described in lua/lib/record.lua."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._rows import Row, Stored

_FIXED = Struct(">BBIIIQQQBIQiIIBBBI")
_SPEC = Struct(">IIB")
_BODY = Struct(">QB")
_FORMAT = 1
PROCESSING = 1

NOT_TEXT = "\x00"
"""Stands for arguments that are not even UTF-8: no JSON, so that reading them says so [E3]."""


class BrokenRecord(Exception):
    """Bytes that are no record."""


def record_of(row: Row, *, attempt: int = 0, version: int = 1, token: int = 0) -> bytes:
    """What the scripts keep of a job, and what `update` sends of one."""
    id_, method, arguments, _, queue, priority, max_retries, job_type, timeout, metadata, kind, state = row[:12]
    due, worker, retry = row[12:15]
    name, queue_name, worker_name = id_.encode(), queue.encode(), worker.encode() if worker is not None else b""
    type_name = job_type.encode() if job_type is not None else b""
    spec = _SPEC.pack(max_retries, timeout or 0, len(type_name)) + type_name
    if metadata is not None:
        spec += metadata.encode()
    fixed = _FIXED.pack(
        _FORMAT,
        kind,
        version,
        attempt,
        0,
        token,
        0,
        0,
        0,
        0,
        due or 0,
        priority,
        retry,
        len(method) + len(arguments),
        len(name),
        len(queue_name),
        len(worker_name),
        len(spec),
    )
    return b"".join((fixed, name, queue_name, spec, worker_name, state.encode()))


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
        (format_, kind, version, attempt, crashes, token, expires, _tt, _tk, _tv, _due, priority, retry, _size) = (
            fixed := _FIXED.unpack_from(record)
        )[:14]
        name_size, queue_size, worker_size, spec_size = fixed[14:]
        if format_ != _FORMAT:
            raise BrokenRecord(f"format {format_}")
        at = _FIXED.size
        name = record[at : (at := at + name_size)].decode()
        queue = record[at : (at := at + queue_size)].decode()
        spec = record[at : (at := at + spec_size)]
        state = record[at + worker_size :].decode()
        max_retries, timeout, type_size = _SPEC.unpack_from(spec)
        job_type = spec[_SPEC.size : _SPEC.size + type_size].decode() if type_size else None
        metadata = spec[_SPEC.size + type_size :].decode() or None
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
            return record[70 : 70 + record[63]].decode()
        except UnicodeDecodeError:
            pass
    return f"#{int.from_bytes(sequence, 'big')}"


def size_of(row: Row) -> int:
    """About how many bytes a job takes in a request."""
    return len(row[2]) + len(row[11]) + len(row[9] or "") + 128


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
