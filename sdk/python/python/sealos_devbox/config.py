"""Where the server is and how to speak to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class DevboxConfig:
    """Where the server is and how to speak to it.

    What is not given comes from the environment when a :class:`Devbox` is made: ``DEVBOX_API_KEY`` (else the content of
    the file that ``DEVBOX_API_KEY_FILE`` names), ``DEVBOX_URL`` and ``DEVBOX_CA_FILE``. Without ``DEVBOX_URL`` it is
    where ``devbox serve`` listens by default.
    The key does not show when a configuration is printed.
    """

    #: The API key; ``devbox serve`` leaves the first one in ``first.key`` in its data directory.
    api_key: str | None = field(default=None, repr=False)
    #: The address of the server, such as ``https://devbox.example.com``.
    api_url: str | None = None
    #: A PEM file with the certificates that are trusted for ``https``, instead of the system's.
    ca_file: str | os.PathLike[str] | None = None
    #: How many seconds one attempt to connect may take.
    connect_timeout: float = 10.0
    #: How many seconds a call on boxes may take in all. Calls on files and processes take as long as they take.
    request_timeout: float = 120.0
    #: Under which coding the contents of single files travel, both ways: ``"zstd"``, ``"gzip"``, or as they are.
    compress: str | None = None
