"""What the tests share. Those that ask for `server` need a real one, and fail where there is none."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from sealos_devbox import Devbox, DevboxConfig, Sandbox
from server import LiveServer, live_server


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    with live_server() as server:
        yield server


@pytest.fixture(scope="session")
def devbox(server: LiveServer) -> Devbox:
    return Devbox(DevboxConfig(api_key=server.api_key, api_url=server.url))


@pytest.fixture(scope="module")
def sandbox(devbox: Devbox) -> Iterator[Sandbox]:
    """A box for a whole file of tests; each works below a folder of its own."""
    with devbox.create(language="python") as sandbox:
        yield sandbox


@pytest.fixture
def folder(sandbox: Sandbox, request: pytest.FixtureRequest) -> str:
    """A new, empty folder in the box, for one test."""
    # The names of parametrised tests have any characters.
    path = f"/workspace/{request.node.originalname}-{secrets.token_hex(3)}"
    sandbox.fs.make_dir(path, parents=False)
    return path
