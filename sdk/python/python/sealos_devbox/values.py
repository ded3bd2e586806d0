"""Values as callers give them, checked while there is a name to complain by."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from .errors import InvalidRequest


def whole(name: str, value: int | None, *, least: int = 0) -> int | None:
    """Returns a whole number of ``least`` or more; ``None`` stays as it is."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {value!r}") from None
    if number < least:
        raise InvalidRequest(f"{name} is at least {least}, not {number}")
    return number


def texts(name: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Returns variables or labels: text by text."""
    found = dict(values or {})
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} maps text to text, not {key!r} to {value!r}")
    return found
