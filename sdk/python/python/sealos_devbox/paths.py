"""Paths inside a box, as Python writes them: text, bytes or path objects."""

from __future__ import annotations

import base64
import os
from pathlib import PurePath
from typing import Union

from . import _native
from .errors import InvalidPath

#: A path inside a box. Any name that Linux allows can be written: as ``bytes``, or as ``str`` with surrogate escapes.
BoxPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

#: The user of the box that a call acts as: a name or a number; ``None`` is the box's own default user.
User = Union[str, int, None]


def resolve(path: BoxPath, workdir: str) -> bytes:
    """Returns the absolute path in bytes; a relative one starts at the box's working directory. ``~`` is only a name."""
    encoded = encode(path)
    if not encoded:
        raise InvalidPath("a path may not be empty", hint="write `.` for the working directory")
    if encoded.startswith(b"/"):
        return encoded
    return workdir.encode().rstrip(b"/") + b"/" + encoded


def encode(path: BoxPath) -> bytes:
    """Returns the bytes of a path as it is written."""
    # A pathlib.Path of Windows writes backslashes; in a box they are ordinary characters.
    raw = path.as_posix() if isinstance(path, PurePath) else os.fspath(path)
    return raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else bytes(raw)


def to_json(path: bytes) -> str | dict[str, str]:
    """Writes a path as the API does in JSON: as text, or as base64 where it is not UTF-8."""
    _native.check_path(path)
    return bytes_to_json(path)


def bytes_to_json(raw: bytes) -> str | dict[str, str]:
    """Writes bytes as the API does in JSON: as text, or as base64 where they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(raw).decode()}


def user_to_wire(user: User) -> str:
    """Writes a user as the API does."""
    return "" if user is None else str(user)
