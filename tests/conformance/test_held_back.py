"""``map`` holds back by bytes: what is pulled and not taken is bounded, and what was taken is let go."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import bndl
from bndl.context import streams, waiting

pytestmark = pytest.mark.slow

TIMEOUT = 30
MIB = 1 << 20
#: How large the large ones are.
SIZE = MIB // 4


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    for module in (streams, waiting):
        monkeypatch.setattr(module, "MOST_MAPPED_BYTES", 8 * MIB)
    return 8 * MIB


class Items:
    """Endless, and counted."""

    def __init__(self, size: int) -> None:
        self.pulled = 0
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        for number in count():
            self.pulled += 1
            yield number.to_bytes(8, "big") * max(self.size // 8, 1)


class Value:
    """Something that can be watched."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.data = bytes(SIZE)


def large(_: bytes) -> bytes:
    return bytes(SIZE)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("size", "function"), [(SIZE, len), (8, large), (SIZE, large)])
def test_what_is_pulled_and_not_taken_is_bounded(
    ctx: bndl.Context, size: int, function: Callable[[bytes], object], limit: int, *, ordered: bool
) -> None:
    items = Items(size)
    results = ctx.map(function, items, ordered=ordered)
    for taken in range(1, 100):
        next(results)
        assert items.pulled - taken <= limit // SIZE + 16
    results.close()


def test_results_that_become_large_all_at_once_are_bounded(ctx: bndl.Context, limit: int) -> None:
    """When many small ones were pulled already: then nothing more of them is launched."""
    begin = threading.Event()
    results = ctx.map(lambda number: bytes(SIZE // 8 if number > 2000 else 1), range(10_000), ordered=False)
    for _ in range(1900):
        next(results)
    scheduler = ctx._node.driver._scheduler  # noqa: SLF001 - nothing else shows that nothing is launched any more
    mailbox: Any = results._results.gi_frame.f_locals["mapping"]._mailbox  # type: ignore[attr-defined]  # noqa: SLF001
    deadline = time.monotonic() + TIMEOUT
    while not mailbox._is_paused or any(worker.load for worker in list(scheduler.workers.values())):  # noqa: SLF001
        assert time.monotonic() < deadline, "it is not paused"
        begin.wait(0.001)
    everything = 8000 * SIZE // 8
    assert limit < mailbox._bytes < everything // 2  # noqa: SLF001 - what was launched before is done
    assert sum(1 for _ in results) == 8100


@pytest.mark.parametrize("ordered", [True, False])
def test_a_result_that_was_taken_is_not_kept(ctx: bndl.Context, *, ordered: bool) -> None:
    results = ctx.map(Value, range(12), ordered=ordered)
    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    for result in results:
        alive.add(result)
        del result
        gc.collect()
        assert not alive
    assert not alive


@pytest.mark.parametrize("kill", [False, True])
def test_the_result_that_is_waited_for_comes_although_too_much_waits(ctx: bndl.Context, *, kill: bool) -> None:
    """It fails, or is lost with its worker, while what comes after it fills the limit; then it is launched again."""

    def work(number: int) -> bytes:
        if number == 0 and bndl.current_task().attempt == 1:
            threading.Event().wait(0.7)
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("busy")
        return bytes(SIZE)

    results = ctx.map(work, range(200), attempts=2)
    assert sum(map(len, results)) == 200 * SIZE
    ctx.await_workers(2)
