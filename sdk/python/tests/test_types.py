"""The types that callers see: their programs pass `mypy --strict`, and mistakes do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USAGE = '''
import sys
from pathlib import Path
from typing import assert_type

from sealos_devbox import Archive, CommandFailed, Devbox, DevboxConfig, Entry, NotFound, Result, Sandbox

devbox = Devbox(DevboxConfig(api_key="xxx", api_url="https://api.sealos.io"))
sandbox = devbox.create(language="python", runtime="python:3.11", env={"A": "b"}, cpu=0.5)
assert_type(sandbox, Sandbox)
assert_type(devbox.list(labels={"a": "b"}), list[Sandbox])
assert_type(sandbox.fs.write_file("/workspace/main.py", "x"), Entry)
assert_type(sandbox.fs.write_file(b"main", open("main", "rb"), mode=0o600, if_absent=True), Entry)
assert_type(sandbox.fs.write_file(Path("main"), ["pieces", b"pieces"]), Entry)
assert_type(sandbox.fs.read_file("/workspace/main.py"), str)
assert_type(sandbox.fs.read_file("/workspace/main.py", encoding=None, offset=5), bytes)
assert_type(sandbox.fs.upload_files({"/a": b"x", "/b": "y", "/c": Path("c")}), int)
assert_type(sandbox.fs.upload_files([{"path": "/a", "data": b"x"}]), int)
assert_type(sandbox.fs.download_files(["/a", b"/b"]), Archive)
assert_type(sandbox.fs.download_files(["/a"], to="a.zip"), Path)
assert_type(sandbox.fs.download_files(["/a"], to=sys.stdout.buffer), int)
assert_type(sandbox.fs.list_dir("/workspace"), list[Entry])
assert_type([entry.size for entry in sandbox.fs.walk()], list[int])
assert_type(sandbox.run("make"), Result[str])
assert_type(sandbox.run(["make"], encoding=None, on_stdout=lambda chunk: print(chunk.hex())), Result[bytes])
assert_type(sandbox.run("make", on_stdout=lambda text: print(text.upper())).stdout, str)
with sandbox.spawn("cat") as process:
    process.send("x")
    for stream, chunk in process:
        assert_type(chunk, bytes)
try:
    sandbox.run("false", check=True)
except CommandFailed as failure:
    assert_type(failure.result.exit_code, int)
except NotFound as error:
    assert_type(error.hint, str | None)
'''

MISTAKES = [
    "devbox.create('python')",
    "sandbox.fs.write_file('a', 5)",
    "sandbox.fs.read_file('a').decode()",
    "sandbox.run('a', on_stdout=lambda text: text.hex())",
    "sandbox.fs.upload_files({'a': open('a')})",
    "sandbox.fs.stat('a').nonsense",
]

HEAD = "from sealos_devbox import Devbox\n\ndevbox = Devbox()\nsandbox = devbox.create()\n"


def check(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    file = folder / "usage.py"
    file.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-version", "3.11", str(file)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_programs_pass_a_strict_type_checker(tmp_path: Path) -> None:
    checked = check(USAGE, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_mistakes_do_not(tmp_path: Path) -> None:
    checked = check(HEAD + "\n".join(MISTAKES), tmp_path)
    found = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}
    first = HEAD.count("\n") + 1
    assert found == set(range(first, first + len(MISTAKES))), checked.stdout


def test_the_stub_of_the_native_half_is_as_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "sealos_devbox._native"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
