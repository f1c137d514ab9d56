"""Threads that the system refuses to start."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bndl.net.rejoin import Rejoiner
from bndl.threads import AGAIN, run_beside, try_start

TIMEOUT = 20.0


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_is_refused_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert try_start(int, "name") is None


def test_a_call_is_made_as_soon_as_there_is_room_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, Callable[[], object]]] = []
    called = threading.Event()
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        run_beside(called.set, lambda delay, again: asked.append((delay, again)))
        asked[0][1]()
    assert [delay for delay, _ in asked] == [AGAIN] * 2
    assert not called.is_set()
    asked[1][1]()
    assert called.wait(TIMEOUT)
    assert len(asked) == 2


def test_lost_nodes_are_looked_for_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rejoiner = Rejoiner(lambda _: None, 60.0, "rejoin")
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        rejoiner.lost("one", ["tcp/127.0.0.1:1"])
        rejoiner.close(0.1)
    rejoiner = Rejoiner(lambda _: None, 60.0, "rejoin-again")
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        rejoiner.lost("one", ["tcp/127.0.0.1:1"])
    rejoiner.lost("other", ["tcp/127.0.0.1:1"])
    assert rejoiner.is_lost("one")
    assert "rejoin-again" in {thread.name for thread in threading.enumerate()}
    rejoiner.close(TIMEOUT)
    assert "rejoin-again" not in {thread.name for thread in threading.enumerate()}
