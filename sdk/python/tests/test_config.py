"""Where the server is: from arguments, else from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripted import scripted_server
from sealos_devbox import AuthenticationError, ConfigError, Devbox, DevboxConfig, errors


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVBOX_URL", "DEVBOX_API_KEY", "DEVBOX_API_KEY_FILE", "DEVBOX_CA_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_not_given_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, object]:
        seen.append({name.lower(): value for name, value in headers.items()}.get("authorization"))
        return 200, {"templates": []}

    with scripted_server(answer) as url:
        monkeypatch.setenv("DEVBOX_URL", url)
        monkeypatch.setenv("DEVBOX_API_KEY", "from-environment")
        assert Devbox().templates() == ()
        assert Devbox(DevboxConfig(api_key="given")).templates() == ()
        (tmp_path / "key").write_text("from-file\n")
        monkeypatch.setenv("DEVBOX_API_KEY_FILE", str(tmp_path / "key"))
        assert Devbox().templates() == ()
        monkeypatch.delenv("DEVBOX_API_KEY")
        assert Devbox().templates() == ()
    assert seen == ["Bearer from-environment", "Bearer given", "Bearer from-environment", "Bearer from-file"]


def test_a_key_file_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVBOX_API_KEY_FILE", "/no/such/key")
    with pytest.raises(FileNotFoundError, match="/no/such/key"):
        Devbox()


def test_without_a_key_it_is_said_where_one_is_found() -> None:
    with pytest.raises(AuthenticationError, match="first.key"):
        Devbox()


def test_the_address_defaults_to_where_serve_listens() -> None:
    assert Devbox(DevboxConfig(api_key="key")).api_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1", "http://", "http://host:99999"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        Devbox(DevboxConfig(api_key="key", api_url=url))


def test_a_certificate_file_that_is_missing_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="nowhere.pem"):
        Devbox(DevboxConfig(api_key="key", api_url="https://127.0.0.1", ca_file="/nowhere.pem"))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(errors.InvalidRequest, match="connect_timeout"):
        Devbox(DevboxConfig(api_key="key", connect_timeout=seconds))


def test_the_key_does_not_show() -> None:
    config = DevboxConfig(api_key="secret-key")
    assert "secret-key" not in repr(config) and "secret-key" not in repr(Devbox(config))


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(AuthenticationError) as caught:
        Devbox(DevboxConfig(api_key="secret\r\nX: y"))
    assert "secret" not in str(caught.value)
