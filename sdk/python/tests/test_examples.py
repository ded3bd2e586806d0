"""The programs of `examples/`, run as a reader would run them."""

from __future__ import annotations

import json
import subprocess
import sys

from sealos_devbox import Devbox
from server import REPOSITORY, LiveServer

EXAMPLES = REPOSITORY / "examples"


def run(server: LiveServer, *command: str) -> str:
    done = subprocess.run(
        command, cwd=EXAMPLES, env=server.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_quickstart_in_python(server: LiveServer, devbox: Devbox) -> None:
    said = run(server, sys.executable, "quickstart.py").splitlines()
    assert said[0] == "0 hello world"
    assert set(said[1].split()) >= {"workspace/main.py", "workspace/a.txt", "workspace/b.bin"}
    assert devbox.list() == []


def test_quickstart_on_the_command_line(server: LiveServer, devbox: Devbox) -> None:
    assert run(server, "./quickstart.sh").splitlines() == ["hello world", "result"]
    assert devbox.list() == []


def test_curl(server: LiveServer, devbox: Devbox) -> None:
    written, *events, report, listing, part, names = run(server, "./curl.sh").splitlines()
    assert json.loads(written)["created"] is True
    assert [json.loads(event)["type"] for event in events] == ["started", "stdout", "exited"]
    assert json.loads(events[1])["data"] == "hello world\n" and json.loads(report)["entries"] == 2
    assert [entry["path"] for entry in json.loads(listing)["entries"]] == [
        f"/workspace/{name}" for name in ("a.txt", "b.txt", "main.py")
    ]
    assert part == "import sys" and "workspace/main.py" in names.split()
    assert devbox.list() == []


def test_real_work(server: LiveServer, devbox: Devbox) -> None:
    said = run(server, sys.executable, "real_work/run.py")
    assert "byte for byte" in said and "FAILED" in said and said.count("test_an_image_is_a_link (") == 3
    assert devbox.list() == []
