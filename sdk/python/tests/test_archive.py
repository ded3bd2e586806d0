"""Zips of boxes that are not trusted, unpacked on this machine."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from sealos_devbox import Archive, PathEscapes


def zipped(*members: tuple[str, int, bytes]) -> Archive:
    """A zip of (name, mode, content); as a hostile box may write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode, content in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, content)
    return Archive(buffer.getvalue())


FILE, LINK, DIRECTORY = stat.S_IFREG | 0o640, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o750


def test_it_is_a_zip_in_memory() -> None:
    archive = zipped(("workspace/", DIRECTORY, b""), ("workspace/a", FILE, b"one"))
    assert archive.names() == ["workspace/", "workspace/a"]
    assert archive.read("workspace/a") == archive.read("/workspace/a") == b"one"
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    with pytest.raises(KeyError):
        archive.read("missing")


def test_it_is_saved_whole(tmp_path: Path) -> None:
    archive = zipped(("a", FILE, b"one"))
    assert archive.save(tmp_path / "a.zip").read_bytes() == archive
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_modes_links_and_empty_directories_come_out(tmp_path: Path) -> None:
    archive = zipped(
        ("d/", DIRECTORY, b""),
        ("d/run", stat.S_IFREG | 0o4755, b"#!/bin/sh\n"),
        ("d/link", LINK, b"../d/run"),
        ("empty/", DIRECTORY, b""),
    )
    root = archive.extract(tmp_path / "out")
    assert stat.S_IMODE((root / "d/run").stat().st_mode) == 0o755, "set-uid is dropped"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    assert (root / "d/link").read_bytes() == b"#!/bin/sh\n" and (root / "empty").is_dir()


def test_times_and_names_that_are_not_text_come_out(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("sch\u00f6n")
    member.extra = struct.pack("<HHBi", 0x5455, 5, 1, 1_500_000_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, b"x")
        archive.writestr("raw-??", b"y")
    # A name without the UTF-8 flag is bytes, whatever they are.
    raw = Archive(buffer.getvalue().replace(b"raw-??", b"raw-\xff\xfe"))
    assert raw.names() == ["sch\u00f6n", "raw-\udcff\udcfe"] and raw.read("raw-\udcff\udcfe") == b"y"
    root = raw.extract(tmp_path / "out")
    assert (root / "sch\u00f6n").stat().st_mtime == 1_500_000_000
    assert os.listdir(os.fsencode(root)).count(b"raw-\xff\xfe") == 1


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("../out", FILE, b"x")], id="parent"),
        pytest.param([("a/../../out", FILE, b"x")], id="parent inside"),
        pytest.param([("/tmp/out", FILE, b"x")], id="absolute"),
        pytest.param([("l", LINK, b"/etc/passwd")], id="absolute link"),
        pytest.param([("l", LINK, b"..")], id="link to the parent"),
        pytest.param([("d/e/x", LINK, b"../.."), ("d/e/y", LINK, b"x/../z")], id="climbing through a link"),
        pytest.param([("l", LINK, b"../out"), ("l/file", FILE, b"x")], id="file through a link"),
    ],
)
def test_attack_names_and_links_that_lead_out(tmp_path: Path, members: list[tuple[str, int, bytes]]) -> None:
    target = tmp_path / "target"
    archive = zipped(("before", FILE, b"x"), *members)
    with pytest.raises(PathEscapes):
        archive.extract(target)
    assert list(target.iterdir()) == [], "nothing is written before everything is checked"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_attack_a_file_under_a_link_of_the_same_zip(tmp_path: Path) -> None:
    # CVE-2019-1002101: the link comes first, the file is then written through it.
    archive = zipped(("real/", DIRECTORY, b""), ("d", LINK, b"real"), ("d/file", FILE, b"x"))
    with pytest.raises(PathEscapes, match="behind"):
        archive.extract(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_attack_a_link_that_an_earlier_zip_left(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    target = tmp_path / "target"
    target.mkdir()
    (target / "d").symlink_to(outside)
    zipped(("d/kept", FILE, b"replaced")).extract(target)
    assert (outside / "kept").read_text() == "kept"
    assert (target / "d/kept").read_text() == "replaced"


def test_a_damaged_zip_is_an_error(tmp_path: Path) -> None:
    archive = bytearray(zipped(("a", FILE, b"content")))
    archive[archive.index(b"content")] ^= 1
    with pytest.raises(zipfile.BadZipFile):
        Archive(archive).extract(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
