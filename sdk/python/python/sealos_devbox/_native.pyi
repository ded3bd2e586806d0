"""The native half: the Rust client behind blocking calls. Not for direct use; :class:`Entry` is the exception.

Paths are absolute and in bytes; users are written as the API does (empty: the box's default user).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, TypedDict, final, type_check_only

__all__ = [
    "VERSION",
    "Client",
    "Entry",
    "EntryIterator",
    "Guest",
    "Process",
    "check_path",
    "error_codes",
]

VERSION: str

def error_codes() -> list[tuple[str, bool]]:
    """Every error code of the API, and whether the same request may succeed later."""

def check_path(path: bytes) -> None:
    """Raises :class:`InvalidPath` or :class:`NameTooLong` if this is no path inside a box."""

@final
class Entry:
    """What is known of one name in a box, as ``os.lstat`` has it. It can be given wherever a path is asked for."""

    @property
    def path(self) -> str:
        """The absolute path. Bytes that are not UTF-8 are surrogate escapes, as in ``os.listdir``."""

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root."""

    @property
    def kind(
        self,
    ) -> Literal["file", "directory", "symlink", "fifo", "socket", "block_device", "character_device"]: ...
    @property
    def is_file(self) -> bool:
        """Whether it is a regular file. A symbolic link to one is none."""

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory. A symbolic link to one is none."""

    @property
    def is_symlink(self) -> bool: ...
    @property
    def size(self) -> int:
        """In bytes; of a symbolic link, the length of its target."""

    @property
    def mode(self) -> int:
        """Permission bits, 0 to 0o7777."""

    @property
    def uid(self) -> int:
        """The owner's number, inside the box."""

    @property
    def gid(self) -> int:
        """The group's number, inside the box."""

    @property
    def owner(self) -> str | None:
        """The owner's name, where the box's ``/etc/passwd`` has one."""

    @property
    def links(self) -> int:
        """How many names the file has."""

    @property
    def modified(self) -> datetime:
        """Last change of the content, in UTC, to the microsecond."""

    @property
    def modified_ns(self) -> int:
        """Last change of the content, in nanoseconds since the epoch."""

    @property
    def changed_ns(self) -> int:
        """Last change of content or metadata, in nanoseconds since the epoch."""

    @property
    def target(self) -> str | None:
        """What a symbolic link says."""

    @property
    def etag(self) -> str | None:
        """The version of a regular file, for ``write_file(if_match=...)``. ``W/`` in front: too young to be sure of."""

    def __fspath__(self) -> str: ...

@final
class EntryIterator(Iterator[Entry]):
    def __iter__(self) -> EntryIterator: ...
    def __next__(self) -> Entry: ...

@type_check_only
class WriteOptions(TypedDict):
    mode: int | None
    modified_ns: int | None
    parents: bool
    nofollow: bool
    sync: bool
    verify: bool
    in_place: bool
    read_back: bool
    if_match: str | None
    if_absent: bool

@type_check_only
class PatchOptions(TypedDict):
    offset: int | None
    truncate: int | None
    create: bool
    atomic: bool
    sync: bool
    verify: bool
    if_match: str | None

@type_check_only
class Spec(TypedDict):
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: bytes | None
    timeout: float | None
    stdin: bytes | None
    interactive: bool

@final
class Client:
    def __new__(
        cls,
        *,
        api_url: str | None,
        api_key: str | None,
        ca_file: str | os.PathLike[str] | None,
        connect_timeout: float,
        request_timeout: float,
        compress: str | None,
    ) -> Client: ...
    @property
    def url(self) -> str: ...
    def create(self, request: str) -> str: ...
    def get(self, reference: str) -> str: ...
    def list(self, labels: Mapping[str, str]) -> str: ...
    def templates(self) -> str: ...
    def start(self, id: str) -> str: ...
    def stop(self, id: str) -> str: ...
    def delete(self, id: str) -> None: ...
    def guest(self, record: str) -> Guest: ...

@final
class Guest:
    def read(self, path: bytes, user: str, offset: int, length: int | None) -> bytes: ...
    def download(self, path: bytes, user: str, to: str | os.PathLike[str]) -> Entry: ...
    def write(
        self, path: bytes, user: str, source: bytes | Path | Iterator[bytes], options: WriteOptions
    ) -> Entry: ...
    def patch(
        self, path: bytes, user: str, source: bytes | Path | Iterator[bytes], options: PatchOptions
    ) -> Entry: ...
    def set_metadata(self, path: bytes, user: str, change: str) -> Entry: ...
    def xattrs(self, path: bytes, user: str, follow: bool) -> list[tuple[bytes, bytes]]: ...
    def unpack(
        self,
        directory: bytes,
        user: str,
        source: bytes | Path | Iterator[bytes],
        options: tuple[str, int, bool],
    ) -> tuple[int, int]: ...
    def upload_large(
        self,
        path: bytes,
        user: str,
        local: str | os.PathLike[str],
        options: WriteOptions,
        piece: int,
        resume: bool,
        told: Callable[[float, int, int, int, int], object] | None,
    ) -> Entry: ...
    def download_large(
        self,
        path: bytes,
        user: str,
        local: str | os.PathLike[str],
        resume: bool,
        told: Callable[[float, int, int, int, int], object] | None,
    ) -> Entry: ...
    def write_many(
        self,
        user: str,
        parts: Sequence[tuple[bytes, bytes | Path, int | None, int | None]],
        verify: bool,
    ) -> tuple[int, int]: ...
    def stat(self, path: bytes, user: str, follow: bool) -> Entry: ...
    def list(self, path: bytes, user: str, depth: int) -> list[Entry]: ...
    def walk(self, path: bytes, user: str) -> EntryIterator: ...
    def apply(self, user: str, operations: str) -> tuple[int, bool]: ...
    def pack(self, user: str, paths: Sequence[bytes], options: str) -> bytes: ...
    def pack_into(
        self, user: str, paths: Sequence[bytes], options: str, write: Callable[[bytes], object]
    ) -> int: ...
    def pack_to(
        self, user: str, paths: Sequence[bytes], options: str, to: str | os.PathLike[str]
    ) -> int: ...
    def spawn(self, user: str, spec: Spec) -> Process: ...

@final
class Process:
    @property
    def id(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def next_output(self) -> tuple[Literal["stdout", "stderr"], bytes] | None: ...
    def exit(self) -> tuple[int, int | None, bool, int] | None: ...
    def send(self, bytes: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def signal(self, number: int) -> None: ...
    def close(self) -> None: ...
