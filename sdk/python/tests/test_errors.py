"""Every condition has its class, and every class is what Python programmers catch."""

from __future__ import annotations

import errno
import pickle

import pytest

from scripted import problem, scripted_server
from sealos_devbox import Devbox, DevboxConfig, DevboxError, Result, _native, errors

CODES = [code for code, _ in _native.error_codes()]


def make(code: str) -> DevboxError:
    return errors.from_problem(code, "it failed", "/a", "do this", True, "request-1", ("x",))


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_api_has_a_class_of_its_own(code: str) -> None:
    assert errors.CLASS_OF_CODE[code].default_code == code
    assert type(make(code)) is not DevboxError


def test_a_code_of_a_newer_server_is_a_plain_error() -> None:
    error = make("not_invented_yet")
    assert type(error) is DevboxError and error.code == "not_invented_yet"


@pytest.mark.parametrize("code", CODES)
def test_every_error_keeps_all_that_is_known(code: str) -> None:
    for error in (make(code), pickle.loads(pickle.dumps(make(code)))):
        assert (error.code, error.detail, error.path, error.hint) == (code, "it failed", "/a", "do this")
        assert (error.retryable, error.request_id, error.conflicts) == (True, "request-1", ("x",))
        where = " (request request-1)" if isinstance(error, errors.ServerError) else ""
        assert str(error) == "it failed: /a [x] (hint: do this)" + where
        if isinstance(error, OSError):
            assert error.filename == "/a" and error.errno == errors.CLASS_OF_CODE[code].default_errno


@pytest.mark.parametrize(
    ("code", "builtin", "number"),
    [
        ("not_found", FileNotFoundError, errno.ENOENT),
        ("exists", FileExistsError, errno.EEXIST),
        ("is_a_directory", IsADirectoryError, errno.EISDIR),
        ("not_a_directory", NotADirectoryError, errno.ENOTDIR),
        ("permission_denied", PermissionError, errno.EACCES),
        ("path_escapes", PermissionError, errno.EACCES),
        ("process_not_found", ProcessLookupError, errno.ESRCH),
        ("timeout", TimeoutError, errno.ETIMEDOUT),
        ("no_space", OSError, errno.ENOSPC),
        ("directory_not_empty", OSError, errno.ENOTEMPTY),
    ],
)
def test_errors_are_the_built_in_ones_too(code: str, builtin: type[OSError], number: int) -> None:
    error = make(code)
    assert isinstance(error, builtin) and error.errno == number


def test_a_failed_command_keeps_its_result_in_a_pickle() -> None:
    result = Result(3, "out", "err", None, False, 0.5)
    error = pickle.loads(pickle.dumps(errors.CommandFailed("'x' exited with 3", result=result)))
    assert error.result == result and error.code == "command_failed"


@pytest.mark.parametrize("code", ["devbox_not_found", "forbidden", "quota_exceeded"])
def test_a_problem_on_the_wire_becomes_its_exception(code: str) -> None:
    answer = problem(code, 403, path="/workspace/ü", hint="ask", request_id="request-9", conflicts=["/b"])
    with scripted_server(lambda *_: answer) as url:
        with pytest.raises(errors.CLASS_OF_CODE[code]) as caught:
            Devbox(DevboxConfig(api_key="key", api_url=url)).templates()
    error = caught.value
    assert (error.path, error.hint, error.request_id) == ("/workspace/ü", "ask", "request-9")
    assert error.conflicts == ("/b",)


def test_no_server_is_a_connection_error_that_says_where_and_what_to_do() -> None:
    devbox = Devbox(DevboxConfig(api_key="key", api_url="http://127.0.0.1:1"))
    with pytest.raises(ConnectionError) as caught:
        devbox.list()
    assert isinstance(caught.value, errors.ConnectionFailed)
    assert "127.0.0.1:1" in str(caught.value) and "devbox serve" in str(caught.value)


def test_an_answer_that_is_no_answer_of_ours_is_an_error() -> None:
    with scripted_server(lambda *_: (200, ["something", "else"])) as url:
        with pytest.raises(DevboxError):
            Devbox(DevboxConfig(api_key="key", api_url=url)).templates()
