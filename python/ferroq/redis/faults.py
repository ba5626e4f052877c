"""What the server or the driver says, in the errors of this package [E4, E5]: by code and class, never by text."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from redis import exceptions as driver

from ..errors import (
    AuthenticationError,
    ConfigurationError,
    Outcome,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)

BACKEND: Final = "redis"


class Advice(Enum):
    """What the retry policy makes of an answer. In each case but `GIVE_UP` the command was refused before it ran."""

    GIVE_UP = auto()
    AGAIN = auto()
    """Another attempt on a fresh connection may find the server ready, or another server in charge."""
    MOVED = auto()
    ASK = auto()
    LOAD = auto()
    """The server does not know the script (yet)."""


_ADVICE: Final = {
    "NOSCRIPT": Advice.LOAD,
    "MOVED": Advice.MOVED,
    "ASK": Advice.ASK,
    "LOADING": Advice.AGAIN,
    "READONLY": Advice.AGAIN,
    "MASTERDOWN": Advice.AGAIN,
    "CLUSTERDOWN": Advice.AGAIN,
    "TRYAGAIN": Advice.AGAIN,
}

_UNAVAILABLE: Final = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"}
    | {"OOM", "MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE"}
)
_FORBIDDEN: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"})


def code_of(error: BaseException | None) -> str:
    """The code that the server's error began with, or an empty text."""
    code = getattr(error, "status_code", None)
    if code:
        return str(code)
    if isinstance(error, driver.ResponseError) and error.args:
        word = str(error.args[0]).split(" ", 1)[0]
        if word.isupper():
            return word
    return ""


def advice_of(error: BaseException) -> Advice:
    """What to do about an answer that is an error."""
    return _ADVICE.get(code_of(error), Advice.GIVE_UP)


def translated(error: BaseException, operation: str | None, outcome: Outcome, secrets: tuple[str, ...]) -> StorageError:
    """The error of this package for one of the driver's; the caller raises it from the original."""
    code = code_of(error)
    kind: type[StorageError]
    if code in _FORBIDDEN or isinstance(error, driver.AuthenticationError):
        kind = AuthenticationError
    elif code in _UNAVAILABLE:
        kind = StorageUnavailableError
    elif isinstance(error, driver.TimeoutError | TimeoutError):
        kind = StorageTimeoutError
    elif code == "ERR" and isinstance(error, driver.ConnectionError):
        kind = StorageUnavailableError  # refused at the door: too many clients
    elif isinstance(error, driver.ConnectionError | OSError | EOFError):
        kind = StorageConnectionError
    elif code == "WRONGTYPE":
        kind = ConfigurationError
    else:
        kind = StorageError
    text = str(error) or type(error).__name__
    if code == "WRONGTYPE":
        text = f"a key of this store's prefix is of another type, so it is not this package's: {text}"
    elif code and not text.startswith(code):
        text = f"{code} {text}"
    for secret in secrets:  # the route names none so short that it would be found in any text
        text = text.replace(secret, "***")
    return kind(text, backend=BACKEND, operation=operation, outcome=outcome)
