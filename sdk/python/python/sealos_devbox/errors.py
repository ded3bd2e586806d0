"""What can go wrong, one class per condition.

Every class is a :class:`DevboxError`; where Python has an exception of that meaning, it is one of those too, so that
``except FileNotFoundError`` works as it does for local files.

>>> issubclass(NotFound, DevboxError) and issubclass(NotFound, FileNotFoundError)
True
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .process import Result


class DevboxError(Exception):
    """Something about a box went wrong. ``code`` is stable and for programs, the text is for people."""

    #: The code of the errors that this class stands for; instances have their own in ``code``.
    default_code: ClassVar[str] = "internal"
    #: The errno of the errors that are ``OSError`` too.
    default_errno: ClassVar[int] = _errno.EIO

    #: The stable code, such as ``not_found``; the list is in the manual.
    code: str
    #: What happened.
    detail: str
    #: The path that it is about, if it is about one.
    path: str | None
    #: What to do, as one sentence.
    hint: str | None
    #: Whether the same call may succeed later without anybody changing anything.
    retryable: bool
    #: The request in which it happened, as server logs and audit have it.
    request_id: str | None
    #: The members of a batch that conflict, where that is the problem.
    conflicts: tuple[str, ...]
    #: Of a change that is not atomic and failed halfway: how many bytes of the content are in the file, and how long the
    #: file is now.
    stands: tuple[int, int] | None

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        path: str | None = None,
        hint: str | None = None,
        retryable: bool = False,
        request_id: str | None = None,
        conflicts: tuple[str, ...] = (),
        stands: tuple[int, int] | None = None,
    ) -> None:
        if isinstance(self, OSError):
            # Fills errno, strerror and filename; OSError keeps no filename of None.
            super().__init__(self.default_errno, detail, *(() if path is None else (path,)))
        else:
            super().__init__(detail)
        self.code = self.default_code if code is None else code
        self.detail = detail
        self.path = path
        self.hint = hint
        self.retryable = retryable
        self.request_id = request_id
        self.conflicts = tuple(conflicts)
        self.stands = stands

    def __str__(self) -> str:
        path = f": {self.path}" if self.path and self.path not in self.detail else ""
        conflicts = f" [{', '.join(self.conflicts)}]" if self.conflicts else ""
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{self.detail}{path}{conflicts}{hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._fields())

    def _fields(self) -> dict[str, Any]:
        names = ("detail", "code", "path", "hint", "retryable", "request_id", "conflicts")
        return {name: getattr(self, name) for name in names}


def _rebuild(kind: type[DevboxError], fields: dict[str, Any]) -> DevboxError:
    return kind(fields.pop("detail"), **fields)


# The request itself.


class InvalidRequest(DevboxError, ValueError):
    """An argument, or a request made of it, is malformed."""

    default_code = "invalid_request"


class InvalidPath(InvalidRequest):
    """The path is no path inside a box: empty, with ``..``, or with a NUL."""

    default_code = "invalid_path"


class NameTooLong(DevboxError, OSError):
    """A name has more than 255 bytes, or a path more than 4095."""

    default_code = "name_too_long"
    default_errno = _errno.ENAMETOOLONG


class MethodNotAllowed(InvalidRequest):
    """The server does not take this method here; it is probably not a Devbox server."""

    default_code = "method_not_allowed"


class RangeNotSatisfiable(DevboxError, ValueError):
    """The range lies outside the file."""

    default_code = "range_not_satisfiable"


class UnsupportedCoding(DevboxError, ValueError):
    """The content coding is not taken here."""

    default_code = "unsupported_coding"


# Who asks.


class AuthenticationError(DevboxError):
    """The API key is missing or not valid."""

    default_code = "unauthorized"


class PermissionDenied(DevboxError, PermissionError):
    """The user in the box that the call acts as may not do this."""

    default_code = "permission_denied"
    default_errno = _errno.EACCES


class Forbidden(DevboxError, PermissionError):
    """The API key does not have this right."""

    default_code = "forbidden"
    default_errno = _errno.EPERM


class PathEscapes(DevboxError, PermissionError):
    """A link leads out of the folder that the caller may see."""

    default_code = "path_escapes"
    default_errno = _errno.EACCES


# What is not there.


class NotFound(DevboxError, FileNotFoundError):
    """There is no entry at this path."""

    default_code = "not_found"
    default_errno = _errno.ENOENT


class DevboxNotFound(DevboxError, LookupError):
    """There is no such box, or it belongs to another project."""

    default_code = "devbox_not_found"


class RuntimeNotFound(DevboxError, LookupError):
    """No template or image provides this runtime."""

    default_code = "runtime_not_found"


class ProcessNotFound(DevboxError, ProcessLookupError):
    """There is no such process, or it has ended."""

    default_code = "process_not_found"
    default_errno = _errno.ESRCH


class KeyNotFound(DevboxError, LookupError):
    """There is no such API key."""

    default_code = "key_not_found"


# What is there and in the way.


class UploadNotFound(DevboxError, LookupError):
    """There is no such upload: it was given up, or expired."""

    default_code = "upload_not_found"


class Exists(DevboxError, FileExistsError):
    """There is an entry at this path already."""

    default_code = "exists"
    default_errno = _errno.EEXIST


class NotADirectory(DevboxError, NotADirectoryError):
    """A directory is needed, and this is none."""

    default_code = "not_a_directory"
    default_errno = _errno.ENOTDIR


class IsADirectory(DevboxError, IsADirectoryError):
    """A file is needed, and this is a directory."""

    default_code = "is_a_directory"
    default_errno = _errno.EISDIR


class NotARegularFile(DevboxError, OSError):
    """This is a FIFO, socket or device."""

    default_code = "not_a_regular_file"
    default_errno = _errno.EINVAL


class DirectoryNotEmpty(DevboxError, OSError):
    """The directory is not empty."""

    default_code = "directory_not_empty"
    default_errno = _errno.ENOTEMPTY


class SymlinkLoop(DevboxError, OSError):
    """Too many symbolic links on the way."""

    default_code = "symlink_loop"
    default_errno = _errno.ELOOP


class CrossesMount(DevboxError, OSError):
    """The two paths are on different file systems."""

    default_code = "crosses_mount"
    default_errno = _errno.EXDEV


class Busy(DevboxError, OSError):
    """The entry is in use."""

    default_code = "busy"
    default_errno = _errno.EBUSY


class ReadOnly(DevboxError, OSError):
    """The file system is read-only here."""

    default_code = "read_only"
    default_errno = _errno.EROFS


class Conflict(DevboxError):
    """Something else changed what the call depends on; ``conflicts`` names the members of a batch."""

    default_code = "conflict"


class IdempotencyMismatch(Conflict):
    """An idempotency key was used for another request."""

    default_code = "idempotency_mismatch"


class NotRunning(DevboxError):
    """The box is not running."""

    default_code = "not_running"


class PreconditionFailed(DevboxError):
    """``if_match`` or ``if_absent`` does not hold; the file is as it was."""

    default_code = "precondition_failed"


# Contents and room for them.


class TooLarge(DevboxError, OSError):
    """The content is larger than the limit."""

    default_code = "too_large"
    default_errno = _errno.EFBIG


class NoSpace(DevboxError, OSError):
    """The disk is full."""

    default_code = "no_space"
    default_errno = _errno.ENOSPC


class QuotaExceeded(DevboxError, OSError):
    """A quota is used up."""

    default_code = "quota_exceeded"
    default_errno = _errno.EDQUOT


class DigestMismatch(DevboxError):
    """What arrived is not what was sent; nothing was changed, unless ``stands`` tells what was."""

    default_code = "digest_mismatch"


class VerifyFailed(DevboxError):
    """What the box read back is not what it had written: its disk or memory fails. The old file is untouched."""

    default_code = "verify_failed"


class ChecksumMismatch(DevboxError):
    """A piece of an upload is not what was sent; it does not count."""

    default_code = "checksum_mismatch"


class Interrupted(DevboxError, ConnectionError):
    """The content ended early."""

    default_code = "interrupted"
    default_errno = _errno.ECONNRESET


# The server and the way to it.


class ConnectionFailed(DevboxError, ConnectionError):
    """The server could not be reached, or the connection to it broke."""

    default_code = "connection_failed"
    default_errno = _errno.ECONNREFUSED


class Timeout(DevboxError, TimeoutError):
    """The deadline of the call has passed."""

    default_code = "timeout"
    default_errno = _errno.ETIMEDOUT


class RateLimited(DevboxError):
    """Too many requests."""

    default_code = "rate_limited"


class Unavailable(DevboxError):
    """The server is starting, stopping or full."""

    default_code = "unavailable"


class AgentUnreachable(Unavailable):
    """The agent of the box does not answer."""

    default_code = "agent_unreachable"


class ServerError(DevboxError):
    """The server failed; its log has more under ``request_id``."""

    default_code = "internal"

    def __str__(self) -> str:
        return super().__str__() + (f" (request {self.request_id})" if self.request_id else "")


class BadAgentAnswer(ServerError):
    """The agent of the box answered nonsense."""

    default_code = "bad_agent_answer"


class Unsupported(DevboxError, NotImplementedError):
    """This box or server cannot do this."""

    default_code = "unsupported"


# Our own side.


class ConfigError(DevboxError, ValueError):
    """The configuration is incomplete or contradicts itself."""

    default_code = "invalid_config"


class CommandFailed(DevboxError):
    """A command that was run with ``check=True`` did not exit with 0. ``result`` has all that is known of it."""

    default_code = "command_failed"

    #: How the command ended, and what it said.
    result: Result[Any]

    def __init__(self, detail: str, *, result: Result[Any], code: str | None = None, **fields: Any) -> None:
        super().__init__(detail, code=code, **fields)
        self.result = result

    def _fields(self) -> dict[str, Any]:
        return {**super()._fields(), "result": self.result}


def _all_classes(base: type[DevboxError]) -> list[type[DevboxError]]:
    return [found for kind in base.__subclasses__() for found in (kind, *_all_classes(kind))]


#: The class of each code. Codes that this version does not know are plain :class:`DevboxError`.
CLASS_OF_CODE: dict[str, type[DevboxError]] = {kind.default_code: kind for kind in _all_classes(DevboxError)}


def from_problem(
    code: str,
    detail: str,
    path: str | None = None,
    hint: str | None = None,
    retryable: bool = False,
    request_id: str | None = None,
    conflicts: tuple[str, ...] = (),
    stands: tuple[int, int] | None = None,
) -> DevboxError:
    """Makes the exception that a problem is; the native half calls this for every error it meets."""
    kind = CLASS_OF_CODE.get(code, DevboxError)
    return kind(
        detail,
        code=code,
        path=path,
        hint=hint,
        retryable=retryable,
        request_id=request_id,
        conflicts=tuple(conflicts),
        stands=stands,
    )
