"""Programs in a box: running one to its end, and holding one that runs."""

from __future__ import annotations

import codecs
import shlex
import signal as _signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, AnyStr, Generic, Literal, Union

from . import _native
from .errors import CommandFailed, InvalidRequest, TooLarge
from .values import texts

#: A shell line, or a program and its arguments, which no shell sees.
Command = Union[str, Sequence[str]]

#: How much output is kept in memory unless it is said otherwise, in bytes.
MAX_OUTPUT = 64 << 20


@dataclass(frozen=True)
class Result(Generic[AnyStr]):
    """How a program ended and what it said."""

    #: As a shell has it: what the program returned, or 128 and the number of the signal that killed it.
    exit_code: int
    stdout: AnyStr
    stderr: AnyStr
    #: The signal that killed it, if one did.
    signal: int | None
    #: Whether it was killed because its time was up.
    timed_out: bool
    #: How long it ran, in seconds.
    duration: float

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0


class Process:
    """A program that runs in a box. Iterate over it for what it says, as it comes, until it has ended.

    Its output is paced by whoever reads it: a program that nobody listens to stops at a write. Leaving the ``with``
    block, or letting go of the object, kills the program and all it started.
    """

    def __init__(self, native: _native.Process, command: Command) -> None:
        self._native = native
        self._command = command

    @property
    def pid(self) -> int:
        """Its number inside the box."""
        return self._native.pid

    def __iter__(self) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
        while (output := self._native.next_output()) is not None:
            yield output

    def send(self, data: str | bytes) -> None:
        """Writes to its standard input; waits while it does not read. :class:`ProcessNotFound` once it has ended."""
        self._native.send(data.encode() if isinstance(data, str) else data)

    def close_stdin(self) -> None:
        """Ends its standard input."""
        self._native.close_stdin()

    def signal(self, signal: int) -> None:
        """Sends a Linux signal to its process group."""
        self._native.signal(int(signal))

    def terminate(self) -> None:
        """Asks it to end, with SIGTERM."""
        self.signal(_signal.SIGTERM)

    def kill(self) -> None:
        """Kills it and all it started, and forgets what it had still to say."""
        self._native.close()

    def wait(self) -> Result[bytes]:
        """Reads what it says from here on, ends its standard input, and returns how it ended."""
        if self._native.exit() is None:
            self._native.close_stdin()
        return collect(self, encoding=None, errors="strict", max_output=MAX_OUTPUT)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        state = "running" if self._native.exit() is None else "ended"
        return f"<Process {self.pid} {state}: {shown(self._command)}>"


def spec(
    command: Command,
    *,
    env: Mapping[str, str] | None,
    cwd: bytes | None,
    stdin: str | bytes | None,
    timeout: float | None,
    interactive: bool = False,
) -> _native.Spec:
    """Says what to run in the words of the native half."""
    argv = ["sh", "-c", command] if isinstance(command, str) else [*command]
    if not argv or not all(isinstance(argument, str) for argument in argv):
        raise InvalidRequest("a command is a shell line, or a list of strings with the program first")
    return {
        "argv": argv,
        "env": texts("env", env),
        "cwd": cwd,
        "timeout": timeout,
        "stdin": stdin.encode() if isinstance(stdin, str) else stdin,
        "interactive": interactive,
    }


def collect(
    process: Process,
    *,
    encoding: str | None,
    errors: str,
    max_output: int | None,
    on_stdout: Callable[[Any], object] | None = None,
    on_stderr: Callable[[Any], object] | None = None,
) -> Result[Any]:
    """Reads a program's output to its end, handing it to the callbacks as it comes."""
    streams = {"stdout": _Stream(encoding, errors, on_stdout), "stderr": _Stream(encoding, errors, on_stderr)}
    size = 0
    for name, chunk in process:
        size += len(chunk)
        if max_output is not None and size > max_output:
            process.kill()
            raise TooLarge(
                f"the program wrote more than {max_output} bytes and was killed",
                hint="raise `max_output`, write to a file in the box, or iterate over `sandbox.spawn(...)`",
            )
        streams[name].take(chunk)
    stdout, stderr = streams["stdout"].end(), streams["stderr"].end()
    exit = process._native.exit()
    assert exit is not None, "the output ends when the program has"
    code, signal, timed_out, duration_ms = exit
    return Result(code, stdout, stderr, signal, timed_out, duration_ms / 1000)


def check(result: Result[Any], command: Command) -> None:
    """Raises :class:`CommandFailed` unless the program exited with 0."""
    if result.ok:
        return
    if result.timed_out:
        how = "was killed because its time was up"
    elif result.signal is not None:
        how = f"was killed by signal {result.signal}"
    else:
        how = f"exited with {result.exit_code}"
    said = result.stderr if isinstance(result.stderr, str) else result.stderr.decode(errors="replace")
    last = said.strip().splitlines()[-1:]
    raise CommandFailed(f"{shown(command)} {how}" + "".join(f": {line}" for line in last), result=result)


def shown(command: Command) -> str:
    """A command as a shell would have it, cut to a readable length."""
    line = command if isinstance(command, str) else shlex.join(command)
    return repr(line if len(line) <= 80 else line[:79] + "…")


class _Stream:
    """One of the two outputs: decoded piece by piece, as a character may be cut in two."""

    def __init__(self, encoding: str | None, errors: str, callback: Callable[[Any], object] | None) -> None:
        self._decode = None if encoding is None else codecs.getincrementaldecoder(encoding)(errors)
        self._callback = callback
        self._pieces: list[Any] = []

    def take(self, chunk: bytes, final: bool = False) -> None:
        piece: Any = chunk if self._decode is None else self._decode.decode(chunk, final)
        if piece:
            self._pieces.append(piece)
            if self._callback is not None:
                self._callback(piece)

    def end(self) -> Any:
        self.take(b"", final=True)
        return (b"" if self._decode is None else "").join(self._pieces)
