"""Clients of the tus protocol that are not ours, unchanged: tus-js-client and tuspy, against a real server and box."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import REPOSITORY, Service
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

MIB = 1 << 20
#: Four pieces and a bit.
SIZE = 4 * MIB + 4321
#: Where `cargo xtask test tus` puts the client of package-lock.json, and client.mjs beside it.
NODE = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target") / "tus"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    # pytest's own folders are for their owner alone.
    folder.parent.chmod(0o755)
    folder.parent.parent.chmod(0o755)
    service = Service(folder)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def content() -> bytes:
    return random.Random(5).randbytes(SIZE)


class Work:
    """A local file, and a place in the box for it."""

    def __init__(self, service: Service, folder: Path, name: str, content: bytes) -> None:
        self.service, self.content = service, content
        self.file, self.memory = folder / "file", folder / "memory.json"
        self.file.write_bytes(content)
        self.path = f"/workspace/{name}"

    def node(self, deed: str) -> dict:
        """Has tus-js-client do something."""
        command = ["node", NODE / "client.mjs", deed, self.service.uploads, self.file, self.path, self.memory]
        environment = {**os.environ, "DEVBOX_API_KEY": self.service.key}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120, check=True)
        return json.loads(done.stdout)

    def python(self, **options):
        """An upload of tuspy."""
        client = TusClient(self.service.uploads, headers={"Authorization": f"Bearer {self.service.key}"})
        metadata = {"path": self.path}
        return client.uploader(str(self.file), chunk_size=MIB, metadata=metadata, retries=3, retry_delay=1, **options)

    def offset(self, url: str) -> int:
        """How far the server says an upload is."""
        status, headers = self.service.head(url)
        assert status == 200, headers
        return int(headers["upload-offset"])

    def assert_stored(self) -> None:
        """The file in the box is the local one, byte by byte."""
        found = self.service.content(self.path)
        assert found is not None and len(found) == len(self.content)
        assert found == self.content


@pytest.fixture
def work(service: Service, content: bytes, tmp_path: Path, request: pytest.FixtureRequest) -> Work:
    return Work(service, tmp_path, request.node.name, content)


def test_the_server_says_what_it_can(service: Service) -> None:
    status, headers = service.head(service.uploads, "OPTIONS")
    assert status == 204
    assert headers["tus-version"] == "1.0.0"
    extensions = set(headers["tus-extension"].split(","))
    wanted = {"creation", "creation-with-upload", "checksum", "expiration", "termination", "concatenation"}
    assert wanted == extensions
    assert "sha1" in headers["tus-checksum-algorithm"].split(",")


def test_js_stops_and_goes_on(work: Work) -> None:
    assert work.node("resume")["first"] >= MIB, "it began again from the start"
    work.assert_stored()


def test_js_sends_all_with_the_creation(work: Work) -> None:
    assert work.node("at_once")["requests"] == ["POST"]
    work.assert_stored()


def test_js_uploads_parts_in_parallel(work: Work) -> None:
    done = work.node("parallel")
    assert done["requests"].count("partial") == 3, done
    [final] = [request for request in done["requests"] if request.startswith("final;")]
    assert len(final.split()) == 3
    work.assert_stored()
    status, headers = work.service.head(done["url"])
    assert status == 200 and headers["upload-concat"].startswith("final;"), headers
    assert headers["upload-offset"] == headers["upload-length"] == str(SIZE)


def test_js_has_an_upload_forgotten(work: Work) -> None:
    status, _ = work.service.head(work.node("terminate")["url"])
    assert status in (404, 410)
    assert work.service.content(work.path) is None


def test_js_goes_on_after_the_server_was_killed(work: Work) -> None:
    url = work.node("begin")["url"]
    stored = work.offset(url)
    assert 2 * MIB <= stored < SIZE
    work.service.kill()
    work.service.start()
    work.service.start_box()
    assert work.offset(url) == stored
    done = work.node("go_on")
    assert done["url"] == url and done["requests"][0] == "HEAD" and "POST" not in done["requests"], done
    work.assert_stored()


def test_python_goes_on_after_the_server_was_killed(work: Work) -> None:
    storage = FileStorage(str(work.memory))
    first = work.python(store_url=True, url_storage=storage)
    first.upload(stop_at=2 * MIB)
    work.service.kill()
    work.service.start()
    work.service.start_box()
    again = work.python(store_url=True, url_storage=storage)
    assert again.url == first.url and again.offset == 2 * MIB
    again.upload()
    storage.close()
    work.assert_stored()


def test_python_has_its_pieces_checked(work: Work) -> None:
    upload = work.python(upload_checksum=True)
    upload.upload(stop_at=MIB)
    assert work.offset(upload.url) == MIB
    upload.upload()
    work.assert_stored()


def test_an_upload_says_when_it_expires(work: Work) -> None:
    upload = work.python()
    upload.upload(stop_at=MIB)
    _, headers = work.service.head(upload.url)
    assert headers["upload-expires"].endswith(" GMT"), headers
    assert headers["upload-length"] == str(SIZE)
