"""Programs in a real box."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from sealos_devbox import CommandFailed, NotFound, Sandbox, TooLarge, errors


def alive(sandbox: Sandbox, word: str) -> bool:
    """Whether a program with this word among its arguments runs in the box."""
    # The brackets keep the search from finding itself.
    line = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -x '[{word[0]}]{word[1:]}'"
    return sandbox.run(line).ok


def wait_until_gone(sandbox: Sandbox, word: str) -> None:
    deadline = time.monotonic() + 10
    while alive(sandbox, word):
        assert time.monotonic() < deadline, f"{word} still runs"


def test_a_line_is_for_the_shell_and_a_list_is_not(sandbox: Sandbox) -> None:
    assert sandbox.run("echo one; echo two >&2; exit 3").exit_code == 3
    result = sandbox.run(["echo", "a b", "$HOME", "*", "ü"])
    assert (result.stdout, result.stderr, result.exit_code) == ("a b $HOME * ü\n", "", 0)
    assert result.ok and not result.timed_out and result.signal is None and 0 <= result.duration < 30


def test_python_runs(sandbox: Sandbox) -> None:
    assert sandbox.run(["python3", "-c", "print(6 * 7)"], check=True).stdout == "42\n"


def test_environment_directory_and_user_are_as_asked_for(sandbox: Sandbox) -> None:
    sandbox.fs.make_dir("run/here")
    line = 'echo "$A $(pwd) $(id -un)"'
    assert sandbox.run(line, env={"A": "ü"}).stdout == "ü /workspace user\n"
    assert sandbox.run(line, cwd="run/here", user="root").stdout == " /workspace/run/here root\n"
    with pytest.raises(NotFound):
        sandbox.run("true", cwd="missing")


def test_a_variable_of_a_wrong_type_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(TypeError, match="env.*'A'"):
        sandbox.run("true", env={"A": 1})  # type: ignore[dict-item]


def test_input_reaches_the_program(sandbox: Sandbox) -> None:
    assert sandbox.run("cat", stdin="text ü").stdout == "text ü"
    blob = os.urandom(5_000_000)
    assert sandbox.run("cat", stdin=blob, encoding=None).stdout == blob
    assert sandbox.run("cat").stdout == "", "without input there is the end of it"
    assert sandbox.run("true", stdin=blob).ok, "a program need not read it"


def test_output_comes_as_it_is_written_and_on_this_thread(sandbox: Sandbox) -> None:
    seen: list[tuple[str, str, float]] = []
    thread = threading.get_ident()

    def heard(stream: str, text: str) -> None:
        assert threading.get_ident() == thread
        seen.append((stream, text, time.monotonic()))

    line = "echo out; sleep 0.4; echo err >&2; sleep 0.4; echo end"
    result = sandbox.run(line, on_stdout=lambda text: heard("out", text), on_stderr=lambda text: heard("err", text))
    assert [(stream, text) for stream, text, _ in seen] == [("out", "out\n"), ("err", "err\n"), ("out", "end\n")]
    assert seen[1][2] - seen[0][2] > 0.2 and seen[2][2] - seen[1][2] > 0.2
    assert (result.stdout, result.stderr) == ("out\nend\n", "err\n")


def test_a_character_that_is_cut_in_two_is_one(sandbox: Sandbox) -> None:
    pieces: list[str] = []
    result = sandbox.run(r"printf '\303'; sleep 0.2; printf '\274\377'", on_stdout=pieces.append)
    assert result.stdout == "".join(pieces) == "ü\ufffd"


def test_a_callback_may_use_the_box(sandbox: Sandbox) -> None:
    found: list[str] = []
    sandbox.run("echo x > made; echo made; sleep 0.1", on_stdout=lambda text: found.append(sandbox.fs.read_file("made")))
    assert found == ["x\n"]


def test_a_callback_that_fails_ends_the_program(sandbox: Sandbox) -> None:
    with pytest.raises(ZeroDivisionError):
        sandbox.run("echo; sleep 1001", on_stdout=lambda _: 1 / 0)
    wait_until_gone(sandbox, "1001")


def test_time_that_is_up_ends_the_whole_tree(sandbox: Sandbox) -> None:
    result = sandbox.run("echo begun; sleep 1002 & sleep 1002", timeout=0.5)
    assert result.timed_out and result.stdout == "begun\n" and not result.ok and result.duration < 10
    wait_until_gone(sandbox, "1002")


def test_ctrl_c_ends_the_program(sandbox: Sandbox) -> None:
    def interrupt(_: str) -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        sandbox.run("echo; sleep 1003", on_stdout=interrupt)
    wait_until_gone(sandbox, "1003")


def test_a_signal_is_told_from_an_exit(sandbox: Sandbox) -> None:
    result = sandbox.run("kill -9 $$")
    assert (result.signal, result.exit_code) == (9, 137)


def test_check_raises_with_all_that_is_known(sandbox: Sandbox) -> None:
    with pytest.raises(CommandFailed, match="exited with 4: last words") as caught:
        sandbox.run("echo out; echo first >&2; echo last words >&2; exit 4", check=True)
    assert caught.value.result.exit_code == 4 and caught.value.result.stdout == "out\n"
    with pytest.raises(CommandFailed, match="time was up"):
        sandbox.run("sleep 10", timeout=0.2, check=True)


def test_a_program_that_is_not_there_is_said(sandbox: Sandbox) -> None:
    with pytest.raises(NotFound, match="no-such-program"):
        sandbox.run(["no-such-program"])
    assert sandbox.run("no-such-program").exit_code == 127


def test_endless_output_does_not_fill_memory(sandbox: Sandbox) -> None:
    with pytest.raises(TooLarge, match="1000000 bytes"):
        sandbox.run("yes 1004", max_output=1_000_000)
    wait_until_gone(sandbox, "1004")


def test_much_output_comes_whole(sandbox: Sandbox) -> None:
    result = sandbox.run("head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2", encoding=None)
    assert result.stdout == result.stderr == bytes(20_000_000)


def test_a_running_program_is_spoken_with(sandbox: Sandbox) -> None:
    with sandbox.spawn("while read line; do echo got $line; done") as process:
        output = iter(process)
        process.send("one\n")
        assert next(output) == ("stdout", b"got one\n")
        process.send(b"two\n")
        assert next(output) == ("stdout", b"got two\n")
        result = process.wait()
        assert result.ok and process.pid > 0
        with pytest.raises(errors.ProcessNotFound):
            process.send("three\n")


def test_a_running_program_is_signalled(sandbox: Sandbox) -> None:
    with sandbox.spawn("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done") as process:
        assert next(iter(process)) == ("stdout", b"ready\n")
        process.terminate()
        result = process.wait()
        assert (result.stdout, result.exit_code) == (b"caught\n", 5)


def test_leaving_the_block_kills_the_program(sandbox: Sandbox) -> None:
    with sandbox.spawn(["sleep", "1005"]):
        assert alive(sandbox, "1005")
    wait_until_gone(sandbox, "1005")


def test_many_threads_share_a_box(sandbox: Sandbox) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: results.append(sandbox.run(f"echo {number}").stdout))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == sorted(f"{number}\n" for number in range(16))
