"""Files that decide whose code runs here: opened once, judged and read through one descriptor."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bndl.cli.main import app
from bndl.config import Config
from bndl.configure import configure
from bndl.errors import InvalidOption, InvalidSetting
from bndl.net.credentials import Credentials, find_credentials, require_credentials
from bndl.trusted import read_file

OTHERS = [(0o020, "can be written by its group"), (0o002, "can be written by all users")]


def read_lease(folder: Path, **environment: str) -> float:
    return configure(environment={"HOME": str(folder / "home"), **environment}, folder=folder).config.lease


@pytest.mark.parametrize("touch", [1, 2, 3, 4])
def test_a_file_that_is_swapped_while_it_is_looked_at_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, touch: int
) -> None:
    path, other = tmp_path / "bndl.toml", tmp_path / "other"
    path.write_text("lease = 7.0\n")
    other.write_text("lease = 9.0\n")
    other.chmod(0o666)
    touches = 0

    def watch(call: Callable[..., object]) -> Callable[..., object]:
        def call_and_swap(*args: object, **kwargs: object) -> object:
            nonlocal touches
            result = call(*args, **kwargs)
            touches += args[0] == path
            if touches == touch and args[0] == path:
                other.replace(path)
            return result

        return call_and_swap

    for name in ("open", "stat", "lstat"):
        monkeypatch.setattr(os, name, watch(getattr(os, name)))
    monkeypatch.setattr(io, "open", watch(io.open))  # as pathlib reads
    assert read_lease(tmp_path) == 7.0
    assert touches


def test_a_folder_of_credentials_that_is_swapped_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        app(["cluster", "init", str(tmp_path / name)], standalone_mode=False)
    named, other, gone = tmp_path / "one" / "node", tmp_path / "two" / "node", tmp_path / "gone"
    expected = find_credentials(Config(credentials=str(named)))
    opened = os.open

    def open_and_swap(path: str | Path, *args: int, **kwargs: Any) -> int:
        descriptor = opened(path, *args, **kwargs)
        if str(path).endswith("ca.pem") and not gone.exists():
            named.rename(gone)
            other.rename(named)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_swap)
    assert find_credentials(Config(credentials=str(named))) == expected
    assert gone.exists()


@pytest.mark.parametrize(("mode", "text"), OTHERS)
def test_settings_that_others_can_write_are_refused(tmp_path: Path, mode: int, text: str) -> None:
    path = tmp_path / "bndl.toml"
    path.write_text("lease = 7.0\n")
    path.chmod(0o644 | mode)
    with pytest.raises(InvalidSetting, match=f"{text}, so it is not trusted") as raised:
        read_lease(tmp_path)
    assert raised.value.where == str(path)


def test_the_users_own_settings_are_judged_too_and_may_be_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept.toml"
    kept.write_text("lease = 7.0\n")
    folder = tmp_path / "home" / ".config" / "bndl"
    folder.mkdir(parents=True)
    (folder / "bndl.toml").symlink_to(kept)
    assert read_lease(tmp_path) == 7.0
    kept.chmod(0o664)
    with pytest.raises(InvalidSetting, match="is not trusted"):
        read_lease(tmp_path)


def test_settings_of_a_project_are_no_link(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.write_text("lease = 9.0\n")
    (tmp_path / "bndl.toml").symlink_to(other)
    with pytest.raises(InvalidSetting, match="is a symbolic link"):
        read_lease(tmp_path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_passed_over_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "bndl.toml").write_text("lease = 7.0\n")
    (tmp_path / "below").mkdir()
    make(tmp_path / "below" / "bndl.toml")
    assert read_lease(tmp_path / "below") == 7.0


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME"])
def test_a_folder_of_settings_that_is_not_absolute_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for folder in ("bndl", ".config/bndl"):
        (tmp_path / "here" / folder).mkdir(parents=True)
        (tmp_path / "here" / folder / "bndl.toml").write_text("lease = 9.0\n")
    monkeypatch.chdir(tmp_path / "here")
    assert configure(environment={"HOME": str(tmp_path), name: "."}).config.lease == Config().lease


def secret_in(tmp_path: Path) -> tuple[Path, Config]:
    path = tmp_path / "secret"
    path.write_text("sesame\n")
    path.chmod(0o600)
    return path, Config(secret_file=str(path))


@pytest.mark.parametrize(("mode", "text"), OTHERS)
@pytest.mark.parametrize("name", ["", "secret", "node.key", "node.pem", "ca.pem"])
def test_credentials_that_others_can_write_are_complained_of(
    tmp_path: Path, mode: int, text: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app(["cluster", "init", str(tmp_path)], standalone_mode=False)
    path = tmp_path / "node" / name
    path.chmod(stat.S_IMODE(path.stat().st_mode) | mode)
    require_credentials(Config(credentials=str(tmp_path / "node")))
    assert f"{path} {text}" in caplog.text


def test_a_secret_may_be_a_link_and_what_it_leads_to_is_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, config = secret_in(tmp_path)
    path.rename(tmp_path / "data")
    path.symlink_to(tmp_path / "data")  # as Kubernetes has it
    assert find_credentials(config) == Credentials("sesame")
    assert not caplog.text
    (tmp_path / "data").chmod(0o666)
    find_credentials(config)
    assert "can be written by all users" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["", "secret", "ca.pem"])
def test_credentials_of_another_user_are_complained_of(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app(["cluster", "init", str(tmp_path)], standalone_mode=False)
    os.chown(tmp_path / "node" / name, 12345, -1)
    find_credentials(Config(credentials=str(tmp_path / "node")))
    assert "belongs to another user" in caplog.text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_secret_that_is_no_file_is_told_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "secret")
    with pytest.raises(InvalidOption, match="cannot be read"):
        find_credentials(Config(secret_file=str(tmp_path / "secret")))


@pytest.mark.parametrize(("mode", "text"), OTHERS)
def test_keys_are_not_written_where_others_can_replace_them(tmp_path: Path, mode: int, text: str) -> None:
    tmp_path.chmod(0o700 | mode)
    with pytest.raises(InvalidOption, match=text):
        app(["cluster", "init", str(tmp_path)], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_keys_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "cluster", tmp_path / "elsewhere"
    folder.mkdir(mode=0o700)
    elsewhere.mkdir()
    (folder / "node").symlink_to(elsewhere)
    with pytest.raises(InvalidOption):
        app(["cluster", "init", str(folder)], standalone_mode=False)
    assert not list(elsewhere.iterdir())


def test_links_are_followed_only_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", follow_links=True).data == b"data"
    with pytest.raises(OSError, match="symbolic links"):
        read_file(tmp_path / "link")
