"""Real work in a box: this repository goes in, its tests run, files change, everything comes back, every byte compared.

DEVBOX_URL and DEVBOX_API_KEY say which server. See README.md beside this file.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sealos_devbox import Devbox, FileUpload, Result, Sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
#: Where the repository goes in the box, and the project in it whose tests are run.
TREE = "/workspace/tree"
PROJECT = "examples/real_work/project"
#: What the example breaks and mends again.
SUBJECT = f"{PROJECT}/linkcheck/markdown.py"

T = TypeVar("T")
Files = dict[str, bytes]


def main() -> None:
    files = read_repository()
    size = sum(map(len, files.values()))
    print(f"the repository: {len(files)} files, {size:,} bytes")

    with timed("a new box", Devbox().create)(language="python", labels={"example": "real_work"}) as sandbox:
        timed("all files in, in one call", upload)(sandbox, files)
        timed("its test suite", run_tests)(sandbox, expect_success=True)

        sound = files[SUBJECT]
        files[SUBJECT] = broken(sound)
        sandbox.fs.write_file(f"{TREE}/{SUBJECT}", files[SUBJECT])
        timed("its test suite, with a bug", run_tests)(sandbox, expect_success=False)

        files[SUBJECT] = sound
        sandbox.fs.write_file(f"{TREE}/{SUBJECT}", files[SUBJECT])
        timed("its test suite, mended", run_tests)(sandbox, expect_success=True)

        links = timed("the tool over the whole repository", check_links)(sandbox)
        files["links.txt"] = links.stdout.encode()

        with tempfile.TemporaryDirectory() as scratch:
            archive = timed("everything out, as one zip", download)(sandbox, Path(scratch, "tree.zip"))
            timed("every byte compared", compare)(archive, files)
    print(f"all {len(files)} files are byte for byte what they should be")


def read_repository() -> Files:
    """Reads what git tracks, or would track."""
    # As root, git wants to be told that a repository of somebody else may be read.
    git = ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY)]
    command = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    paths = [path for path in sorted(set(listed)) if path and (REPOSITORY / path).is_file()]
    return {path: (REPOSITORY / path).read_bytes() for path in paths}


def upload(sandbox: Sandbox, files: Files) -> None:
    """Writes all files: every one of them, or none."""
    sandbox.fs.upload_files(FileUpload(f"{TREE}/{path}", content) for path, content in files.items())


def run_tests(sandbox: Sandbox, expect_success: bool) -> None:
    """Runs the tests of the project in the box, and shows what they say as they say it."""
    result = sandbox.run(
        ["python3", "-m", "unittest", "discover", "--verbose", "--top-level-directory", "."],
        cwd=f"{TREE}/{PROJECT}",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        on_stdout=show,
        on_stderr=show,
    )
    if result.ok != expect_success or "Ran 10 tests" not in result.stderr:
        sys.exit(f"the tests exited with {result.exit_code}")


def broken(source: bytes) -> bytes:
    """Puts a bug into the program: links are found in code too."""
    return source.replace(b'CODE.sub("", line)', b"line")


def check_links(sandbox: Sandbox) -> Result[str]:
    """Runs the project's own program over the whole repository; its report stays in the box."""
    line = 'python3 -m linkcheck "$0" | tee "$0/links.txt"'
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    return sandbox.run(["sh", "-c", line, TREE], cwd=f"{TREE}/{PROJECT}", env=env, on_stdout=show, check=True)


def download(sandbox: Sandbox, target: Path) -> Path:
    """Streams everything into a local zip."""
    return sandbox.fs.download_files([TREE], to=target)


def compare(archive: Path, files: Files) -> None:
    """Compares the zip with what should be in it: the same names, and the same SHA-256 of each."""
    with zipfile.ZipFile(archive) as zipped:
        found = {
            name.removeprefix(f"{TREE}/".lstrip("/")): hashlib.sha256(zipped.read(name)).hexdigest()
            for name in zipped.namelist()
            if not name.endswith("/")
        }
    expected = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    different = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    if different:
        sys.exit(f"these differ: {', '.join(different)}")


def timed(what: str, work: Callable[..., T]) -> Callable[..., T]:
    """Says what is done, and how long it took."""

    def call(*arguments: object, **options: object) -> T:
        started = time.perf_counter()
        result = work(*arguments, **options)
        print(f"▸ {what}: {(time.perf_counter() - started) * 1000:,.0f} ms", flush=True)
        return result

    return call


def show(text: str) -> None:
    """Shows output of the box as it comes, which need not be in whole lines."""
    print(text, end="", flush=True)


main()
