"""Contents and files on their way into a box, in the forms that people have them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol, Union

from .errors import InvalidRequest
from .paths import BoxPath, resolve


class Readable(Protocol):
    """Something with ``read``, such as an open file; one that gives text is written as UTF-8."""

    def read(self, size: int, /) -> str | bytes: ...


Buffer = Union[bytes, bytearray, memoryview]

#: Content in memory (text is written as UTF-8), or a local file as a ``pathlib.Path``, whose permission bits and
#: modification time come along unless they are given.
Content = Union[str, Buffer, Path]

#: Content that may also come piece by piece: from an open file, or from an iterable of pieces.
StreamedContent = Union[Content, Readable, Iterable[Union[str, bytes]]]

#: How much of an open file is read at a time.
CHUNK_SIZE = 1 << 20

#: Where a file goes, its content, permission bits, and modification time in nanoseconds.
Part = tuple[bytes, Union[bytes, Path], Union[int, None], Union[int, None]]


@dataclass(frozen=True)
class FileUpload:
    """One file of a batch, where more than path and content has to be said."""

    #: Where it goes.
    path: BoxPath
    data: Content
    #: Permission bits; ``None``: those of the local file, or of the file that is replaced, or the box's default.
    mode: int | None = None
    #: Modification time in seconds since the epoch; ``None``: that of the local file, or now.
    mtime: float | None = None


#: Contents by path. (Any path will do as a key; ``Mapping`` has no covariant keys to say so.)
FilesByPath = Mapping[Any, Content]

#: Files as objects, or as dictionaries of their fields.
FileList = Iterable[Union[FileUpload, Mapping[str, Any]]]


def parts_of(files: FilesByPath | FileList, workdir: str) -> list[Part]:
    """Brings a batch into the one form that the native half takes."""
    if isinstance(files, Mapping):
        uploads = [FileUpload(path, data) for path, data in files.items()]
    else:
        uploads = [file if isinstance(file, FileUpload) else _from_fields(file) for file in files]
    return [_part(upload, workdir) for upload in uploads]


def _from_fields(fields: Mapping[str, Any]) -> FileUpload:
    try:
        return FileUpload(**fields)
    except TypeError as error:
        raise InvalidRequest(f"a file of a batch has `path` and `data`, and perhaps `mode` and `mtime`: {error}") from None


def _part(upload: FileUpload, workdir: str) -> Part:
    data = content(upload.data)
    if data is None:
        kind = type(upload.data).__name__
        raise TypeError(f"the data of a file in a batch is text, bytes or a pathlib.Path, not {kind}")
    mode, modified_ns = attributes(upload.data, upload.mode, upload.mtime)
    return resolve(upload.path, workdir), data, mode, modified_ns


def content(data: object) -> bytes | Path | None:
    """Returns content that is known as a whole; ``None`` if it comes piece by piece."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    # Only a pathlib.Path: an Entry is a path-like object too, but one of the box.
    return data if isinstance(data, Path) else None


def streamed(data: object) -> Iterator[bytes]:
    """Returns content that comes piece by piece, as an iterator."""
    if hasattr(data, "read"):
        return _encoded(iter(lambda: data.read(CHUNK_SIZE), None), until_empty=True)
    if isinstance(data, Iterable):
        return _encoded(iter(data), until_empty=False)
    kind = type(data).__name__
    raise TypeError(f"content is text, bytes, a pathlib.Path, an open file, or an iterable of pieces, not {kind}")


def _encoded(pieces: Iterator[Any], until_empty: bool) -> Iterator[bytes]:
    for piece in pieces:
        if not piece and until_empty:
            return
        if isinstance(piece, int) or piece is None:
            raise TypeError(f"a piece of content is text or bytes, not {type(piece).__name__}")
        if piece:
            yield piece.encode() if isinstance(piece, str) else bytes(piece)


def attributes(data: object, mode: int | None, mtime: float | None) -> tuple[int | None, int | None]:
    """Returns mode and modification time in nanoseconds: as given, else those of a local file."""
    modified_ns = None if mtime is None else to_nanoseconds(mtime)
    if isinstance(data, Path) and (mode is None or modified_ns is None):
        found = os.stat(data)
        mode = stat.S_IMODE(found.st_mode) & 0o777 if mode is None else mode
        modified_ns = found.st_mtime_ns if modified_ns is None else modified_ns
    return mode, modified_ns


def to_nanoseconds(seconds: float) -> int:
    """Turns a time as ``os.stat`` has it into nanoseconds; the fraction keeps the precision that a float has."""
    whole = int(seconds // 1)
    return whole * 1_000_000_000 + round((seconds - whole) * 1_000_000_000)


def to_timestamp(seconds: float) -> str:
    """Writes a time as the API does: RFC 3339, to the nanosecond."""
    whole, fraction = divmod(to_nanoseconds(seconds), 1_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=whole)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


@dataclass(frozen=True)
class Tree:
    """A local directory, taken apart: relative paths with what is needed to make each again."""

    directories: list[tuple[str, int]]
    files: list[tuple[str, Path]]
    links: list[tuple[str, str]]


def scan(root: Path) -> Tree:
    """Lists a local directory with all it holds. What is no file, directory or link (a FIFO, a socket) is an error."""
    tree = Tree([], [], [])
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                relative = Path(entry.path).relative_to(root).as_posix()
                if entry.is_symlink():
                    tree.links.append((relative, os.readlink(entry.path)))
                elif entry.is_dir():
                    tree.directories.append((relative, stat.S_IMODE(entry.stat().st_mode) & 0o777))
                    pending.append(Path(entry.path))
                elif entry.is_file():
                    tree.files.append((relative, Path(entry.path)))
                else:
                    raise InvalidRequest("this is no file, directory or symbolic link", path=entry.path)
    return tree
