"""Single files and names, in a real box."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path

import pytest

from sealos_devbox import (
    DevboxError,
    Exists,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Sandbox,
    errors,
)


def test_text_comes_back_as_it_was_written(sandbox: Sandbox, folder: str) -> None:
    text = "line\r\nwith ü, 漢, 🙂 and no end"
    entry = sandbox.fs.write_file(f"{folder}/text", text)
    assert sandbox.fs.read_file(f"{folder}/text") == text
    assert entry.path == f"{folder}/text" and entry.name == "text" and entry.kind == "file"
    assert entry.size == len(text.encode()) and entry.owner == "user" and entry.mode == 0o644


def test_bytes_come_back_as_they_were_written(sandbox: Sandbox, folder: str) -> None:
    path, content = f"{folder}/bytes", bytes(range(256)) * 5000
    for data in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        sandbox.fs.write_file(path, data)
        assert sandbox.fs.read_file(path, encoding=None) == content
        sandbox.fs.delete(path)
    sandbox.fs.write_file(path, (content[start : start + 7777] for start in range(0, len(content), 7777)))
    assert sandbox.fs.read_file(path, encoding=None) == content
    sandbox.fs.write_file(path, b"")
    assert sandbox.fs.read_file(path) == ""


def test_bytes_that_are_no_text_say_how_to_read_them(sandbox: Sandbox, folder: str) -> None:
    sandbox.fs.write_file(f"{folder}/b", b"\xff\x00")
    with pytest.raises(UnicodeDecodeError, match="encoding=None"):
        sandbox.fs.read_file(f"{folder}/b")
    assert sandbox.fs.read_file(f"{folder}/b", encoding="latin-1") == "ÿ\0"


def test_a_part_is_read(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/digits"
    sandbox.fs.write_file(path, "0123456789")
    read = sandbox.fs.read_file
    assert read(path, offset=3) == "3456789" and read(path, length=3) == "012"
    assert read(path, offset=8, length=9) == "89" and read(path, offset=3, length=0) == ""
    with pytest.raises(errors.RangeNotSatisfiable):
        read(path, offset=10)


def test_relative_paths_start_at_the_working_directory(sandbox: Sandbox) -> None:
    sandbox.fs.write_file("relative", "x")
    assert sandbox.fs.read_file("/workspace/relative") == "x"
    assert sandbox.run("cat relative").stdout == "x"


def test_directories_on_the_way_are_made_unless_told_otherwise(sandbox: Sandbox, folder: str) -> None:
    sandbox.fs.write_file(f"{folder}/a/b/c", "x")
    with pytest.raises(NotFound):
        sandbox.fs.write_file(f"{folder}/d/e", "x", parents=False)
    assert not sandbox.fs.exists(f"{folder}/d")


def test_mode_and_time_are_kept(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/file"
    entry = sandbox.fs.write_file(path, "x", mode=0o750, mtime=1_500_000_000.25)
    assert (entry.mode, entry.modified_ns) == (0o750, 1_500_000_000_250_000_000)
    assert entry.modified.tzinfo is timezone.utc and entry.modified.timestamp() == 1_500_000_000.25
    assert sandbox.fs.write_file(path, "y").mode == 0o750, "a replaced file keeps its mode"
    sandbox.fs.chmod(path, 0o600)
    sandbox.fs.utime(path, 10.5)
    entry = sandbox.fs.stat(path)
    assert (entry.mode, entry.modified_ns) == (0o600, 10_500_000_000)
    sandbox.fs.utime(path)
    assert abs(sandbox.fs.stat(path).modified.timestamp() - time.time()) < 60


def test_conditions_guard_a_write(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/guarded"
    sandbox.fs.write_file(path, "one", if_absent=True)
    with pytest.raises((PreconditionFailed, Exists)):
        sandbox.fs.write_file(path, "two", if_absent=True)
    time.sleep(0.05)  # A tag is weak, and matches nothing, while the file is younger than the clock's tick.
    old = sandbox.fs.stat(path).etag
    sandbox.fs.write_file(path, "three", if_match=old)
    with pytest.raises(PreconditionFailed):
        sandbox.fs.write_file(path, "four", if_match=old)
    assert sandbox.fs.read_file(path) == "three"


def test_a_failed_write_leaves_the_old_file(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/file"
    sandbox.fs.write_file(path, "old")

    def pieces() -> Iterator[bytes]:
        yield b"x" * 3_000_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sandbox.fs.write_file(path, pieces())
    assert sandbox.fs.read_file(path) == "old"
    assert [entry.name for entry in sandbox.fs.list_dir(folder)] == ["file"]


@pytest.mark.parametrize("name", ["[id].tsx", "*", "-n", "a b", "new\nline", "%2e%2e", "ü漢", "\udcff\udcfe", "x" * 255])
def test_any_name_that_linux_allows_works(sandbox: Sandbox, folder: str, name: str) -> None:
    path = f"{folder}/{name}"
    sandbox.fs.write_file(path, name.encode("utf-8", "surrogateescape"))
    [entry] = sandbox.fs.list_dir(folder)
    assert entry.path == path and entry.name == name
    assert sandbox.fs.read_file(entry, encoding=None) == name.encode("utf-8", "surrogateescape")
    sandbox.fs.move(entry, f"{folder}/moved")
    sandbox.fs.copy(f"{folder}/moved", path)
    sandbox.fs.delete(path)
    assert not sandbox.fs.exists(path)


def test_what_is_in_the_way_has_its_error(sandbox: Sandbox, folder: str) -> None:
    fs = sandbox.fs
    fs.write_file(f"{folder}/file", "x")
    fs.make_dir(f"{folder}/dir/sub")
    with pytest.raises(FileNotFoundError) as caught:
        fs.read_file(f"{folder}/missing")
    assert isinstance(caught.value, DevboxError) and caught.value.request_id
    assert "missing" in str(caught.value)
    with pytest.raises(IsADirectory):
        fs.read_file(f"{folder}/dir")
    with pytest.raises(IsADirectory):
        fs.write_file(f"{folder}/dir", "x")
    with pytest.raises(NotADirectory):
        fs.list_dir(f"{folder}/file")
    with pytest.raises(NotADirectory):
        fs.write_file(f"{folder}/file/below", "x")
    with pytest.raises((NotADirectory, Exists)):
        fs.make_dir(f"{folder}/file")
    with pytest.raises(Exists):
        fs.make_dir(f"{folder}/dir", parents=False)
    with pytest.raises(errors.DirectoryNotEmpty):
        fs.delete(f"{folder}/dir", recursive=False)
    with pytest.raises(Exists):
        fs.move(f"{folder}/file", f"{folder}/dir")
    with pytest.raises(NotFound):
        fs.delete(f"{folder}/missing")
    fs.delete(f"{folder}/missing", missing_ok=True)
    sandbox.run(["mkfifo", f"{folder}/fifo"], check=True)
    with pytest.raises(errors.NotARegularFile):
        fs.read_file(f"{folder}/fifo")


def test_entries_are_listed_and_walked(sandbox: Sandbox, folder: str) -> None:
    fs = sandbox.fs
    fs.upload_files({f"{folder}/{name}": name for name in ("b", "a", "d/x", "d/e/y")})
    fs.symlink(f"{folder}/link", "d/x")
    assert [entry.name for entry in fs.list_dir(folder)] == ["a", "b", "d", "link"]
    two = [entry.path.removeprefix(f"{folder}/") for entry in fs.list_dir(folder, depth=2)]
    assert two == ["a", "b", "d", "d/e", "d/x", "link"]
    walked = {entry.path.removeprefix(f"{folder}/"): entry.kind for entry in fs.walk(folder)}
    kinds = {"a": "file", "b": "file", "d": "directory", "d/e": "directory", "link": "symlink"}
    assert walked == {**kinds, "d/x": "file", "d/e/y": "file"}
    assert fs.list_dir(f"{folder}/d/e")[0].changed_ns == fs.stat(f"{folder}/d/e/y").changed_ns
    with pytest.raises(NotFound):
        list(fs.walk(f"{folder}/missing"))


def test_a_large_directory_is_listed_whole(sandbox: Sandbox, folder: str) -> None:
    sandbox.run(["sh", "-c", "i=0; while [ $i -lt 2500 ]; do : > $0/$i; i=$((i+1)); done", folder], check=True)
    names = [entry.name for entry in sandbox.fs.list_dir(folder)]
    assert names == sorted(str(number) for number in range(2500))
    assert {entry.name for entry in sandbox.fs.walk(folder)} == set(names)


def test_links_are_followed_where_os_follows_them(sandbox: Sandbox, folder: str) -> None:
    fs = sandbox.fs
    fs.write_file(f"{folder}/file", "old")
    fs.symlink(f"{folder}/link", "file")
    fs.symlink(f"{folder}/dangling", "nowhere")
    assert fs.stat(f"{folder}/link").is_file and fs.stat(f"{folder}/link", follow_symlinks=False).target == "file"
    assert not fs.exists(f"{folder}/dangling") and fs.exists(f"{folder}/dangling", follow_symlinks=False)
    fs.write_file(f"{folder}/link", "new")
    assert fs.read_file(f"{folder}/file") == "new"
    fs.write_file(f"{folder}/link", "own", follow_symlinks=False)
    assert fs.read_file(f"{folder}/file") == "new" and fs.stat(f"{folder}/link", follow_symlinks=False).is_file


def test_entries_are_moved_and_copied(sandbox: Sandbox, folder: str) -> None:
    fs = sandbox.fs
    fs.write_file(f"{folder}/d/run", "#!/bin/sh\n", mode=0o755)
    fs.copy(f"{folder}/d", f"{folder}/copy")
    assert fs.stat(f"{folder}/copy/run").mode == 0o755
    fs.move(f"{folder}/d", f"{folder}/moved")
    assert not fs.exists(f"{folder}/d") and fs.exists(f"{folder}/moved/run")
    fs.write_file(f"{folder}/other", "x")
    with pytest.raises(Exists):
        fs.copy(f"{folder}/other", f"{folder}/moved/run")
    fs.copy(f"{folder}/other", f"{folder}/moved/run", overwrite=True)
    fs.move(f"{folder}/other", f"{folder}/copy/run", overwrite=True)
    assert fs.read_file(f"{folder}/moved/run") == fs.read_file(f"{folder}/copy/run") == "x"


def test_a_call_acts_as_the_user_it_names(sandbox: Sandbox, folder: str) -> None:
    fs = sandbox.fs
    fs.write_file(f"{folder}/secret", "x", mode=0o600, user="root")
    assert fs.stat(f"{folder}/secret").owner == "root"
    with pytest.raises(PermissionDenied):
        fs.read_file(f"{folder}/secret")
    assert fs.read_file(f"{folder}/secret", user="root") == "x"
    fs.chown(f"{folder}/secret", "user")
    assert fs.read_file(f"{folder}/secret") == "x"
    with pytest.raises(PermissionDenied):
        fs.write_file("/etc/planted", "x")


def test_local_files_go_and_come_with_mode_and_time(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    local, content = tmp_path / "local", os.urandom(3_000_000)
    local.write_bytes(content)
    local.chmod(0o741)
    os.utime(local, ns=(0, 1_600_000_000_987_654_321))
    entry = sandbox.fs.upload_file(local, f"{folder}/remote")
    assert (entry.mode, entry.modified_ns) == (0o741, 1_600_000_000_987_654_321)
    back = tmp_path / "back"
    assert sandbox.fs.download_file(f"{folder}/remote", back).modified_ns == entry.modified_ns
    assert back.read_bytes() == content
    found = back.stat()
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o741, 1_600_000_000_987_654_321)
    assert sandbox.run(["sha256sum", f"{folder}/remote"]).ok


def test_permission_bits_are_a_number(sandbox: Sandbox, folder: str) -> None:
    sandbox.fs.write_file(f"{folder}/a", "")
    with pytest.raises(TypeError, match="mode"):
        sandbox.fs.chmod(f"{folder}/a", "755")  # type: ignore[arg-type]


def test_a_local_directory_is_no_file(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        sandbox.fs.upload_file(tmp_path, f"{folder}/x")
    assert caught.value.filename == str(tmp_path)


def test_a_failed_download_leaves_the_local_file(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("old")
    with pytest.raises(NotFound):
        sandbox.fs.download_file(f"{folder}/missing", tmp_path / "local")
    sandbox.fs.write_file(f"{folder}/file", "x")
    with pytest.raises(IsADirectoryError):
        sandbox.fs.download_file(f"{folder}/file", tmp_path)
    with pytest.raises(FileNotFoundError, match="no-folder"):
        sandbox.fs.download_file(f"{folder}/file", tmp_path / "no-folder/x")
    assert (tmp_path / "local").read_text() == "old" and os.listdir(tmp_path) == ["local"]


def test_a_file_grows_at_its_end(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/log"
    assert sandbox.fs.append_file(path, "one\n").size == 4
    sandbox.fs.append_file(path, iter([b"two\n", b"three\n"]))
    sandbox.fs.append_file(path, "four\n", atomic=True, sync=True)
    assert sandbox.fs.read_file(path) == "one\ntwo\nthree\nfour\n"
    with pytest.raises(NotFound):
        sandbox.fs.append_file(f"{folder}/none", "x", create=False)
    assert sandbox.fs.list_dir(folder)[0].path == path


def test_bytes_are_written_where_they_are_sent(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/digits"
    first = sandbox.fs.write_file(path, "0123456789")
    sandbox.fs.write_at(path, 3, "abc")
    assert sandbox.fs.read_file(path) == "012abc6789"
    sandbox.fs.write_at(path, 12, b"!", atomic=True)
    assert sandbox.fs.read_file(path, encoding=None) == b"012abc6789\0\0!"
    with pytest.raises(PreconditionFailed):
        sandbox.fs.write_at(path, 0, "x", if_match=first.etag)
    assert sandbox.fs.truncate(path, 4).size == 4
    assert sandbox.fs.read_file(path) == "012a"
    assert sandbox.fs.truncate(path).size == 0
    with pytest.raises(TypeError, match="offset"):
        sandbox.fs.write_at(path, None, "x")  # type: ignore[arg-type]
    with pytest.raises(errors.TooLarge):
        sandbox.fs.write_at(path, 2**63 - 1, "x")
    with pytest.raises(IsADirectory):
        sandbox.fs.append_file(folder, "x")


def test_a_file_is_written_in_its_place(sandbox: Sandbox, folder: str) -> None:
    path, other = f"{folder}/file", f"{folder}/other"
    sandbox.fs.write_file(path, "old")
    sandbox.fs.hard_link(path, other)
    entry = sandbox.fs.write_file(path, "new content", in_place=True)
    assert entry.links == 2 and sandbox.fs.read_file(other) == "new content"
    sandbox.fs.write_file(path, "replaced", read_back=True)
    assert sandbox.fs.read_file(other) == "new content"
    with pytest.raises(Exists):
        sandbox.fs.hard_link(path, other)
    with pytest.raises(errors.InvalidRequest):
        sandbox.fs.write_file(path, "x", in_place=True, if_absent=True)


def test_what_stands_after_a_failure_is_in_the_error(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/file"
    sandbox.fs.write_file(path, "0123456789")

    def breaks() -> Iterator[bytes]:
        yield b"x" * 100
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        sandbox.fs.append_file(path, breaks())
    with pytest.raises(ValueError, match="the source broke"):
        sandbox.fs.append_file(path, breaks(), atomic=True)
    assert sandbox.fs.read_file(path, length=10) == "0123456789"
    error = errors.from_problem("no_space", "the disk is full", stands=(3, 13))
    assert error.stands == (3, 13)


def test_metadata_is_set_whole_or_not(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/file"
    sandbox.fs.write_file(path, "x")
    entry = sandbox.fs.set_metadata(path, mode=0o640, mtime=1_000_000_000.5, xattrs={"user.a": b"\0\xff", "user.b": b""})
    assert entry.mode == 0o640 and entry.modified_ns == 1_000_000_000_500_000_000
    assert sandbox.fs.get_xattrs(path) == {"user.a": b"\0\xff", "user.b": b""}
    with pytest.raises(errors.InvalidRequest):
        sandbox.fs.set_metadata(path, mode=0o777, xattrs={"security.x": b""})
    assert sandbox.fs.stat(path).mode == 0o640
    sandbox.fs.set_metadata(path, xattrs={"user.b": None, "user.none": None})
    assert sandbox.fs.get_xattrs(path) == {"user.a": b"\0\xff"}
    owned = sandbox.fs.set_metadata(path, owner="root", group="root", user="root")
    assert (owned.uid, owned.gid, owned.owner) == (0, 0, "root")
    with pytest.raises(PermissionDenied):
        sandbox.fs.set_metadata(path, mode=0o600)
