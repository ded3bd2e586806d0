"""A server that answers as a test tells it, for what a real one does not do on request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Status and JSON body of an answer.
Answer = tuple[int, Any]

RECORD: dict[str, Any] = {
    "id": "abcdefghijklmnop",
    "name": "scripted",
    "state": "running",
    "template": "host",
    "workdir": "/workspace",
    "labels": {"team": "a"},
    "resources": {},
    "created": "2026-01-02T03:04:05.678901234Z",
}


def problem(code: str, status: int, **fields: Any) -> Answer:
    """An error answer of the API."""
    return status, {"code": code, "status": status, "detail": f"scripted {code}", **fields}


@contextmanager
def scripted_server(answer: Callable[[str, str, dict[str, str]], Answer]) -> Iterator[str]:
    """Serves what `answer(method, path, headers)` says, and gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer(self.command, self.path, dict(self.headers.items()))
            encoded = json.dumps(body).encode()
            kind = "application/json" if status < 400 else "application/problem+json"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(encoded)))
            self.send_header("X-Request-Id", "scripted-request")
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_PUT = do_DELETE = respond

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
