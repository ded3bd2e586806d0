"""The files of a box."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, overload

from . import _native, uploads
from .archive import Archive, LocalPath, extract
from .errors import NotADirectory, NotFound
from .paths import BoxPath, User, bytes_to_json, encode, resolve, to_json, user_to_wire
from .values import whole

#: The formats of archives.
ArchiveFormat = Literal["zip", "tar", "tar.gz", "tar.zst"]

_ENDINGS: dict[str, ArchiveFormat] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.zst": "tar.zst",
}

class Writable(Protocol):
    """What takes bytes: a file opened in binary mode, or anything else with ``write``."""

    def write(self, data: bytes, /) -> object: ...


class Progress(float):
    """How far the transfer of a large file is: a number of percent, so that ``f"{progress}%"`` says it.

    It is 100 only when everything is stored. Where a line broke and a piece has to be sent again, it goes back.
    """

    #: How many bytes are stored where they go: they need not come again.
    done_bytes: int
    #: The same with what of the piece under way has gone out.
    sent_bytes: int
    #: How many there are.
    total_bytes: int
    #: How often a request had to be repeated so far.
    retries: int

    def __new__(cls, percent: float, done_bytes: int, sent_bytes: int, total_bytes: int, retries: int = 0) -> Progress:
        progress = super().__new__(cls, percent)
        progress.done_bytes, progress.sent_bytes = done_bytes, sent_bytes
        progress.total_bytes, progress.retries = total_bytes, retries
        return progress

    @property
    def percent(self) -> float:
        """The number itself."""
        return float(self)

    def __str__(self) -> str:
        return f"{float(self):.1f}".removesuffix(".0")

    def __repr__(self) -> str:
        done = f"done_bytes={self.done_bytes}, sent_bytes={self.sent_bytes}, total_bytes={self.total_bytes}"
        return f"Progress({self}%, {done}, retries={self.retries})"


#: How many changes to names, or files, go into one request where the caller did not ask for one.
BATCH_SIZE = 10_000


class FileSystem:
    """The files of a box: ``sandbox.fs``.

    A path that does not begin with ``/`` starts at the box's working directory; ``~`` is only a name and ``..`` is
    refused. ``user=`` makes a call act as another user of the box (a name or a number, ``"root"`` for one) and needs a
    key that may; the kernel in the box checks permissions as it does for that user.

    Every call raises a :class:`DevboxError`, which is the matching built-in exception too: ``FileNotFoundError`` for
    what is not there, ``PermissionError``, ``IsADirectoryError`` and so on.
    """

    def __init__(self, guest: _native.Guest, workdir: str) -> None:
        self._guest = guest
        self._workdir = workdir

    # Whole files.

    def write_file(
        self,
        path: BoxPath,
        data: uploads.StreamedContent,
        *,
        mode: int | None = None,
        mtime: float | None = None,
        parents: bool = True,
        if_match: str | None = None,
        if_absent: bool = False,
        follow_symlinks: bool = True,
        sync: bool = False,
        verify: bool = True,
        in_place: bool = False,
        read_back: bool = False,
        user: User = None,
    ) -> _native.Entry:
        """Creates or replaces a file in one step, and returns what it is now.

        Whoever reads meanwhile sees the old bytes or the new; if anything fails, the old file is untouched. Text is
        written as UTF-8, exactly as it is. A ``pathlib.Path`` is a local file: it is streamed, and its permission bits
        and modification time come along unless they are given. An open file, or an iterable of pieces, is streamed too.

        ``mode``: permission bits; by default those of the file that is replaced. ``parents`` makes missing directories.
        ``if_match`` is an ``Entry.etag``: the write happens only if the file is still that version; ``if_absent``: only
        if there is none; else :class:`PreconditionFailed`. ``sync`` makes it safe against power loss, not only against
        the death of any process. ``verify`` sends the SHA-256 along, which the box compares before the old file gives
        way; content that comes piece by piece has none. ``read_back`` makes the box read the stored bytes again before the
        old file gives way.

        ``in_place`` writes into the file that is there, so that its other names and whoever has it open see the new
        content. It is not atomic: if it fails, what was written stays, and ``DevboxError.stands`` says what that is.
        """
        mode, modified_ns = uploads.attributes(data, mode, mtime)
        options: _native.WriteOptions = {
            "mode": mode,
            "modified_ns": modified_ns,
            "parents": parents,
            "nofollow": not follow_symlinks,
            "sync": sync,
            "verify": verify,
            "in_place": in_place,
            "read_back": read_back,
            "if_match": if_match,
            "if_absent": if_absent,
        }
        whole = uploads.content(data)
        source = uploads.streamed(data) if whole is None else whole
        return self._guest.write(self._resolve(path), user_to_wire(user), source, options)

    @overload
    def read_file(
        self,
        path: BoxPath,
        *,
        encoding: str = "utf-8",
        errors: str = "strict",
        offset: int = 0,
        length: int | None = None,
        user: User = None,
    ) -> str: ...
    @overload
    def read_file(
        self,
        path: BoxPath,
        *,
        encoding: None,
        errors: str = "strict",
        offset: int = 0,
        length: int | None = None,
        user: User = None,
    ) -> bytes: ...
    def read_file(
        self,
        path: BoxPath,
        *,
        encoding: str | None = "utf-8",
        errors: str = "strict",
        offset: int = 0,
        length: int | None = None,
        user: User = None,
    ) -> str | bytes:
        """Returns the content of a file as text, or with ``encoding=None`` as bytes.

        Line ends are left as they are, so that text that was written comes back the same. ``offset`` and ``length`` are
        in bytes and choose a part; less is returned where the file ends, and an ``offset`` at or behind its end is
        :class:`RangeNotSatisfiable`. A file that does not fit into memory is for :meth:`download_file`.
        """
        raw = self._guest.read(self._resolve(path), user_to_wire(user), offset, length)
        if encoding is None:
            return raw
        try:
            return raw.decode(encoding, errors)
        except UnicodeDecodeError as error:
            reason = f"{error.reason}; read it with `encoding=None`, which gives bytes"
            raise UnicodeDecodeError(error.encoding, error.object, error.start, error.end, reason) from None

    # Parts of files.

    def append_file(
        self,
        path: BoxPath,
        data: uploads.StreamedContent,
        *,
        create: bool = True,
        atomic: bool = False,
        sync: bool = False,
        verify: bool = True,
        user: User = None,
    ) -> _native.Entry:
        """Writes after the end of a file, which ``create`` makes if it is missing, and returns what it is now.

        Whoever else appends meanwhile overwrites nothing. ``data`` and ``verify`` are as for :meth:`write_file`. The file
        itself is written to: if that fails halfway, what was written stays, and ``DevboxError.stands`` says what that is.
        ``atomic`` changes a copy instead, which replaces the file in one step.
        """
        options = _patch_options(create=create, atomic=atomic, sync=sync, verify=verify)
        return self._patch(path, data, options, user)

    def write_at(
        self,
        path: BoxPath,
        offset: int,
        data: uploads.StreamedContent,
        *,
        if_match: str | None = None,
        atomic: bool = False,
        sync: bool = False,
        verify: bool = True,
        user: User = None,
    ) -> _native.Entry:
        """Writes into a file from an offset on, in bytes, and returns what it is now. The file has to be there.

        Beyond its end, what lies between reads as zeros. The rest is as for :meth:`append_file`.
        """
        options = _patch_options(
            offset=_number("offset", offset), atomic=atomic, sync=sync, verify=verify, if_match=if_match
        )
        return self._patch(path, data, options, user)

    def truncate(
        self,
        path: BoxPath,
        size: int = 0,
        *,
        if_match: str | None = None,
        atomic: bool = False,
        sync: bool = False,
        user: User = None,
    ) -> _native.Entry:
        """Cuts or extends a file to ``size`` bytes, and returns what it is now; what is new reads as zeros."""
        options = _patch_options(truncate=_number("size", size), atomic=atomic, sync=sync, if_match=if_match)
        return self._patch(path, b"", options, user)

    def upload_file(
        self,
        local_path: LocalPath,
        remote_path: BoxPath,
        *,
        mode: int | None = None,
        mtime: float | None = None,
        verify: bool = True,
        user: User = None,
    ) -> _native.Entry:
        """Writes a local file into the box: ``write_file`` with a local path. It is streamed, whatever its size."""
        return self.write_file(remote_path, Path(local_path), mode=mode, mtime=mtime, verify=verify, user=user)

    def download_file(self, remote_path: BoxPath, local_path: LocalPath, *, user: User = None) -> _native.Entry:
        """Streams a file of the box into a local one, which appears whole or not at all.

        Permission bits and modification time come along. Returns what the file in the box is.
        """
        return self._guest.download(self._resolve(remote_path), user_to_wire(user), Path(local_path))

    # Large files.

    def upload_large_file(
        self,
        local_path: LocalPath,
        remote_path: BoxPath,
        on_progress: Callable[[Progress], object] | None = None,
        *,
        chunk_size: int = 10 * 1024 * 1024,
        resume: bool = True,
        mode: int | None = None,
        mtime: float | None = None,
        parents: bool = True,
        if_match: str | None = None,
        if_absent: bool = False,
        user: User = None,
    ) -> _native.Entry:
        """Uploads a local file in pieces, and returns what it is in the box.

        A dropped line costs at most one piece: it is sent again, with growing pauses. If this program, the server or the
        box is restarted, the same call goes on where the last one ended, as long as the local file is unchanged;
        ``resume=False`` remembers nothing. The file shows in the box when it is whole and its SHA-256 is right; if the
        local file changes meanwhile, that is :class:`Conflict`.

        ``on_progress`` is called with a :class:`Progress`, a number of percent, at the beginning, a few times a second and
        at the end. Returning ``False``, or raising an :class:`Exception`, cancels the upload and leaves nothing of it, nor of
        the directories that it made. Ctrl-C, also in ``on_progress``, keeps what came for the same call.
        """
        whole("chunk_size", chunk_size, least=1)
        source = Path(local_path)
        mode, modified_ns = uploads.attributes(source, mode, mtime)
        options: _native.WriteOptions = {
            "mode": mode,
            "modified_ns": modified_ns,
            "parents": parents,
            "nofollow": False,
            "sync": False,
            "verify": True,
            "in_place": False,
            "read_back": False,
            "if_match": if_match,
            "if_absent": if_absent,
        }
        path, acting = self._resolve(remote_path), user_to_wire(user)
        return self._guest.upload_large(path, acting, source, options, chunk_size, resume, _listener(on_progress))

    def download_large_file(
        self,
        remote_path: BoxPath,
        local_path: LocalPath,
        on_progress: Callable[[Progress], object] | None = None,
        *,
        resume: bool = True,
        user: User = None,
    ) -> _native.Entry:
        """Downloads a file so that nothing has to come twice, and returns what it is in the box.

        What has come lies beside the target as ``.NAME.devbox-part``, and the same call goes on with it. All bytes are of
        one version of the file: if it changes in the box meanwhile, that is :class:`Conflict`. The local file is replaced in
        one step. ``on_progress`` is as for :meth:`upload_large_file`.
        """
        path, acting = self._resolve(remote_path), user_to_wire(user)
        return self._guest.download_large(path, acting, Path(local_path), resume, _listener(on_progress))

    # Many files.

    @overload
    def upload_files(self, files: uploads.FilesByPath, *, verify: bool = True, user: User = None) -> int: ...
    @overload
    def upload_files(self, files: uploads.FileList, *, verify: bool = True, user: User = None) -> int: ...
    def upload_files(
        self, files: uploads.FilesByPath | uploads.FileList, *, verify: bool = True, user: User = None
    ) -> int:
        """Writes many files in one request: all of them or none. Returns how many.

        ``files`` are contents by path (text, bytes, or a ``pathlib.Path`` for a local file), or an iterable of
        :class:`FileUpload` or of dictionaries with its fields. Missing directories are made. 10,000 files at most;
        local files are streamed and not held in memory.
        """
        parts = uploads.parts_of(files, self._workdir)
        if not parts:
            return 0
        self._guest.write_many(user_to_wire(user), parts, verify)
        return len(parts)

    @overload
    def download_files(
        self,
        paths: Iterable[BoxPath],
        *,
        format: Literal["zip"] = "zip",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        user: User = None,
    ) -> Archive: ...
    @overload
    def download_files(
        self,
        paths: Iterable[BoxPath],
        *,
        format: Literal["tar", "tar.gz", "tar.zst"],
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        user: User = None,
    ) -> bytes: ...
    @overload
    def download_files(
        self,
        paths: Iterable[BoxPath],
        *,
        to: LocalPath,
        format: ArchiveFormat = "zip",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        user: User = None,
    ) -> Path: ...
    @overload
    def download_files(
        self,
        paths: Iterable[BoxPath],
        *,
        to: Writable,
        format: ArchiveFormat = "zip",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        user: User = None,
    ) -> int: ...
    def download_files(
        self,
        paths: Iterable[BoxPath],
        *,
        to: LocalPath | Writable | None = None,
        format: ArchiveFormat = "zip",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        user: User = None,
    ) -> Archive | bytes | Path | int:
        """Returns files, and directories with all they hold, as one archive; with ``to``, streams it there.

        ``to`` is a local path, whose file appears whole or not at all and which is returned, or an object with ``write``,
        such as a file opened in binary mode, which is given the bytes as they come, also of an archive that then fails;
        how many there were is returned.

        Without ``to`` it is in memory: a zip as :class:`Archive`, ``bytes`` that can ``save``, ``extract`` and ``read``;
        a ``tar``, ``tar.gz`` or ``tar.zst`` as plain ``bytes``. Symbolic links are in it as links, modes and times are
        kept, in tars hard links and ``user.*`` attributes too. Every path is looked at before the first byte is sent:
        one that is missing is :class:`NotFound`.

        ``include`` and ``exclude`` are patterns of gitignore(5), seen from each path; ``gitignore=True`` leaves out
        what the ``.gitignore`` files there and below say, and ``.git`` itself.
        """
        if isinstance(paths, (str, bytes)):
            raise TypeError("download_files takes several paths: put a single one into a list")
        resolved = [self._resolve(path) for path in paths]
        for patterns in (include, exclude):
            if isinstance(patterns, str):
                raise TypeError("include and exclude take several patterns: put a single one into a list")
        options = {"format": format, "include": list(include), "exclude": list(exclude), "gitignore": gitignore}
        request = json.dumps({"paths": [], **options})
        if to is None:
            packed = self._guest.pack(user_to_wire(user), resolved, request)
            return Archive(packed) if format == "zip" else packed
        if not isinstance(to, (str, os.PathLike)):
            return self._guest.pack_into(user_to_wire(user), resolved, request, to.write)
        target = Path(to)
        self._guest.pack_to(user_to_wire(user), resolved, request, target)
        return target

    def upload_archive(
        self,
        archive: uploads.StreamedContent,
        directory: BoxPath,
        *,
        format: ArchiveFormat | None = None,
        strip: int = 0,
        parents: bool = True,
        user: User = None,
    ) -> int:
        """Unpacks an archive into a directory of the box: all of it or nothing. Returns how many entries it had.

        ``archive`` is its bytes, a ``pathlib.Path`` for a local file (whose name then tells the ``format``), an open file
        or an iterable of bytes. ``strip=1`` takes the first segment off every name. Names and links that lead out of the
        directory are refused, and so are devices; set-user-ID bits and owners are not taken over.
        """
        if format is None:
            name = archive.name if isinstance(archive, Path) else ""
            format = next((known for end, known in _ENDINGS.items() if name.endswith(end)), None)
        if format is None:
            raise ValueError("say which format the archive has: format='tar.gz', for one")
        whole = uploads.content(archive)
        source = uploads.streamed(archive) if whole is None else whole
        options = (format, strip, parents)
        entries, _ = self._guest.unpack(self._resolve(directory), user_to_wire(user), source, options)
        return entries

    def upload_dir(
        self, local_path: LocalPath, remote_path: BoxPath, *, verify: bool = True, user: User = None
    ) -> int:
        """Brings the content of a local directory into one of the box, which is made if it is missing.

        Modes, modification times of files, empty directories and symbolic links come along; what the box has beside
        them stays. Returns how many files there were. Up to 10,000 files go in one request, all or nothing; more go in
        several.
        """
        tree = uploads.scan(Path(local_path))
        root = self._resolve(remote_path).rstrip(b"/")

        def below(relative: str) -> bytes:
            return root + b"/" + relative.encode("utf-8", "surrogateescape")

        made = [{"op": "mkdir", "path": to_json(root + b"/"), "parents": True}]
        made += [{"op": "mkdir", "path": to_json(below(path)), "parents": True} for path, _ in tree.directories]
        self._apply_all(made, user)
        files = [uploads.FileUpload(below(relative), local) for relative, local in tree.files]
        for start in range(0, len(files), BATCH_SIZE):
            self.upload_files(files[start : start + BATCH_SIZE], verify=verify, user=user)
        links: list[dict[str, Any]] = []
        for relative, target in tree.links:
            links.append({"op": "delete", "path": to_json(below(relative)), "missing_ok": True})
            links.append({"op": "symlink", "path": to_json(below(relative)), "target": _target(target)})
        # Innermost first, so that a mode that forbids searching a directory cannot stop the rest.
        modes = [{"op": "chmod", "path": to_json(below(path)), "mode": mode} for path, mode in tree.directories]
        self._apply_all(links + modes[::-1], user)
        return len(files)

    def download_dir(self, remote_path: BoxPath, local_path: LocalPath, *, user: User = None) -> Path:
        """Brings the content of a directory of the box into a local one, which is made if it is missing.

        A box is not trusted: see :meth:`Archive.extract` for what is refused. What is there beside stays.
        """
        path = self._resolve(remote_path)
        if not self.stat(path, user=user).is_dir:
            raise NotADirectory("this is not a directory", path=path.decode(errors="replace"))
        with tempfile.TemporaryDirectory(prefix="devbox-") as scratch:
            zipped = self.download_files([path], to=Path(scratch, "files.zip"), user=user)
            with open(zipped, "rb") as file:
                return extract(file, local_path, strip=_prefix_in_zip(path))

    # Names.

    def list_dir(self, path: BoxPath = ".", *, depth: int = 1, user: User = None) -> list[_native.Entry]:
        """Returns the entries of a directory, sorted by path; with a ``depth``, those so many levels down too.

        Symbolic links are listed, never followed. All entries are in memory: :meth:`walk` is for huge trees.
        """
        return self._guest.list(self._resolve(path), user_to_wire(user), depth)

    def walk(self, path: BoxPath = ".", *, user: User = None) -> Iterator[_native.Entry]:
        """Iterates over everything below a directory, in no particular order, in constant memory."""
        return self._guest.walk(self._resolve(path), user_to_wire(user))

    def stat(self, path: BoxPath, *, follow_symlinks: bool = True, user: User = None) -> _native.Entry:
        """Returns what is known of an entry; as in ``os.stat``, a symbolic link is followed unless told otherwise."""
        return self._guest.stat(self._resolve(path), user_to_wire(user), follow_symlinks)

    def exists(self, path: BoxPath, *, follow_symlinks: bool = True, user: User = None) -> bool:
        """Says whether there is an entry. A link that leads nowhere does not exist, unless links are not followed."""
        try:
            self.stat(path, follow_symlinks=follow_symlinks, user=user)
        except (NotFound, NotADirectory):
            return False
        return True

    def make_dir(
        self, path: BoxPath, *, parents: bool = True, mode: int | None = None, user: User = None
    ) -> None:
        """Makes a directory. With ``parents`` those on the way too, and one that is there already is fine."""
        self._apply({"op": "mkdir", "path": self._json(path), "mode": mode, "parents": parents}, user)

    def delete(
        self, path: BoxPath, *, recursive: bool = True, missing_ok: bool = False, user: User = None
    ) -> None:
        """Deletes a file, a link (not what it leads to), or a directory with all it holds.

        With ``recursive=False`` a directory must be empty.
        """
        operation = {"op": "delete", "path": self._json(path), "recursive": recursive, "missing_ok": missing_ok}
        self._apply(operation, user)

    def move(self, source: BoxPath, target: BoxPath, *, overwrite: bool = False, user: User = None) -> None:
        """Moves or renames an entry. ``target`` is its new path, not a directory to put it into.

        With ``overwrite`` a file, or an empty directory, that is there is replaced in the same step.
        """
        operation = {"op": "move", "from": self._json(source), "to": self._json(target), "overwrite": overwrite}
        self._apply(operation, user)

    def copy(
        self,
        source: BoxPath,
        target: BoxPath,
        *,
        recursive: bool = True,
        overwrite: bool = False,
        user: User = None,
    ) -> None:
        """Copies an entry inside the box, a directory with all it holds; modes, times and attributes are kept.

        ``target`` is the path of the copy, not a directory to put it into. ``overwrite`` replaces a file that is there.
        """
        operation = {
            "op": "copy",
            "from": self._json(source),
            "to": self._json(target),
            "recursive": recursive,
            "overwrite": overwrite,
        }
        self._apply(operation, user)

    def symlink(self, path: BoxPath, target: BoxPath, *, user: User = None) -> None:
        """Makes a symbolic link at ``path`` that says ``target``, which need not exist and may be relative to it."""
        self._apply({"op": "symlink", "path": self._json(path), "target": _target(target)}, user)

    def hard_link(self, source: BoxPath, target: BoxPath, *, user: User = None) -> None:
        """Gives a file one more name, ``target``, which must be free."""
        self._apply({"op": "link", "from": self._json(source), "to": self._json(target)}, user)

    # Metadata.

    def set_metadata(
        self,
        path: BoxPath,
        *,
        mode: int | None = None,
        owner: str | int | None = None,
        group: str | int | None = None,
        mtime: float | None = None,
        atime: float | None = None,
        xattrs: Mapping[str | bytes, bytes | None] | None = None,
        if_match: str | None = None,
        follow_symlinks: bool = True,
        user: User = None,
    ) -> _native.Entry:
        """Sets what is given of an entry's metadata, all of it or nothing, and returns what the entry is now.

        Owner and group are names or numbers in the box; only root may give files away. ``xattrs`` are
        values by name; names begin with ``user.``, and ``None`` removes one. With ``if_match``, an ``Entry.etag``, only if
        the file is still that version.
        """
        change: dict[str, Any] = {"nofollow": not follow_symlinks}
        if mode is not None:
            change["mode"] = whole("mode", mode)
        for name, who in (("owner", owner), ("group", group)):
            if who is not None:
                change[name] = str(who)
        for name, time in (("modified", mtime), ("accessed", atime)):
            if time is not None:
                change[name] = uploads.to_timestamp(time)
        change["xattrs"] = [_xattr(name, value) for name, value in (xattrs or {}).items()]
        if if_match is not None:
            change["if_match"] = [tag.strip() for tag in if_match.split(",")]
        return self._guest.set_metadata(self._resolve(path), user_to_wire(user), json.dumps(change))

    def get_xattrs(self, path: BoxPath, *, follow_symlinks: bool = True, user: User = None) -> dict[str, bytes]:
        """Returns the ``user.*`` extended attributes of an entry, by name."""
        pairs = self._guest.xattrs(self._resolve(path), user_to_wire(user), follow_symlinks)
        return {name.decode("utf-8", "surrogateescape"): value for name, value in pairs}

    def chmod(self, path: BoxPath, mode: int, *, user: User = None) -> None:
        """Sets permission bits, 0 to 0o7777. A symbolic link is followed."""
        self._apply({"op": "chmod", "path": self._json(path), "mode": whole("mode", mode)}, user)

    def chown(
        self,
        path: BoxPath,
        owner: str | int | None = None,
        gid: int | None = None,
        *,
        follow_symlinks: bool = True,
        user: User = "root",
    ) -> None:
        """Sets the owner (by name or number), the group (by number), or both. Acts as root unless told otherwise."""
        operation = {
            "op": "chown",
            "path": self._json(path),
            "owner": None if owner is None else str(owner),
            "gid": whole("gid", gid),
            "nofollow": not follow_symlinks,
        }
        self._apply(operation, user)

    def utime(
        self, path: BoxPath, mtime: float | None = None, *, follow_symlinks: bool = True, user: User = None
    ) -> None:
        """Sets the modification time, in seconds since the epoch; without ``mtime``, to now."""
        operation = {
            "op": "utime",
            "path": self._json(path),
            "modified": None if mtime is None else uploads.to_timestamp(mtime),
            "nofollow": not follow_symlinks,
        }
        self._apply(operation, user)

    def _patch(
        self, path: BoxPath, data: uploads.StreamedContent, options: _native.PatchOptions, user: User
    ) -> _native.Entry:
        whole = uploads.content(data)
        source = uploads.streamed(data) if whole is None else whole
        return self._guest.patch(self._resolve(path), user_to_wire(user), source, options)

    def _resolve(self, path: BoxPath) -> bytes:
        return resolve(path, self._workdir)

    def _json(self, path: BoxPath) -> str | dict[str, str]:
        return to_json(self._resolve(path))

    def _apply(self, operation: dict[str, Any], user: User) -> None:
        self._apply_all([operation], user)

    def _apply_all(self, operations: list[dict[str, Any]], user: User) -> None:
        for start in range(0, len(operations), BATCH_SIZE):
            body = {"operations": operations[start : start + BATCH_SIZE]}
            self._guest.apply(user_to_wire(user), json.dumps(body))

    def __repr__(self) -> str:
        return f"<FileSystem of a box, relative to {self._workdir}>"


def _number(name: str, value: int) -> int:
    number = whole(name, value)
    if number is None:
        raise TypeError(f"{name} is a whole number, not None")
    return number


def _patch_options(
    *,
    offset: int | None = None,
    truncate: int | None = None,
    create: bool = False,
    atomic: bool = False,
    sync: bool = False,
    verify: bool = True,
    if_match: str | None = None,
) -> _native.PatchOptions:
    return {
        "offset": offset,
        "truncate": truncate,
        "create": create,
        "atomic": atomic,
        "sync": sync,
        "verify": verify,
        "if_match": if_match,
    }


def _xattr(name: str | bytes, value: bytes | None) -> dict[str, Any]:
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    change: dict[str, Any] = {"name": bytes_to_json(raw)}
    if value is not None:
        change["value_b64"] = base64.b64encode(value).decode()
    return change


def _target(target: BoxPath) -> str | dict[str, str]:
    """What a symbolic link says, as it is written: not resolved, and not checked."""
    return bytes_to_json(encode(target))


def _listener(
    on_progress: Callable[[Progress], object] | None,
) -> Callable[[float, int, int, int, int], object] | None:
    if on_progress is None:
        return None
    return lambda *progress: on_progress(Progress(*progress))


def _prefix_in_zip(path: bytes) -> str:
    """The folder that a directory of the box is in a zip: its path without a leading ``/``."""
    return str(PurePosixPath(path.decode("utf-8", "surrogateescape"))).lstrip("/")
