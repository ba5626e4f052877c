"""Values of the yardstick's jobs: names, numbers and times checked, JSON encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import Any, cast

from ferroq.errors import InvalidJobDataError

_LAST_INSTANT = 9_000_000_000_000_000  # µs; within 2255
_MAX_TEXT = 65_536
_CUT = " … (cut)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# ---------------------------------------------------------------- names, numbers, times

known_names: set[str] = set()


def check_name(value: str, field: str, error: type[Exception] = InvalidJobDataError, *, keep: bool = True) -> str:
    """The slow path of a name: callers look into `known_names` first. Ids do not come again and are not kept."""
    if type(value) is str and value.isascii() and value.isprintable() and 0 < len(value) <= 255:
        if keep:
            _keep(value)
        return value
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a str, not {type(value).__name__}")
    text = str.__str__(value)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise error(f"{field} holds a lone surrogate") from None
    if not 1 <= size <= 255:
        raise error(f"{field} must be 1 to 255 bytes long, not {size}")
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in text):
        raise error(f"{field} holds a control character")
    if keep:
        _keep(text)
    return text


def _keep(name: str) -> None:
    if len(known_names) >= 4096:
        known_names.clear()
    known_names.add(name)


def known(value: str) -> bool:
    """Whether this very text passed `check_name` before."""
    return type(value) is str and value in known_names


def check_int(value: int, field: str, low: int, high: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{field} must be an int, not {type(value).__name__}")
    if isinstance(value, bool) or not low <= value <= high:
        raise InvalidJobDataError(f"{field} must be {low} to {high}, not {value}")
    return int(value)


def to_datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def to_micros(value: datetime, field: str) -> int:
    if not isinstance(value, datetime):
        raise TypeError(f"{field} must be a datetime, not {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidJobDataError(f"{field} must be aware")
    micros = (value - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= micros <= _LAST_INSTANT:
        raise InvalidJobDataError(f"{field} must lie in 1970 to 2254")
    return micros


def cut(text: str | None, field: str) -> str | None:
    """At most 64 KiB of UTF-8, a visible marker included."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{field} must be a str, not {type(text).__name__}")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InvalidJobDataError(f"{field} holds a lone surrogate") from None
    if len(data) <= _MAX_TEXT:
        return str.__str__(text)
    return data[: _MAX_TEXT - len(_CUT.encode())].decode(errors="ignore") + _CUT


# ---------------------------------------------------------------- JSON, encoded once

_INT_LOW, _INT_HIGH = -(2**63), 2**64 - 1


def _refuse(value: object) -> object:
    raise InvalidJobDataError(f"arguments hold a {type(value).__name__}, which is no JSON value")


# The encoder object is made once: `json.dumps` with options of one's own would make one for each call.
_encode = cast(
    Callable[[Any, int], tuple[str, ...]],
    c_make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False),
)


def _plain(value: Any, depth: int, field: str) -> Any:
    """Checks a value; where it holds subclasses of containers, a copy of base types."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is float:
        return value
    if kind is int:
        if _INT_LOW <= value <= _INT_HIGH:
            return value
        raise InvalidJobDataError(f"{field}: an integer beyond -2^63 to 2^64-1")
    if isinstance(value, list | tuple | dict):
        if depth == 64:
            raise InvalidJobDataError(f"{field}: nested deeper than 64")
        if isinstance(value, dict):
            for key in dict.keys(value):
                if not isinstance(key, str):
                    raise InvalidJobDataError(f"{field}: a dict key is a {type(key).__name__}, not a str")
            return {key: _plain(item, depth + 1, field) for key, item in dict.items(value)}
        return [_plain(item, depth + 1, field) for item in _base_items(value)]
    if isinstance(value, str | float):
        return value  # the C encoder takes the base value itself
    if isinstance(value, int):
        return _plain(int.__int__(value), depth, field)
    raise InvalidJobDataError(f"{field}: a {type(value).__name__} is no JSON value")


def _base_items(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    """The items of a list or tuple, by the base type's own iteration."""
    return list(list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value))


def encode_arguments(arguments: Sequence[Any]) -> str:
    """The arguments as JSON text. Flat ones are checked and encoded in one pass, which beats the C encoder's set-up."""
    if type(arguments) is not list and type(arguments) is not tuple:
        if not isinstance(arguments, list | tuple):
            raise TypeError(f"arguments must be a list or a tuple, not {type(arguments).__name__}")
        arguments = _base_items(arguments)
    parts = []
    for value in arguments:
        kind = type(value)
        if kind is str:
            parts.append(encode_basestring(value))
        elif kind is int and _INT_LOW <= value <= _INT_HIGH:
            parts.append(repr(value))
        elif value is None:
            parts.append("null")
        elif value is True:
            parts.append("true")
        elif value is False:
            parts.append("false")
        else:
            return _encode_checked([_plain(item, 0, "arguments") for item in arguments], "arguments")
    text = f"[{','.join(parts)}]"
    if not text.isascii():
        refuse_surrogates(text, "arguments")
    return text


def encode_value(value: Any, field: str) -> str:
    return _encode_checked(_plain(value, 0, field), field)


def _encode_checked(value: Any, field: str) -> str:
    try:
        text = "".join(_encode(value, 0))
    except ValueError as error:
        raise InvalidJobDataError(f"{field}: {error}") from None
    if not text.isascii():
        refuse_surrogates(text, field)
    return text


def refuse_surrogates(text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJobDataError(f"{field}: a lone surrogate") from None


def check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """A checked copy."""
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise InvalidJobDataError(f"a key of metadata must be a str, not {type(key).__name__}")
        if not known(key):
            check_name(key, "a key of metadata")
        if not isinstance(value, str):
            raise InvalidJobDataError(f"metadata[{key!r}] must be a str, not {type(value).__name__}")
        if not value.isascii():
            refuse_surrogates(value, f"metadata[{key!r}]")
    return metadata.copy()
