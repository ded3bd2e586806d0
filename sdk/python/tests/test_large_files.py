"""Large files in pieces, and what cuts them off."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sealos_devbox import Conflict, Progress, Sandbox, errors

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(5 * MIB + 7))
    path.chmod(0o750)
    return path


def killed_at(done: int, transfer: Callable[[Callable[[Progress], object]], object]) -> None:
    """Makes a transfer in a process that dies, without another word, once so many bytes are done."""

    def die(progress: Progress) -> None:
        if progress.done_bytes >= done:
            os._exit(0)

    pid = os.fork()
    if pid == 0:
        try:
            transfer(die)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_large_file_goes_and_comes_back(sandbox: Sandbox, folder: str, large: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    entry = sandbox.fs.upload_large_file(large, f"{folder}/made/large.bin", told.append, chunk_size=2 * MIB)
    assert (entry.size, entry.mode) == (large.stat().st_size, 0o750)
    # On a slow machine there are more of them, while a piece is under way.
    assert list(dict.fromkeys(progress.done_bytes for progress in told)) == [0, 2 * MIB, 4 * MIB, entry.size]
    assert all(progress.done_bytes <= progress.sent_bytes <= progress.total_bytes for progress in told)
    assert (f"{told[0]}%", f"{told[-1]}%") == ("0%", "100%")
    assert all(progress < 100 for progress in told if progress.done_bytes < entry.size)
    assert sandbox.run(f"sha256sum {folder}/made/large.bin").stdout.split()[0] == digest(large)
    back = tmp_path / "back.bin"
    sandbox.fs.download_large_file(f"{folder}/made/large.bin", back, told.append)
    assert digest(back) == digest(large)
    assert back.stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.bin", "large.bin", "state"]


def test_an_upload_is_gone_on_with_after_a_restart_of_the_box(
    sandbox: Sandbox, folder: str, large: Path, state: Path
) -> None:
    target = f"{folder}/large.bin"
    killed_at(2 * MIB, lambda told: sandbox.fs.upload_large_file(large, target, told, chunk_size=MIB))
    assert not sandbox.fs.exists(f"{folder}/large.bin")
    sandbox.stop()
    sandbox.start()
    told: list[int] = []
    sandbox.fs.upload_large_file(large, f"{folder}/large.bin", lambda now: told.append(now.done_bytes), chunk_size=MIB)
    assert told[0] == 2 * MIB
    assert sandbox.run(f"sha256sum {folder}/large.bin").stdout.split()[0] == digest(large)
    assert not list(state.rglob("*.json"))


def test_another_version_of_the_source_is_begun_anew(sandbox: Sandbox, folder: str, large: Path) -> None:
    def change(progress: Progress) -> None:
        if progress.done_bytes == MIB:
            large.write_bytes(os.urandom(5 * MIB + 7))

    with pytest.raises(Conflict):
        sandbox.fs.upload_large_file(large, f"{folder}/large.bin", change, chunk_size=MIB)
    assert not sandbox.fs.exists(f"{folder}/large.bin")
    told: list[int] = []
    sandbox.fs.upload_large_file(large, f"{folder}/large.bin", lambda now: told.append(now.done_bytes), chunk_size=MIB)
    assert told[0] == 0
    assert sandbox.run(f"sha256sum {folder}/large.bin").stdout.split()[0] == digest(large)


def test_whoever_hears_of_progress_can_cancel(sandbox: Sandbox, folder: str, large: Path, state: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        sandbox.fs.upload_large_file(large, f"{folder}/large.bin", lambda now: 1 // 0, chunk_size=MIB)
    with pytest.raises(errors.Interrupted):
        sandbox.fs.upload_large_file(large, f"{folder}/large.bin", lambda now: False, chunk_size=MIB)
    assert not sandbox.fs.exists(f"{folder}/large.bin")
    assert not list(state.rglob("*.json"))
    assert sandbox.run(f"ls -A {folder}", check=True).stdout == ""


def test_ctrl_c_keeps_what_came_also_while_progress_is_told(sandbox: Sandbox, folder: str, large: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done_bytes >= 2 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.fs.upload_large_file(large, f"{folder}/large.bin", interrupt, chunk_size=MIB)
    told: list[int] = []
    sandbox.fs.upload_large_file(large, f"{folder}/large.bin", lambda now: told.append(now.done_bytes), chunk_size=MIB)
    assert told[0] >= 2 * MIB
    assert sandbox.run(f"sha256sum {folder}/large.bin").stdout.split()[0] == digest(large)


def test_a_cancelled_upload_takes_its_directories_back(sandbox: Sandbox, folder: str, large: Path) -> None:
    with pytest.raises(errors.Interrupted):
        sandbox.fs.upload_large_file(large, f"{folder}/made/deep/large.bin", lambda now: False, chunk_size=MIB)
    assert sandbox.run(f"ls -A {folder}", check=True).stdout == ""


def test_a_download_is_gone_on_with(sandbox: Sandbox, folder: str, large: Path, tmp_path: Path) -> None:
    sandbox.fs.upload_file(large, f"{folder}/large.bin")
    back = tmp_path / "back.bin"
    killed_at(MIB, lambda told: sandbox.fs.download_large_file(f"{folder}/large.bin", back, told))
    assert not back.exists()
    told: list[int] = []
    sandbox.fs.download_large_file(f"{folder}/large.bin", back, lambda now: told.append(now.done_bytes))
    assert told[0] >= MIB
    assert digest(back) == digest(large)


def test_of_a_changed_file_nothing_is_gone_on_with(sandbox: Sandbox, folder: str, large: Path, tmp_path: Path) -> None:
    sandbox.fs.upload_file(large, f"{folder}/large.bin")
    back = tmp_path / "back.bin"
    killed_at(MIB, lambda told: sandbox.fs.download_large_file(f"{folder}/large.bin", back, told))
    large.write_bytes(os.urandom(3 * MIB))
    sandbox.fs.upload_file(large, f"{folder}/large.bin")
    told: list[int] = []
    sandbox.fs.download_large_file(f"{folder}/large.bin", back, lambda now: told.append(now.done_bytes))
    assert told[0] == 0
    assert digest(back) == digest(large)
