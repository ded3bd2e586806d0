"""One box."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, cast, overload

from . import _native
from .errors import DevboxNotFound
from .fs import FileSystem
from .paths import BoxPath, User, resolve, user_to_wire
from .process import MAX_OUTPUT, Command, Process, Result, check, collect, spec

State = Literal["starting", "running", "stopped", "failed"]


class Sandbox:
    """One box: an isolated Linux workspace. Made by :meth:`Devbox.create`, found by :meth:`Devbox.get`.

    The object is a handle: dropping it does nothing to the box, and the box ends when :meth:`delete` is called.
    As a context manager it deletes the box at the end of the block, however the block ends.
    Its attributes are as of the last call that asked about the box itself: see :meth:`refresh`.
    """

    #: The files of the box.
    fs: FileSystem

    def __init__(self, client: _native.Client, record: str) -> None:
        self._client = client
        self._guest = client.guest(record)
        self._update(record)
        self.fs = FileSystem(self._guest, self.workdir)

    def _update(self, record: str) -> None:
        self._record: dict[str, Any] = json.loads(record)

    @property
    def id(self) -> str:
        return cast(str, self._record["id"])

    @property
    def name(self) -> str | None:
        """The name it was given, unique within the project."""
        return self._record.get("name")

    @property
    def state(self) -> State:
        return cast(State, self._record["state"])

    @property
    def reason(self) -> str | None:
        """Why it is in that state, if not because somebody asked: ``agent_killed``, ``host_restart``."""
        return self._record.get("reason")

    @property
    def template(self) -> str:
        return cast(str, self._record["template"])

    @property
    def runtime(self) -> str | None:
        """What the runtime or language asked for was resolved to, such as ``host (python 3.11.2)``."""
        return self._record.get("runtime")

    @property
    def workdir(self) -> str:
        """The folder that relative paths start from, and that programs run in."""
        return cast(str, self._record["workdir"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self._record.get("labels", {}))

    @property
    def created(self) -> datetime:
        """When it was made, in UTC."""
        # fromisoformat of Python 3.10 takes six digits of a fraction and no Z.
        return datetime.fromisoformat(self._record["created"][:26] + "+00:00")

    def refresh(self) -> Sandbox:
        """Looks at the box again, and returns itself."""
        self._update(self._client.get(self.id))
        return self

    def start(self) -> Sandbox:
        """Starts the box if it is stopped or failed. Its files are as they were."""
        self._update(self._client.start(self.id))
        return self

    def stop(self) -> Sandbox:
        """Ends every program in the box and keeps its files."""
        self._update(self._client.stop(self.id))
        return self

    def delete(self) -> None:
        """Deletes the box and all it holds."""
        self._client.delete(self.id)

    @overload
    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: BoxPath | None = None,
        user: User = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        check: bool = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        max_output: int | None = MAX_OUTPUT,
    ) -> Result[str]: ...
    @overload
    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: BoxPath | None = None,
        user: User = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[bytes], object] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
        check: bool = False,
        encoding: None,
        errors: str = "replace",
        max_output: int | None = MAX_OUTPUT,
    ) -> Result[bytes]: ...
    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: BoxPath | None = None,
        user: User = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[Any], object] | None = None,
        on_stderr: Callable[[Any], object] | None = None,
        check: bool = False,
        encoding: str | None = "utf-8",
        errors: str = "replace",
        max_output: int | None = MAX_OUTPUT,
    ) -> Result[Any]:
        """Runs a program to its end and returns how it ended and what it said.

        ``command``: text is a line for ``sh``; a list is a program and its arguments, and no shell sees it.
        ``env`` comes on top of the box's own variables. ``cwd``: by default the box's working directory. ``stdin``: all
        of its input; by default there is none. ``timeout``, in seconds: the program and all it started are killed, and
        the result says ``timed_out``. ``on_stdout`` and ``on_stderr`` get output as it comes, on the calling thread; if
        one raises, or the call is interrupted, the program is killed. ``check``: anything but exit code 0 raises
        :class:`CommandFailed`, which has the result. ``encoding``: of the output; ``None`` for bytes, and ``errors``
        says what becomes of output that is not in it. More than ``max_output`` bytes of output: the program is killed
        and :class:`TooLarge` is raised; ``None`` for no limit.
        """
        given = spec(command, env=env, cwd=self._directory(cwd), stdin=stdin, timeout=timeout)
        with Process(self._guest.spawn(user_to_wire(user), given), command) as process:
            result = collect(
                process,
                encoding=encoding,
                errors=errors,
                max_output=max_output,
                on_stdout=on_stdout,
                on_stderr=on_stderr,
            )
        if check:
            _check(result, command)
        return result

    def spawn(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: BoxPath | None = None,
        user: User = None,
        timeout: float | None = None,
    ) -> Process:
        """Starts a program and returns it running, to be spoken with: see :class:`Process`. Arguments as in ``run``."""
        given = spec(
            command, env=env, cwd=self._directory(cwd), stdin=None, timeout=timeout, interactive=True
        )
        return Process(self._guest.spawn(user_to_wire(user), given), command)

    def _directory(self, cwd: BoxPath | None) -> bytes | None:
        return None if cwd is None else resolve(cwd, self.workdir)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.delete()
        except DevboxNotFound:
            # The block deleted it already.
            pass

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Sandbox {self.id}{name} {self.state}>"


# Inside `run`, `check` is the argument.
_check = check
