"""What ``download_files`` returns, and how an archive is unpacked on this machine."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Union

from .errors import PathEscapes

LocalPath = Union[str, "os.PathLike[str]"]


class Archive(bytes):
    """A zip, as the plain ``bytes`` that it is, with the few things that are usually done with one.

    A name in it is the path in the box without the leading ``/``. ``zipfile.ZipFile(io.BytesIO(archive))`` works too.
    """

    __slots__ = ()

    def names(self) -> list[str]:
        """Returns the names in it; those of directories end in ``/``."""
        with self._open() as archive:
            return [_name(member) for member in archive.infolist()]

    def read(self, name: str) -> bytes:
        """Returns the content of one member. Its checksum is verified. ``KeyError`` if there is no such member."""
        with self._open() as archive:
            for member in archive.infolist():
                if _name(member) == name.lstrip("/"):
                    return archive.read(member)
        raise KeyError(name)

    def save(self, path: LocalPath) -> Path:
        """Writes the zip to a local file, which appears whole or not at all."""
        target = Path(path)
        with replacing(target) as file:
            file.write(self)
        return target

    def extract(self, directory: LocalPath) -> Path:
        """Unpacks it below a local directory: see :func:`extract`."""
        return extract(io.BytesIO(self), directory)

    def _open(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self))

    def __repr__(self) -> str:
        return f"<Archive of {len(self)} bytes>"


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Opens a new local file that takes its place when the block ends well, and vanishes otherwise."""
    staging = target.with_name(f".devbox-{secrets.token_hex(8)}")
    try:
        with open(staging, "xb") as file:
            yield file
        os.replace(staging, target)
    finally:
        staging.unlink(missing_ok=True)


def extract(source: BinaryIO, directory: LocalPath, *, strip: str = "") -> Path:
    """Unpacks a zip from a box below a local directory, with modes, times and symbolic links.

    A box is not trusted: a name or link that leads out of the directory is refused with :class:`PathEscapes` before
    anything is written, nothing is written through a link, and set-uid bits are dropped. Existing files are replaced,
    one by one. ``strip`` is a folder in the zip: only what is below it is unpacked, and without that prefix.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    with zipfile.ZipFile(source) as archive:
        members = [(member, path) for member, path in _members(archive, strip) if path.parts]
        links = [(path, _checked_link(archive, member, path)) for member, path in members if _is_link(member)]
        _check_nothing_is_behind(dict(links), [path for _, path in members])
        directories = [(member, path) for member, path in members if member.is_dir()]
        for _, path in directories:
            _make_directory(root, path)
        for member, path in members:
            if not member.is_dir() and not _is_link(member):
                _extract_file(archive, member, root, path)
        for path, text in links:
            _place_link(root, path, text)
        # Innermost first: a mode may forbid to look into a directory.
        for member, path in reversed(directories):
            _apply_mode(root / path, member, 0o700)
    return root


def _members(archive: zipfile.ZipFile, strip: str) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    below = PurePosixPath(strip)
    for member in archive.infolist():
        path = _checked_path(member)
        if path.is_relative_to(below):
            yield member, path.relative_to(below)


def _checked_path(member: zipfile.ZipInfo) -> PurePosixPath:
    name = _name(member)
    path = PurePosixPath(name)
    reserved = os.name == "nt" and any(character in name for character in "\\:")
    if path.is_absolute() or ".." in path.parts or "\0" in name or reserved:
        raise PathEscapes("the archive has a name that leads out of it", path=name)
    return path


def _name(member: zipfile.ZipInfo) -> str:
    """The name as Python has file names; ``zipfile`` takes names without the UTF-8 flag for those of DOS."""
    if member.flag_bits & 0x800:
        return member.orig_filename
    return member.orig_filename.encode("cp437").decode("utf-8", "surrogateescape")


def _checked_link(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: PurePosixPath) -> str:
    text = archive.read(member).decode("utf-8", "surrogateescape")
    target = PurePosixPath(text)
    climbs = next((place for place, part in enumerate(target.parts) if part != ".."), len(target.parts))
    # Climbing first is exact, as the link's own directory is a real one; climbing after a name could pass a link.
    inside = climbs < len(path.parts) and ".." not in target.parts[climbs:]
    if target.is_absolute() or not inside:
        raise PathEscapes(
            f"the archive has a symbolic link to {text!r}, which leads out of it",
            path=str(path),
            hint="save the zip with `to=` and unpack it with a tool of your choice",
        )
    return text


def _check_nothing_is_behind(links: dict[PurePosixPath, str], paths: list[PurePosixPath]) -> None:
    for path in paths:
        if any(parent in links for parent in path.parents):
            raise PathEscapes("the archive has a name behind a symbolic link of its own", path=str(path))


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _make_directory(root: Path, path: PurePosixPath) -> None:
    """Makes the directories on the way; a link that is there already is not followed but replaced."""
    current = root
    for part in path.parts:
        current /= part
        if current.is_symlink() or (current.exists() and not current.is_dir()):
            current.unlink()
        current.mkdir(exist_ok=True)


def _extract_file(archive: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path, path: PurePosixPath) -> None:
    _make_directory(root, path.parent)
    target = root / path
    with replacing(target) as staged, archive.open(member) as content:
        shutil.copyfileobj(content, staged, 1 << 20)
    _apply_mode(target, member, 0o600)
    if (modified := _modified(member)) is not None:
        os.utime(target, (modified, modified))


def _place_link(root: Path, path: PurePosixPath, text: str) -> None:
    _make_directory(root, path.parent)
    target = root / path
    if target.is_symlink() or target.exists():
        target.unlink()
    target.symlink_to(text)


def _modified(member: zipfile.ZipInfo) -> int | None:
    """The modification time in seconds, from Info-ZIP's extra field; what DOS has is in no known time zone."""
    extra = member.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == 0x5455 and len(field) >= 5 and field[0] & 1:
            return int(struct.unpack_from("<i", field, 1)[0])
    return None


def _apply_mode(target: Path, member: zipfile.ZipInfo, at_least: int) -> None:
    mode = (member.external_attr >> 16) & 0o777
    if mode:
        target.chmod(mode | at_least)
