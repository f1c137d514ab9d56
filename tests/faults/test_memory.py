"""Workers with a limit of memory: results go to disk, tasks that want more fail and say so, workers live on."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil
import pytest

import bndl
from bndl.errors import OutOfMemory, TaskFailed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only"),
]

MEBIBYTE = 1 << 20
LIMIT = 256 * MEBIBYTE
TIMEOUT = 30.0


def take(mebibytes: int) -> int:
    return len(bytearray(mebibytes * MEBIBYTE))


def take_in_pieces(mebibytes: int) -> int:
    pieces = [bytes(10_000) for _ in range(mebibytes * 100)]
    return len(pieces)


def make(number: int) -> bytes:
    return bytes([number]) * (8 * MEBIBYTE)


def total(parts: list[bytes]) -> int:
    return sum(map(len, parts))


@pytest.mark.parametrize(("function", "left"), [(take, 100), (take_in_pieces, 20)])
def test_a_task_that_wants_too_much_fails_and_its_worker_lives_on(function: Callable[[int], int], left: int) -> None:
    """What was taken in small pieces is free again, but in pieces: the allocator gives little of it back."""
    with bndl.connect(workers=1, config=bndl.Config(memory_limit=LIMIT)) as ctx:
        ctx.await_workers(1)
        (worker,) = ctx.workers
        for _ in range(3):
            with pytest.raises(TaskFailed, match="more memory than its worker may have") as raised:
                ctx.submit(function, 2000).result(TIMEOUT)
            cause = raised.value.__cause__
            assert isinstance(cause, OutOfMemory)
            assert cause.limit_bytes == LIMIT
            assert len(raised.value.attempts) == 1
            assert ctx.submit(take, left).result(TIMEOUT) == left * MEBIBYTE
        assert worker.is_connected
        assert psutil.Process(worker.pid).memory_info().rss < 2 * LIMIT


def test_results_go_to_disk_before_a_task_fails() -> None:
    with bndl.connect(workers=1, config=bndl.Config(memory_limit=LIMIT)) as ctx:
        job = bndl.Job("many results")
        parts = job.stage(make, range(60))  # 480 MiB, kept on a worker that may have 256
        job.stage(total, parts.split(20))
        assert ctx.run(job) == [3 * 8 * MEBIBYTE] * 20
        assert ctx.worker_count == 1


def test_without_a_limit_there_is_none() -> None:
    with bndl.connect(workers=1) as ctx:
        assert ctx.submit(take, 600).result(TIMEOUT) == 600 * MEBIBYTE
