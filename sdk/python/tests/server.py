"""A real server for the tests: the one of the environment, or `devbox serve` started here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

#: A server that has not said where it listens by then has failed.
START_SECONDS = 60
#: A server that has not ended its boxes by then has failed.
STOP_SECONDS = 30


@dataclass(frozen=True)
class LiveServer:
    """Where a server is, and a key for it."""

    url: str
    api_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which programs find it."""
        binary = devbox_binary()
        path = f"{binary.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "DEVBOX_URL": self.url, "DEVBOX_API_KEY": self.api_key, "PATH": path}


def devbox_binary() -> Path:
    """The `devbox` binary: `$DEVBOX_BIN`, or what `cargo build` leaves."""
    return Path(os.environ.get("DEVBOX_BIN") or REPOSITORY / "target/debug/devbox").resolve()


@contextmanager
def live_server() -> Iterator[LiveServer]:
    """Uses the server that `DEVBOX_URL` and `DEVBOX_API_KEY` name, or starts one, which needs root."""
    url, api_key = os.environ.get("DEVBOX_URL"), os.environ.get("DEVBOX_API_KEY")
    if url and api_key:
        yield LiveServer(url, api_key)
        return
    with tempfile.TemporaryDirectory(prefix="devbox-python-") as scratch:
        # The server gives up root, so it must be able to reach its directory.
        os.chmod(scratch, 0o755)
        with _started(Path(scratch)) as server:
            yield server


@contextmanager
def _started(scratch: Path) -> Iterator[LiveServer]:
    binary, data, log = devbox_binary(), scratch / "data", scratch / "serve.log"
    if not binary.exists():
        raise RuntimeError(f"{binary} does not exist: run `cargo build`, or set DEVBOX_BIN")
    unset = {"DEVBOX_URL", "DEVBOX_API_KEY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", data],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        url = _wait_for_address(process, log)
        yield LiveServer(url, (data / "first.key").read_text().strip())
    finally:
        _stop(process, log)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"devbox serves on (https?://\S+)", log.read_text(errors="replace")):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"`devbox serve` did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"`devbox serve` did not stop:\n{log.read_text(errors='replace')}") from None
