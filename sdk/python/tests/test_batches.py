"""Many files at once, in a real box."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from sealos_devbox import (
    Archive,
    DevboxError,
    FileUpload,
    IsADirectory,
    NotADirectory,
    NotFound,
    PathEscapes,
    Sandbox,
)


def test_a_batch_goes_and_comes_whole(sandbox: Sandbox, folder: str) -> None:
    files = {f"{folder}/{number // 100}/{number}": os.urandom(number) for number in range(1000)}
    assert sandbox.fs.upload_files(files) == 1000
    archive = sandbox.fs.download_files([folder])
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    assert {path: archive.read(path) for path in files} == files


def test_a_failed_batch_changes_nothing(sandbox: Sandbox, folder: str) -> None:
    sandbox.fs.write_file(f"{folder}/a", "old")
    sandbox.fs.make_dir(f"{folder}/d")
    with pytest.raises(IsADirectory):
        sandbox.fs.upload_files({f"{folder}/a": "new", f"{folder}/new/b": "new", f"{folder}/d": "no file"})
    assert sandbox.fs.read_file(f"{folder}/a") == "old"
    assert [entry.name for entry in sandbox.fs.list_dir(folder)] == ["a", "d"]


def test_a_local_file_that_is_missing_ends_the_batch(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    files = [FileUpload(f"{folder}/a", "x"), FileUpload(f"{folder}/b", tmp_path / "missing", 0o600, 0)]
    with pytest.raises(FileNotFoundError) as caught:
        sandbox.fs.upload_files(files)
    assert not isinstance(caught.value, DevboxError), "it is missing here, not in the box"
    assert caught.value.filename == str(tmp_path / "missing")
    assert sandbox.fs.list_dir(folder) == []


def test_modes_and_local_files_come_along(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    local = tmp_path / "tool"
    local.write_bytes(b"#!/bin/sh\necho runs\n" + b"#" * 2_000_000)
    local.chmod(0o755)
    sandbox.fs.upload_files([{"path": f"{folder}/tool", "data": local}, FileUpload(f"{folder}/m", b"x", mode=0o400)])
    assert sandbox.run([f"{folder}/tool"], check=True).stdout == "runs\n"
    assert sandbox.fs.stat(f"{folder}/m").mode == 0o400


def test_names_that_are_not_text_survive_a_batch(sandbox: Sandbox, folder: str) -> None:
    path = f"{folder}/".encode() + b"\xff%\n[id].tsx"
    sandbox.fs.upload_files({path: b"x"})
    assert sandbox.fs.read_file(path) == "x"


def test_an_empty_batch_is_nothing(sandbox: Sandbox) -> None:
    assert sandbox.fs.upload_files({}) == 0


def test_a_zip_is_streamed_into_a_local_file(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    sandbox.fs.write_file(f"{folder}/a", "x" * 5_000_000)
    target = sandbox.fs.download_files([f"{folder}/a"], to=tmp_path / "a.zip")
    with zipfile.ZipFile(target) as archive:
        assert archive.read(f"{folder}/a".lstrip("/")) == b"x" * 5_000_000
    with pytest.raises(NotFound):
        sandbox.fs.download_files([f"{folder}/a", f"{folder}/missing"], to=tmp_path / "b.zip")
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_directory_goes_and_comes_whole(sandbox: Sandbox, folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d/empty").mkdir(parents=True)
    (source / "d/run").write_text("#!/bin/sh\necho ran\n")
    (source / "d/run").chmod(0o755)
    (source / "d").chmod(0o750)
    (source / "data").write_bytes(os.urandom(100_000))
    (source / "link").symlink_to("d/run")
    os.symlink(b"any \xff", os.fsencode(source / "strange"))
    assert sandbox.fs.upload_dir(source, f"{folder}/tree") == 2
    assert sandbox.run([f"{folder}/tree/link"], check=True).stdout == "ran\n"
    assert sandbox.fs.upload_dir(source, f"{folder}/tree") == 2, "once more is fine"
    back = sandbox.fs.download_dir(f"{folder}/tree", tmp_path / "back")
    assert (back / "data").read_bytes() == (source / "data").read_bytes()
    assert (back / "d/empty").is_dir() and os.readlink(back / "link") == "d/run"
    assert os.readlink(os.fsencode(back / "strange")) == b"any \xff"
    assert (back / "d/run").stat().st_mode == (source / "d/run").stat().st_mode
    assert (back / "d").stat().st_mode == (source / "d").stat().st_mode
    with pytest.raises(NotADirectory):
        sandbox.fs.download_dir(f"{folder}/tree/data", tmp_path / "file")


def test_attack_a_box_that_plants_a_link_writes_nothing_here(
    sandbox: Sandbox, folder: str, tmp_path: Path
) -> None:
    sandbox.run(["ln", "-s", "/etc", f"{folder}/out"], check=True)
    with pytest.raises(PathEscapes):
        sandbox.fs.download_dir(folder, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("compression", ["tar", "tar.gz", "tar.zst"])
def test_tars_come_out_as_pythons_tarfile_reads_them(sandbox: Sandbox, folder: str, compression: str) -> None:
    fs = sandbox.fs
    fs.upload_files({f"{folder}/keep.py": "kept", f"{folder}/sub/x.log": "left out", f"{folder}/sub/y": "too"})
    packed = fs.download_files([folder], format=compression, exclude=["*.log"])  # type: ignore[call-overload]
    if compression == "tar.zst":
        packed = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        names = {member.name.removeprefix(folder.lstrip("/")): member for member in tar}
        assert set(names) == {"", "/keep.py", "/sub", "/sub/y"}
        content = tar.extractfile(names["/keep.py"])
        assert content is not None and content.read() == b"kept"


@pytest.mark.parametrize("name", ["t.zip", "t.tar", "t.tar.gz"])
def test_an_archive_is_unpacked_whole(sandbox: Sandbox, folder: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    kind = {"t.zip": "zip", "t.tar": "tar", "t.tar.gz": "gztar"}[name]
    packed = Path(shutil.make_archive(str(tmp_path / "t"), kind, tmp_path, "tree"))
    assert sandbox.fs.upload_archive(packed, f"{folder}/new", strip=1) >= 1
    assert sandbox.fs.read_file(f"{folder}/new/file") == "content"


def test_an_archive_that_leads_out_is_refused(sandbox: Sandbox, folder: str) -> None:
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("fine"))
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(PathEscapes):
        sandbox.fs.upload_archive(hostile.getvalue(), f"{folder}/d", format="tar")
    assert not sandbox.fs.exists(f"{folder}/d") and not sandbox.fs.exists(f"{folder}/outside")


def test_an_archive_is_written_as_it_comes(sandbox: Sandbox, folder: str) -> None:
    content = os.urandom(3_000_000)
    sandbox.fs.upload_files({f"{folder}/a": content})
    gathered = io.BytesIO()
    size = sandbox.fs.download_files([folder], to=gathered)
    assert size == len(gathered.getvalue()) > len(content)
    assert Archive(gathered.getvalue()).read(f"{folder}/a") == content

    class Full:
        taken = 0

        def write(self, data: bytes) -> None:
            self.taken += len(data)
            raise OSError(28, "No space left on device")

    full = Full()
    with pytest.raises(OSError, match="No space left"):
        sandbox.fs.download_files([folder], to=full)
    assert 0 < full.taken < size
