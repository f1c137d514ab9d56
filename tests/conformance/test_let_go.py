"""When a user lets go, bndl lets go: of every kind of value, in driver and workers, without the collector."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import TaskFailed

pytestmark = pytest.mark.slow

TIMEOUT = 30


class Probe:
    """Can be watched, in each process."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        if not hasattr(sys, "bndl_probes"):
            sys.bndl_probes = weakref.WeakSet()  # type: ignore[attr-defined]
        sys.bndl_probes.add(self)  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[Any, ...]:
        return Probe, (self.number,)

    def method(self, other: int = 0) -> int:
        return self.number + other


class ProbeError(Exception):
    def __init__(self, probe: Probe) -> None:
        super().__init__("with a probe")
        self.probe = probe

    def __reduce__(self) -> tuple[Any, ...]:
        return ProbeError, (self.probe,)


def count_probes(_: int = 0) -> int:
    import sys  # noqa: PLC0415 - of the worker

    return len(getattr(sys, "bndl_probes", ()))


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, progress=False) as context:
        context.await_workers(1)
        yield context


def await_none(count: Callable[[], int]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while count():
        if time.monotonic() > deadline:
            holders = [gc.get_referrers(each) for each in getattr(sys, "bndl_probes", ())]
            pytest.fail(f"{count()} are kept: {holders!r:.3000}")
        threading.Event().wait(0.01)


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    """After the test no probe is left, although no collection of garbage ran."""
    gc.collect()
    gc.disable()
    try:
        yield shared
        await_none(count_probes)
        await_none(lambda: shared.workers[0].execute(count_probes).result(TIMEOUT))
    finally:
        gc.enable()


def test_what_a_submitted_call_brings(ctx: bndl.Context) -> None:
    """As ``test_no_stale_references`` of CPython's executors."""
    for future in (
        ctx.submit(Probe(1).method),
        ctx.submit(Probe.method, Probe(1)),
        ctx.submit(lambda: Probe(1).number),
    ):
        assert future.result(TIMEOUT) == 1
        del future
    ctx.submit(Probe(1).method)


def test_what_a_submitted_call_returns(ctx: bndl.Context) -> None:
    future = ctx.submit(Probe, 3)
    assert future.result(TIMEOUT).number == 3
    del future
    ctx.submit(Probe, 4)


@pytest.mark.parametrize("ordered", [True, False])
def test_functions_items_and_results_of_a_map(ctx: bndl.Context, *, ordered: bool) -> None:
    probe = Probe(1)
    assert list(ctx.map(lambda number: probe.number + number, range(3), ordered=ordered)) == [1, 2, 3]  # noqa: F821 - deleted after it
    del probe
    for result in ctx.map(lambda each: Probe(each.number), (Probe(number) for number in range(20)), ordered=ordered):
        assert count_probes() == 1, "items or results are kept"
        del result


def test_an_iterator_that_is_let_go_of(ctx: bndl.Context) -> None:
    results = ctx.map(Probe, range(100))
    next(results)
    gone = weakref.ref(results)
    del results
    assert gone() is None
    results = ctx.map(lambda probe: probe, (Probe(number) for number in range(100)))
    next(results)
    results.close()
    del results
    job = bndl.Job("left")
    job.stage(Probe, range(100))
    tasks = ctx.execute(job)
    next(tasks)
    del tasks, job


def test_a_job_with_its_function_items_results_and_kept_results(ctx: bndl.Context) -> None:
    probe = Probe(1)
    job = bndl.Job("all kinds")
    first = job.stage(lambda each: Probe(each.number + probe.number), [Probe(1), Probe(2)])  # noqa: F821 - deleted after it
    job.stage(lambda probes: probes[0], first.split(1))
    (result,) = ctx.run(job)
    assert result.number == 2
    gone = weakref.ref(job)
    del probe, first, job, result

    def is_there() -> bool:
        gc.collect()  # a job and its stages know each other
        return gone() is not None

    await_none(is_there)


def fail_with(number: int) -> None:
    raise ProbeError(Probe(number))


def test_exceptions(ctx: bndl.Context) -> None:
    with pytest.raises(TaskFailed):
        ctx.submit(fail_with, 1).result(TIMEOUT)
    with pytest.raises(TaskFailed):
        list(ctx.map(fail_with, [1, 2]))
    with contextlib.suppress(TaskFailed):
        ctx.workers[0].execute(fail_with, 1).result(TIMEOUT)
    gc.collect()  # an exception and the frames that it went through know each other


def test_a_broadcast_is_released_with_its_last_reference(ctx: bndl.Context) -> None:
    store = ctx._node.driver._store  # noqa: SLF001 - nothing else shows what is kept
    before = len(store)
    table = ctx.broadcast(Probe(5))
    assert list(ctx.map(lambda number: table.value.number + number, range(3))) == [5, 6, 7]  # noqa: F821 - deleted after it
    assert ctx.workers[0].execute(count_probes).result(TIMEOUT) == 1
    gone = weakref.ref(table)
    del table
    await_none(lambda: gone() is not None)
    await_none(lambda: len(store) - before)


def test_a_broadcast_lives_as_long_as_tasks_that_refer_to_it(ctx: bndl.Context) -> None:
    def run(number: int) -> Iterator[int]:
        table = ctx.broadcast(Probe(number))
        return ctx.map(lambda each: table.value.number + each, range(100))

    assert list(run(5)) == list(range(5, 105))
    assert list(ctx.map(lambda each: each.value.number, (ctx.broadcast(Probe(number)) for number in range(9)))) == [
        *range(9)
    ]
    futures = [
        ctx.submit(lambda shared, _: shared.value.number, ctx.broadcast(Probe(number)), 0) for number in range(9)
    ]
    assert [future.result(TIMEOUT) for future in futures] == list(range(9))
    nested = ctx.broadcast([ctx.broadcast(Probe(7))])
    assert ctx.submit(lambda: nested.value[0].value.number).result(TIMEOUT) == 7  # noqa: F821 - deleted after it
    job = bndl.Job("shared")
    job.stage(lambda each: each.value.number, [ctx.broadcast(Probe(number)) for number in range(3)])
    assert ctx.run(job) == [0, 1, 2]
    assert ctx.workers[0].execute(lambda each: each.value.number, ctx.broadcast(Probe(8))).result(TIMEOUT) == 8
    del job, nested, futures
    gc.collect()


def test_an_accumulator(ctx: bndl.Context) -> None:
    seen = ctx.accumulator([Probe(0)], lambda one, other: one + other)
    list(ctx.map(lambda number: seen.add([Probe(number)]), range(3)))  # noqa: F821 - deleted after it
    assert len(seen.value) == 4
    gone = weakref.ref(seen)
    del seen
    assert gone() is None
    for _ in range(3):
        unread = ctx.accumulator(0)
        list(ctx.map(unread.add, range(3)))
        del unread
    sharing = ctx._node.driver.sharing  # noqa: SLF001 - nothing else shows what is kept
    assert not sharing._accumulators  # noqa: SLF001


def test_futures_and_their_callbacks(ctx: bndl.Context) -> None:
    called = threading.Event()
    probe = Probe(1)
    future = ctx.submit(abs, -1)
    future.add_done_callback(lambda _, probe=probe: called.set() if probe else None)  # type: ignore[misc]
    assert called.wait(TIMEOUT)
    assert future.result(TIMEOUT) == 1
    gone = weakref.ref(future)
    del future, probe
    await_none(lambda: gone() is not None)


@pytest.mark.usefixtures("ctx")
def test_a_context_that_was_stopped() -> None:
    other = bndl.connect(workers=1, progress=False)
    table = other.broadcast(Probe(1))
    seen = other.accumulator([Probe(0)], lambda one, two: one + two)
    assert list(other.map(lambda number: table.value.number + number, range(3))) == [1, 2, 3]  # noqa: F821 - deleted after it
    future = other.submit(seen.add, [Probe(4)])
    assert future.result(TIMEOUT) is None
    store = weakref.ref(other._node.driver._store)  # noqa: SLF001 - nothing else shows what is kept
    other.stop()
    gone = weakref.ref(other)
    assert len(store() or ()) == 0, "broadcasts stay after the end"
    del other, table, seen, future

    def is_there() -> bool:
        gc.collect()  # the parts of a driver know each other
        return gone() is not None or store() is not None

    await_none(is_there)
