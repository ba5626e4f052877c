"""Backends whose driver is an extra: imported when it is first used, and named when it is missing [N1]."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def lazy(package: str, name: str, driver: str) -> Any:
    """The class `name` of the backend's module `storage`, for the `__getattr__` of its package.

    Raises:
        ModuleNotFoundError: the driver is not installed; the text says which extra brings it.
    """
    try:
        return getattr(import_module(".storage", package), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != driver:
            raise
        extra = package.rpartition(".")[2]
        raise ModuleNotFoundError(f"{name} needs {driver}: pip install 'ferroq[{extra}]'", name=driver) from error
