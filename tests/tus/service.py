"""A real `devbox serve` with one box, which can be killed and started again on its data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
#: A server that does not answer, or has not ended, by then has failed; generous, for it shares two cores.
PATIENCE_SECONDS = 60


class Service:
    """A server on one address: what clients remember of their uploads has it in it."""

    def __init__(self, folder: Path) -> None:
        # The server gives up root, so it must be able to reach its directory.
        folder.chmod(0o755)
        self._data, self._log = folder / "data", folder / "serve.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = "{}:{}".format(*free.getsockname())
        self.url = f"http://{self._address}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.key = (self._data / "first.key").read_text().strip()
        self.box: str = self.call("POST", "/v1/devboxes", {})["id"]

    @property
    def uploads(self) -> str:
        """Where uploads into the box are begun."""
        return f"{self.url}/v1/devboxes/{self.box}/uploads"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        binary = Path(os.environ.get("DEVBOX_BIN") or REPOSITORY / "target/debug/devbox").resolve()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DEVBOX_")}
        command = [binary, "serve", "--listen", self._address, "--data-dir", self._data]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"`devbox serve` did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kills it without a warning, and its boxes with it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an administrator does."""
        self._end(signal.SIGTERM)

    def start_box(self) -> None:
        """Starts the box again."""
        self.call("POST", f"/v1/devboxes/{self.box}/start")

    def content(self, path: str) -> bytes | None:
        """The bytes of a file in the box; `None` where there is none."""
        try:
            with self._open("GET", f"/v1/devboxes/{self.box}/files{path}") as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def head(self, url: str, method: str = "HEAD") -> tuple[int, dict[str, str]]:
        """The status and headers that tell of an upload."""
        try:
            with self._open(method, url.removeprefix(self.url), {"Tus-Resumable": "1.0.0"}) as answer:
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}

    def call(self, method: str, path: str, body: object = None) -> dict[str, str]:
        """Calls the API, JSON in and out."""
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, path, {"Content-Type": "application/json"}, data) as answer:
            return json.loads(answer.read() or b"{}")

    def _open(self, method: str, path: str, headers: dict[str, str] | None = None, data: bytes | None = None):
        headers = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return (self._data / "first.key").exists()
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
