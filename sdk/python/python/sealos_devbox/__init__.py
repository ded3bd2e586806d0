"""Isolated Linux workspaces for agents and people: create one, put files in, run programs, take results out.

>>> from sealos_devbox import Devbox
>>> with Devbox().create(language="python") as sandbox:         # DEVBOX_URL and DEVBOX_API_KEY say where
...     sandbox.fs.write_file("main.py", "print('hello')")
...     print(sandbox.run("python3 main.py").stdout)
"""

from . import errors
from ._native import VERSION as __version__
from ._native import Entry
from .archive import Archive
from .client import Devbox, Template
from .config import DevboxConfig
from .errors import (
    AuthenticationError,
    CommandFailed,
    ConfigError,
    Conflict,
    ConnectionFailed,
    DevboxError,
    DevboxNotFound,
    Exists,
    Forbidden,
    IsADirectory,
    NoSpace,
    NotADirectory,
    NotFound,
    NotRunning,
    PathEscapes,
    PermissionDenied,
    PreconditionFailed,
    RuntimeNotFound,
    Timeout,
    TooLarge,
    Unsupported,
)
from .fs import FileSystem, Progress
from .process import Process, Result
from .sandbox import Sandbox
from .uploads import FileUpload

__all__ = [
    "Archive",
    "AuthenticationError",
    "CommandFailed",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "Devbox",
    "DevboxConfig",
    "DevboxError",
    "DevboxNotFound",
    "Entry",
    "Exists",
    "FileSystem",
    "FileUpload",
    "Forbidden",
    "IsADirectory",
    "NoSpace",
    "NotADirectory",
    "NotFound",
    "NotRunning",
    "PathEscapes",
    "PermissionDenied",
    "PreconditionFailed",
    "Process",
    "Progress",
    "Result",
    "RuntimeNotFound",
    "Sandbox",
    "Template",
    "Timeout",
    "TooLarge",
    "Unsupported",
    "__version__",
    "errors",
]
