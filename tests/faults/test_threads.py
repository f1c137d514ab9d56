"""A machine that has no room for another thread: the driver gets an error, or goes on, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import bndl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TIMEOUT = 30.0


class Room:
    """How many threads may still be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1000
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if self.left <= 0:
                raise RuntimeError("can't start new thread")
            self.left -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    room = Room(monkeypatch)
    yield room
    room.left = 1000


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("bndl-")}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_connecting_fails_clearly_and_leaves_nothing_whichever_thread_is_refused(room: Room) -> None:
    with bndl.connect(workers=1, progress=False) as ctx:
        ctx.await_workers(1)
    before, files = own_threads(), descriptors()
    for number in range(100):
        room.left = number
        try:
            ctx = bndl.connect(workers=1, progress=False)
        except bndl.errors.ClusterError as error:
            text = str(error)
        else:
            room.left = 1000
            ctx.stop()
            break
        finally:
            room.left = 1000
        assert "thread" in text
        assert own_threads() == before, number
    assert number >= 6
    assert descriptors() <= files + 2
    children = psutil.Process().children()
    psutil.wait_procs(children, TIMEOUT)
    assert not [child for child in children if child.is_running() and "bndl.execute" in child.cmdline()]


def test_a_lost_worker_is_noticed_and_replaced_without_a_thread_more(room: Room) -> None:
    with bndl.connect(workers=2, progress=False) as ctx:
        ctx.await_workers(2)
        room.left = 0
        lost = ctx.workers[0]
        os.kill(lost.pid, signal.SIGKILL)
        deadline = time.monotonic() + TIMEOUT
        while lost.name in {worker.name for worker in ctx.workers} or ctx.worker_count < 2:
            assert time.monotonic() < deadline, ctx.workers
            time.sleep(0.01)
        assert list(ctx.map(abs, range(-10, 0))) == list(range(10, 0, -1))


def test_waking_a_supervisor_that_has_ended_writes_into_no_other_file(tmp_path: Path) -> None:
    ctx = bndl.connect(workers=1, progress=False)
    ctx.await_workers(1)
    supervisor = ctx._node._supervisor  # noqa: SLF001 - nothing else could wake it now
    assert supervisor is not None
    ctx.stop()
    files = [(tmp_path / str(number)).open("wb") for number in range(50)]
    supervisor.stop()
    supervisor._wake()  # noqa: SLF001
    for file in files:
        file.close()
        assert Path(file.name).stat().st_size == 0
