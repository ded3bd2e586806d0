"""The commands of `docs/files.md`, run as a reader would run them: in their order, and as they stand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from sealos_devbox import Devbox
from server import REPOSITORY, LiveServer


def commands(page: str) -> list[str]:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_commands_on_files(server: LiveServer, devbox: Devbox, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "main.py").write_text("print(1)\n")
    (tmp_path / "part").write_text("a line\n")
    subprocess.run(["tar", "--zstd", "-cf", "release.tar.zst", "project"], cwd=tmp_path, check=True)
    # curl says nothing of refusals unless it is told to.
    failing = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
    script = "set -euo pipefail\n" + failing + "".join(commands("files.md"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    try:
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        files = devbox.get("my-box").fs
        assert files.read_file("project/main.py") == files.read_file("app/main.py") == "print(1)\n"
        assert files.read_file("build.log") == "a line\n"
        assert files.read_file("greeting") == "hello world"
        listed = subprocess.run(["tar", "-tzf", tmp_path / "out.tar.gz"], capture_output=True, text=True)
        assert "workspace/app/main.py" in listed.stdout.split()
    finally:
        devbox.get("my-box").delete()
