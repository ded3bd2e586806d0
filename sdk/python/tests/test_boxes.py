"""Making, finding, stopping and deleting boxes."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sealos_devbox import (
    AuthenticationError,
    Devbox,
    DevboxConfig,
    DevboxNotFound,
    NotRunning,
    RuntimeNotFound,
    Sandbox,
    errors,
)
from server import LiveServer


def test_a_box_is_what_was_asked_for(devbox: Devbox) -> None:
    name = f"box-{secrets.token_hex(4)}"
    env, labels = {"GREETING": "hello ü"}, {"team": "red", "test": name}
    with devbox.create(name=name, language="python", env=env, labels=labels, memory=256 << 20, pids=64) as sandbox:
        assert (sandbox.name, sandbox.labels, sandbox.state) == (name, labels, "running")
        assert sandbox.workdir == "/workspace" and sandbox.runtime and "python" in sandbox.runtime
        assert abs(datetime.now(timezone.utc) - sandbox.created) < timedelta(minutes=5)
        assert sandbox.run('printf %s "$GREETING"').stdout == "hello ü"
        assert devbox.get(name).id == devbox.get(sandbox.id).id == sandbox.id
        assert [found.id for found in devbox.list(labels={"test": name})] == [sandbox.id]
        assert devbox.list(labels={"test": name, "team": "blue"}) == []
        with pytest.raises(errors.Exists):
            devbox.create(name=name)
    with pytest.raises(DevboxNotFound):
        devbox.get(name)


def test_the_end_of_the_block_deletes_the_box(devbox: Devbox) -> None:
    with pytest.raises(ZeroDivisionError):
        with devbox.create() as sandbox:
            raise ZeroDivisionError
    with pytest.raises(DevboxNotFound):
        sandbox.refresh()
    with devbox.create() as sandbox:
        sandbox.delete()
    with pytest.raises(LookupError):
        sandbox.fs.read_file("a")


def test_a_stopped_box_keeps_its_files(devbox: Devbox) -> None:
    with devbox.create() as sandbox:
        sandbox.fs.write_file("kept", "content")
        assert sandbox.stop().state == "stopped"
        assert devbox.get(sandbox.id).state == "stopped"
        with pytest.raises(NotRunning) as caught:
            sandbox.run("true")
        assert caught.value.hint
        assert sandbox.start().state == "running"
        assert sandbox.fs.read_file("kept") == "content"


def test_templates_say_what_they_provide(devbox: Devbox) -> None:
    templates = devbox.templates()
    assert any(runtime.startswith("python:3") for template in templates for runtime in template.runtimes)
    assert all(template.workdir.startswith("/") for template in templates)
    with devbox.create(template=templates[0].name) as sandbox:
        assert sandbox.template == templates[0].name


def test_a_runtime_that_nothing_provides_is_said(devbox: Devbox) -> None:
    with pytest.raises(RuntimeNotFound) as caught:
        devbox.create(runtime="cobol:1.0")
    assert "cobol" in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("name", ["UPPER", "-a", "a" * 64, "a b", ""])
def test_a_name_that_is_none_is_refused(devbox: Devbox, name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        devbox.create(name=name)


@pytest.mark.parametrize("options", [{"memory": "2GiB"}, {"pids": 1.5}, {"env": {"A": 1}}, {"labels": {1: "a"}}])
def test_values_of_a_wrong_type_are_named(devbox: Devbox, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(TypeError, match=name):
        devbox.create(**options)


def test_memory_is_at_least_something(devbox: Devbox) -> None:
    with pytest.raises(errors.InvalidRequest, match="memory"):
        devbox.create(memory=-1)


def test_a_wrong_key_is_refused(server: LiveServer) -> None:
    with pytest.raises(AuthenticationError) as caught:
        Devbox(DevboxConfig(api_url=server.url, api_key="wrong-key")).list()
    assert caught.value.hint and "DEVBOX_API_KEY" in caught.value.hint


def test_a_box_that_is_not_there_is_said(devbox: Devbox) -> None:
    for reference in ("abcdefghijklmnop", "no-such-name"):
        with pytest.raises(DevboxNotFound):
            devbox.get(reference)


def test_boxes_do_not_see_each_other(devbox: Devbox, sandbox: Sandbox) -> None:
    with devbox.create() as other:
        sandbox.fs.write_file("/workspace/mine", "x")
        assert not other.fs.exists("/workspace/mine")
