"""Workers look for modules where the process that started them does, and where their tasks said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bndl.cluster.search_path import SearchPath, read_search_path
from bndl.execute import search_path
from bndl.net.memory import VirtualTime
from bndl.net.messages import LookIn, Message


def test_relative_entries_are_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib/../more", "/usr/x.zip", None])
    assert read_search_path() == (str(tmp_path), str(tmp_path / "more"), "/usr/x.zip")
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert read_search_path() == ("/usr/x.zip",)


class Told:
    """What local workers are told."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.sent: list[tuple[str, Message]] = []
        self.local = ["a", "b"]
        self.path = SearchPath(self.time, lambda *sent: self.sent.append(sent), lambda: self.local)

    def take(self) -> list[tuple[str, Message]]:
        self.time.run_until(self.time.now())
        sent, self.sent = self.sent, []
        return sent


def test_local_workers_are_told_of_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "/x"])
    told = Told()
    told.path.follow()
    told.path.worker_joined("a")
    assert told.take() == []
    monkeypatch.chdir(tmp_path)
    told.path.follow()
    told.path.follow()
    message = LookIn((str(tmp_path), "/x"))
    assert told.take() == [("a", message), ("b", message)]
    sys.path.append("/y")
    told.path.follow()
    message = LookIn((str(tmp_path), "/x", "/y"))
    assert told.take() == [("a", message), ("b", message)]
    told.local.append("c")
    told.path.worker_joined("c")
    told.path.worker_joined("of another driver")
    assert told.take() == [("c", message)]


def test_what_tasks_added_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_path, "_given", [])
    monkeypatch.setattr(sys, "path", ["/a", "/b"])
    search_path.take_over(["/a", "/b"])
    assert sys.path == ["/a", "/b"]
    sys.path.insert(0, "/own")
    search_path.take_over(["/c", "/a"])
    assert sys.path == ["/c", "/a", "/own"]
