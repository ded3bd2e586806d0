"""The boxes of one server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import _native
from .config import DevboxConfig
from .sandbox import Sandbox
from .values import texts, whole


@dataclass(frozen=True)
class Template:
    """Something that a box can be made from."""

    name: str
    #: The runtimes that it provides, with the versions found: ``python:3.11.2``.
    runtimes: tuple[str, ...]
    #: The folder that relative paths start from, in every box made from it.
    workdir: str


class Devbox:
    """The boxes of one server, seen with one API key.

    Connections are opened when they are needed and shared by all threads. After ``os.fork`` a child process opens its
    own. Calls can be interrupted with Ctrl-C.
    """

    def __init__(self, config: DevboxConfig | None = None) -> None:
        config = DevboxConfig() if config is None else config
        self._client = _native.Client(
            api_url=config.api_url,
            api_key=config.api_key,
            ca_file=config.ca_file,
            connect_timeout=config.connect_timeout,
            request_timeout=config.request_timeout,
            compress=config.compress,
        )

    @property
    def api_url(self) -> str:
        """The address of the server."""
        return self._client.url

    def create(
        self,
        *,
        name: str | None = None,
        language: str | None = None,
        runtime: str | None = None,
        template: str | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        cpu: float | None = None,
        memory: int | None = None,
        pids: int | None = None,
    ) -> Sandbox:
        """Makes a box and waits until it runs.

        ``name``: 1 to 63 of ``a-z 0-9 -``, unique within the project. ``language`` (``python``, ``node``) or ``runtime``
        (``python:3.11``) say what must be in it, else :class:`RuntimeNotFound`; ``template`` names what it is made from.
        ``env``: variables of every program in it. ``cpu``: in processors, such as ``0.5``; ``memory``: in bytes;
        ``pids``: processes and threads; by default as the server has it. Delete the box when it has done its work, or
        use it as a context manager.
        """
        resources = {
            "cpu_millis": None if cpu is None else round(cpu * 1000),
            "memory_bytes": whole("memory", memory, least=1),
            "pids": whole("pids", pids, least=1),
        }
        request: dict[str, Any] = {
            "name": name,
            "language": language,
            "runtime": runtime,
            "template": template,
            "env": texts("env", env),
            "labels": texts("labels", labels),
            "resources": resources,
        }
        return Sandbox(self._client, self._client.create(json.dumps(request)))

    def get(self, id_or_name: str) -> Sandbox:
        """Finds a box by its id or name. :class:`DevboxNotFound` if there is none."""
        return Sandbox(self._client, self._client.get(id_or_name))

    def list(self, *, labels: Mapping[str, str] | None = None) -> list[Sandbox]:
        """Returns the boxes of the project, oldest first; with ``labels``, those that have all of them."""
        records = json.loads(self._client.list(dict(labels or {})))
        return [Sandbox(self._client, json.dumps(record)) for record in records]

    def templates(self) -> tuple[Template, ...]:
        """Returns what boxes can be made from, the default first."""
        found = json.loads(self._client.templates())
        return tuple(
            Template(template["name"], tuple(template["runtimes"]), template["workdir"]) for template in found
        )

    def __repr__(self) -> str:
        return f"<Devbox at {self.api_url}>"
