"""What a field of a configuration takes, how a URL spells it, and how secrets stay out of every text.

Each kind of option knows one rule and tells it in two directions: `check` a Python value, `parse` the text of a URL.
Both raise `Rejected` with the end of a sentence; `ferroq.config` puts the field's name in front of it.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

MASK = "***"
_KEY = "ferroq.option"


class Rejected(Exception):
    """A value that an option does not take; the text goes on after the option's name."""


class Kind(ABC):
    """One rule for a value."""

    @abstractmethod
    def check(self, value: object) -> None:
        """Raises `Rejected` unless the value is of the right type and in range."""

    @abstractmethod
    def parse(self, text: str) -> object:
        """The value that a URL spells; what comes back is checked as any other value."""


def _shown(value: object) -> str:
    """A value in an error text: short, and a type alone where its `repr` could run away."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an int of {value.bit_length()} bits"  # `repr` refuses very long ones
    if isinstance(value, str | bool | int | float | type(None)):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}…"
    return f"a {type(value).__name__}"


def _no_controls(text: str, *, what: str = "must not hold") -> None:
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise Rejected(f"{what} the character U+{ord(character):04X}: {_shown(text)}")


@dataclass(frozen=True, slots=True)
class Boolean(Kind):
    """True or False; in a URL also 1 and 0, yes and no, on and off."""

    _words: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "1", "yes", "on"), True),
        **dict.fromkeys(("false", "0", "no", "off"), False),
    }

    def check(self, value: object) -> None:
        if not isinstance(value, bool):
            raise Rejected(f"must be a bool, not {_shown(value)}")

    def parse(self, text: str) -> bool:
        try:
            return self._words[text.lower()]
        except KeyError:
            raise Rejected(f"must be true or false, not {_shown(text)}") from None


@dataclass(frozen=True, slots=True)
class Integer(Kind):
    """A whole number within bounds; never a bool."""

    low: int
    high: int

    def check(self, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Rejected(f"must be an int, not {_shown(value)}")
        if not self.low <= value <= self.high:
            raise Rejected(f"must be {self.low} to {self.high}, not {_shown(value)}")

    def parse(self, text: str) -> int:
        # Not `int()`, which also takes "1_000", " 7" and digits of other scripts.
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            raise Rejected(f"must be an int, not {_shown(text)}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """An int or a float within bounds; never a bool, NaN or an infinity."""

    low: float
    high: float

    def check(self, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Rejected(f"must be a number, not {_shown(value)}")
        if not self.low <= value <= self.high:  # NaN is on neither side
            raise Rejected(f"must be {self.low} to {self.high}, not {_shown(value)}")

    def parse(self, text: str) -> float:
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text):
            raise Rejected(f"must be a number, not {_shown(text)}")
        return float(text)


@dataclass(frozen=True, slots=True)
class Name(Kind):
    """A name as a job's fields have it: 1 to 255 bytes of UTF-8 without control characters [J1]."""

    pattern: str | None = None
    """What the whole name must match, where not every name will do."""
    description: str = ""
    """What the pattern allows, for the error text."""

    def check(self, value: object) -> None:
        if not isinstance(value, str):
            raise Rejected(f"must be a str, not {_shown(value)}")
        _no_controls(value)
        if not 1 <= len(value.encode()) <= 255:
            raise Rejected(f"must be 1 to 255 bytes of UTF-8, not {_shown(value)}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise Rejected(f"must be {self.description}, not {_shown(value)}")

    def parse(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Any text without control characters: a path, an address, a password. A rejected value is never shown."""

    def check(self, value: object) -> None:
        if not isinstance(value, str):
            raise Rejected(f"must be a str, not a {type(value).__name__}")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise Rejected("must not hold control characters or lone surrogates")

    def parse(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: object) -> None:
        if not isinstance(value, str) or value not in self.words:
            raise Rejected(f"must be one of {', '.join(self.words)}, not {_shown(value)}")

    def parse(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Optional(Kind):
    """A kind, or None; in a URL: none, unless the kind is a text of which that might be one."""

    kind: Kind

    def check(self, value: object) -> None:
        if value is not None:
            self.kind.check(value)

    def parse(self, text: str) -> object:
        if text.lower() == "none" and not isinstance(self.kind, Name | Text):
            return None
        return self.kind.parse(text)


@dataclass(frozen=True, slots=True)
class Instance(Kind):
    """A Python object that no URL can spell, such as a connection pool of the caller's own; or None."""

    accepts: Callable[[object], bool]
    description: str

    def check(self, value: object) -> None:
        if value is not None and not self.accepts(value):
            raise Rejected(f"must be {self.description}, not {_shown(value)}")

    def parse(self, text: str) -> object:
        raise Rejected("cannot be given in a URL")


# ------------------------------------------------------------------ fields


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's metadata holds."""

    kind: Kind
    secret: bool
    url: bool


def option(
    kind: Kind,
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Callable[[], Any] | Any = dataclasses.MISSING,
    secret: bool = False,
    url: bool = True,
) -> Any:
    """A dataclass field of that kind.

    Args:
        secret: its value is masked wherever the configuration is shown.
        url: whether a URL's query may name it.
    """
    metadata = {_KEY: Option(kind, secret, url)}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_of(config: Any) -> dict[str, Option]:
    """The options of a configuration, or of its class, by name and in order."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(config) if _KEY in field.metadata}


def read_query(query: str, options: dict[str, Option]) -> dict[str, Any]:
    """The options that a URL's query names, parsed; `Rejected` for unknown, repeated and malformed ones."""
    known = sorted(name for name, one in options.items() if one.url)
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
    except ValueError:
        # The query may hold a password: it is not repeated.
        raise Rejected("the URL's query is not a list of name=value in UTF-8") from None
    for name, text in pairs:
        if name not in known:
            raise Rejected(f"unknown option {_shown(name)} in the URL; known: {', '.join(known)}")
        if name in values:
            raise Rejected(f"{name} is given twice in the URL")
        try:
            values[name] = options[name].kind.parse(text)
        except Rejected as error:
            raise Rejected(f"{name} {MASK if options[name].secret else error}") from None
    return values


def split_url(url: str) -> SplitResult:
    """The parts of a URL; `Rejected` where it is none, without repeating it."""
    _, separator, rest = url.partition("://")
    if not separator or any(unicodedata.category(character) in ("Cc", "Cs") for character in url):
        raise Rejected("the URL must be scheme://… without control characters")
    if "#" in rest:
        raise Rejected("the URL must not have a fragment; a # that belongs to a value is written %23")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise Rejected(f"the URL cannot be read ({type(error).__name__})") from None


# ------------------------------------------------------------------ secrets

# Greedy up to the last @: a password with a raw / ? or @ in it is masked whole, at the price of too much now and then.
_USER_INFO = re.compile(r"(://[^:@/?#]*):.*@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([?&][^=&#]*(?:pass|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)


def mask_url(url: str) -> str:
    """A URL with its password, and the query options that hold one, replaced by ***."""
    return _SECRET_OPTION.sub(rf"\1{MASK}", _USER_INFO.sub(rf"\1:{MASK}@", url))


def mask_text(text: str, secrets: Iterable[str | None]) -> str:
    """A text, of a driver's error for example, without any of the secrets."""
    # Longest first: a secret that holds another one must not leave a rest behind.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
