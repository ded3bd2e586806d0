"""Paths and contents in all the forms in which people have them."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from sealos_devbox import FileUpload, errors, paths, uploads


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("a", b"/workspace/a"),
        (".", b"/workspace/."),
        ("/etc/hosts", b"/etc/hosts"),
        ("~/a", b"/workspace/~/a"),
        ("ü", "/workspace/ü".encode()),
        ("\udcff", b"/workspace/\xff"),
        (b"\xff", b"/workspace/\xff"),
        (PurePosixPath("/a/b"), b"/a/b"),
        (PureWindowsPath("/a/b"), b"/a/b"),
    ],
)
def test_paths_start_at_the_working_directory(given: paths.BoxPath, resolved: bytes) -> None:
    assert paths.resolve(given, "/workspace") == resolved


def test_an_empty_path_is_not_the_working_directory() -> None:
    with pytest.raises(errors.InvalidPath):
        paths.resolve("", "/workspace")


def test_what_is_no_path_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        paths.resolve(5, "/workspace")  # type: ignore[arg-type]


def test_a_path_that_is_not_text_is_written_as_base64() -> None:
    assert paths.to_json(b"/a") == "/a"
    assert paths.to_json(b"/\xff") == {"b64": "L/8="}


def test_a_batch_may_be_a_mapping_objects_or_dictionaries(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"local")
    local.chmod(0o750)
    os.utime(local, ns=(0, 1_500_000_000_123_456_789))
    by_path: uploads.FilesByPath = {"a": "text", b"b": b"bytes", PurePosixPath("/c"): local}
    forms: list[uploads.FilesByPath | uploads.FileList] = [
        by_path,
        [FileUpload("a", "text"), FileUpload("b", bytearray(b"bytes")), FileUpload("/c", local)],
        [{"path": "a", "data": "text"}, {"path": "b", "data": memoryview(b"bytes")}, {"path": "/c", "data": local}],
    ]
    for form in forms:
        assert uploads.parts_of(form, "/w") == [
            (b"/w/a", b"text", None, None),
            (b"/w/b", b"bytes", None, None),
            (b"/c", local, 0o750, 1_500_000_000_123_456_789),
        ]


def test_a_malformed_file_of_a_batch_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="`path` and `data`"):
        uploads.parts_of([{"path": "a", "content": "x"}], "/w")
    with pytest.raises(TypeError, match="BytesIO"):
        uploads.parts_of({"a": io.BytesIO(b"x")}, "/w")  # type: ignore[arg-type]


def test_content_may_come_piece_by_piece() -> None:
    assert list(uploads.streamed(io.BytesIO(b"bytes"))) == [b"bytes"]
    assert list(uploads.streamed(io.StringIO("text ü"))) == ["text ü".encode()]
    assert list(uploads.streamed(["a", b"", b"b"])) == [b"a", b"b"]
    with pytest.raises(TypeError):
        list(uploads.streamed([1, 2]))
    with pytest.raises(TypeError, match="int"):
        uploads.streamed(5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1.5, "1970-01-01T00:00:01.500000000Z"),
        (-0.25, "1969-12-31T23:59:59.750000000Z"),
        (4_102_444_800, "2100-01-01T00:00:00.000000000Z"),
    ],
)
def test_times_are_written_as_the_api_has_them(seconds: float, text: str) -> None:
    assert uploads.to_timestamp(seconds) == text


def test_a_local_tree_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "d/empty").mkdir(parents=True)
    (tmp_path / "d/file").write_text("x")
    (tmp_path / "link").symlink_to("d/file")
    (tmp_path / "loop").symlink_to(".")
    tree = uploads.scan(tmp_path)
    assert [path for path, _ in tree.directories] == ["d", "d/empty"]
    assert [path for path, _ in tree.files] == ["d/file"]
    assert tree.links == [("link", "d/file"), ("loop", ".")]


def test_what_cannot_be_uploaded_is_said_before_anything_is(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(errors.InvalidRequest, match="socket"):
            uploads.scan(tmp_path)
