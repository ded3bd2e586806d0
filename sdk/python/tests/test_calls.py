"""How calls wait: interruptible, without the interpreter lock, and in a child after fork()."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from scripted import RECORD, scripted_server
from sealos_devbox import Devbox, DevboxConfig, errors


class Stage:
    """A scripted server whose answers can be held back."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked = threading.Semaphore(0)
        self.hold = False
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        self.requests.append((method, path))
        self.asked.release()
        if self.hold:
            self.release.wait(30)
        if path.startswith("/v1/templates"):
            template = {"name": "host", "runtimes": ["python:3.11.2"], "workdir": "/workspace"}
            return 200, {"templates": [template]}
        if path.startswith("/v1/devboxes?"):
            return 200, {"devboxes": [RECORD]}
        return 200, RECORD

    @property
    def devbox(self) -> Devbox:
        return Devbox(DevboxConfig(api_key="key", api_url=self.url))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with scripted_server(stage.answer) as stage.url:
        yield stage
        stage.release.set()


def test_ctrl_c_ends_a_call_that_waits(stage: Stage) -> None:
    stage.hold = True
    devbox = stage.devbox

    def interrupt() -> None:
        stage.asked.acquire()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        devbox.templates()
    assert time.monotonic() - started < 5
    stage.hold = False
    stage.release.set()
    assert devbox.templates()[0].name == "host", "the client is as good as before"


def test_other_threads_run_while_a_call_waits(stage: Stage) -> None:
    stage.hold = True
    devbox, results = stage.devbox, []
    threads = [threading.Thread(target=lambda: results.append(devbox.templates())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert stage.asked.acquire(timeout=10), "all calls are under way at once"
    stage.release.set()
    for thread in threads:
        thread.join(10)
    assert len(results) == 8


def test_a_call_that_takes_too_long_is_a_timeout(stage: Stage) -> None:
    stage.hold = True
    devbox = Devbox(DevboxConfig(api_key="key", api_url=stage.url, request_timeout=0.2))
    with pytest.raises(TimeoutError) as caught:
        devbox.templates()
    assert isinstance(caught.value, errors.Timeout)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_fork_has_connections_of_its_own(stage: Stage) -> None:
    devbox = stage.devbox
    assert devbox.templates()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os._exit(0 if devbox.templates() and devbox.get(RECORD["id"]).refresh() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert devbox.templates(), "the parent goes on as before"


def test_records_become_boxes(stage: Stage) -> None:
    sandbox = stage.devbox.get(RECORD["id"])
    assert (sandbox.id, sandbox.name, sandbox.state) == (RECORD["id"], "scripted", "running")
    assert (sandbox.workdir, sandbox.labels, sandbox.template) == ("/workspace", {"team": "a"}, "host")
    assert sandbox.created.isoformat() == "2026-01-02T03:04:05.678901+00:00"
    assert [found.id for found in stage.devbox.list(labels={"team": "a b"})] == [sandbox.id]
    assert stage.requests[-1][1] == "/v1/devboxes?label=team%3Da%20b"


def test_a_path_that_is_none_never_leaves_this_machine(stage: Stage) -> None:
    fs = stage.devbox.get(RECORD["id"]).fs
    before = len(stage.requests)
    for path in ("", "../x", "/a/../b", "a\0b", "x" * 256, "/" + "x/" * 2100):
        for call in (fs.read_file, fs.delete, fs.list_dir, fs.stat):
            with pytest.raises((errors.InvalidPath, errors.NameTooLong)):
                call(path)
        with pytest.raises((errors.InvalidPath, errors.NameTooLong)):
            fs.write_file(path, "x")
    assert len(stage.requests) == before


def test_an_argument_that_is_none_is_refused(stage: Stage) -> None:
    sandbox = stage.devbox.get(RECORD["id"])
    with pytest.raises(errors.InvalidRequest):
        sandbox.fs.write_file("a", "x", if_match='"a"', if_absent=True)
    with pytest.raises(errors.InvalidRequest):
        sandbox.fs.write_file("a", "x", if_match="not a tag")
    with pytest.raises(errors.InvalidRequest):
        sandbox.fs.stat("a", user="no such:user")
    with pytest.raises(errors.InvalidRequest):
        sandbox.run([])
    with pytest.raises(errors.InvalidRequest):
        sandbox.run("true", timeout=-1)
    with pytest.raises(TypeError):
        sandbox.fs.write_file("a", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        sandbox.fs.download_files("a")
    with pytest.raises(FileNotFoundError):
        sandbox.fs.upload_file("/no/such/file", "a")
