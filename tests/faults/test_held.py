"""A task lets no other thread of its worker run, for longer than the lease, while everybody talks to the worker."""

from __future__ import annotations

import ctypes
import itertools
import os
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

import bndl
from bndl.config import Config
from bndl.net.credits import BULK_CREDITS, CREDITS

pytestmark = pytest.mark.slow

TIMEOUT = 60.0
WORKERS = 3
#: Calls of each worker, by each of the drivers, and the size of each: more than there is room for on the way, the
#: buffers of sockets included.
AT_ONCE = 3000
LETTER = bytes(8000)
#: What is kept on the workers, and how many tasks need all of it.
PARTS = 30
SUMS = 600

#: Workers have room for what credits let two drivers and two other workers send, beside greetings, and for no more.
ROOM = 4 * (CREDITS + BULK_CREDITS) + 20
PATCH = f"""
import sys
if "bndl.execute" in sys.orig_argv:
    import bndl.net.zenoh
    bndl.net.zenoh._CHANNEL_MESSAGES = {ROOM}
"""


def hold_the_lock(seconds: int) -> None:
    """Sleep without letting any other thread of this process run Python code."""
    ctypes.PyDLL(None).sleep(seconds)


def keep(number: int) -> bytes:
    return bytes([number]) * 1000


def add(parts: list[bytes]) -> int:
    return sum(part[0] for part in parts)


def call_all(ctx: bndl.Context, count: int) -> list[Future[int]]:
    return [worker.execute(len, LETTER) for _ in range(count) for worker in ctx.workers]


def hold_amid_traffic(config: Config, secret_file: Path, seconds: int) -> None:
    """Two drivers call all workers, and workers fetch from each other, while one of them takes nothing."""
    secret_file.write_text("sesame-5f2c\n")
    secret_file.chmod(0o600)
    listen = ["tcp/127.0.0.1:0"]
    with (
        bndl.connect(
            workers=WORKERS, concurrency=40, listen=listen, secret_file=secret_file, progress=False, config=config
        ) as one,
        bndl.connect(seeds=one.addresses, secret_file=secret_file, progress=False, config=config) as other,
    ):
        assert [ctx.await_workers(WORKERS) for ctx in (one, other)] == [WORKERS, WORKERS]
        workers = one.workers + other.workers
        job = bndl.Job("traffic")
        parts = job.stage(keep, range(PARTS))
        sums = job.stage(add, [parts.results] * SUMS)
        tasks = one.execute(job, ordered=False)
        list(itertools.islice(tasks, PARTS))
        held = other.workers[0].execute(hold_the_lock, seconds)
        start = time.monotonic()
        calls = call_all(one, AT_ONCE) + call_all(other, AT_ONCE)
        while not held.done():
            calls += call_all(one, 10) + call_all(other, 10)
            time.sleep(0.05)
        assert held.exception(TIMEOUT) is None
        assert time.monotonic() - start >= seconds
        assert {call.result(TIMEOUT) for call in calls} == {len(LETTER)}
        list(tasks)
        assert {task.result for task in sums.tasks} == {sum(range(PARTS))}
        assert all(worker.is_connected for worker in workers)  # all the time: one that comes back is another peer


@pytest.mark.timeout(300)
@pytest.mark.skipif("BNDL_LONG" not in os.environ, reason="make test-long")
def test_a_worker_is_held_for_a_minute(tmp_path: Path) -> None:
    hold_amid_traffic(Config(), tmp_path / "secret", 60)


@pytest.mark.timeout(120)
def test_a_held_worker_is_sent_no_more_than_it_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(PATCH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    hold_amid_traffic(Config(lease=1.5), tmp_path / "secret", 6)
