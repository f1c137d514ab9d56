"""Whatever a task does to its process, wherever in its life: one error, and the context can be used afterwards."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import NotPicklable, RemoteException, RemoteTraceback, TaskFailed, WorkerLost

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 30
INNOCENT = 20

PLACES = ["unpickling the argument", "unpickling the function", "running", "pickling the result"]
RAISING = {"error": ValueError, "SystemExit": SystemExit}
DEADLY = {"os._exit": "exit code 3", "segfault": "SIGSEGV"}


def make_crash(kind: str) -> Callable[[], object]:
    """A function that crashes, but not in this process. It travels by value, so workers need not import this file."""
    here = os.getpid()

    def crash() -> object:
        if os.getpid() == here:
            return None
        if kind == "error":
            raise ValueError("bang")
        if kind == "SystemExit":
            sys.exit(3)
        if kind == "os._exit":
            os._exit(3)
        return ctypes.string_at(0)

    return crash


def make_mine(reduce: Callable[[], tuple[Callable[..., object], tuple[Any, ...]]]) -> object:
    """A value with its own way of being pickled. Its class does not travel."""

    class Mine:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
            return reduce()

    return Mine()


def make_crasher(kind: str, place: str) -> tuple[Callable[[Any], object], object]:
    """A function and its argument, to crash in the given way at the given place."""
    crash = make_crash(kind)
    mine = make_mine(lambda: (crash, ()))
    if place == "unpickling the argument":
        return lambda _: 1, mine
    if place == "unpickling the function":
        return lambda _: mine, 0
    if place == "running":
        return lambda _: crash(), 0

    def reduce() -> tuple[Callable[..., object], tuple[Any, ...]]:
        crash()
        return int, ()

    return lambda _: make_mine(reduce), 0


@pytest.fixture(
    scope="module",
    params=[(slots, place) for slots in (1, 2) for place in PLACES],
    ids=lambda param: f"{param[1]}, slots: {param[0]}",
)
def where(request: pytest.FixtureRequest) -> Iterator[tuple[bndl.Context, str]]:
    slots, place = request.param
    with bndl.connect(workers=2, concurrency=slots, progress=False) as context:
        context.await_workers(2)
        yield context, place


@pytest.mark.parametrize("kind", [*RAISING, *DEADLY])
def test_one_error_and_innocent_tasks_succeed(where: tuple[bndl.Context, str], kind: str) -> None:
    ctx, place = where
    function, argument = make_crasher(kind, place)
    innocent = [ctx.submit(pow, x, 2) for x in range(INNOCENT)]
    guilty = ctx.submit(function, argument)
    innocent += [ctx.submit(pow, x, 2) for x in range(INNOCENT)]
    check_error(guilty.exception(TIMEOUT), kind, place)
    assert [future.result(TIMEOUT) for future in innocent] == [x**2 for x in range(INNOCENT)] * 2
    check_usable(ctx)


# One of the deadly kinds: how a process ends makes no difference to a job, and each end takes a new worker.
@pytest.mark.parametrize("kind", [*RAISING, "segfault"])
def test_one_error_for_a_job(where: tuple[bndl.Context, str], kind: str) -> None:
    ctx, place = where
    function, argument = make_crasher(kind, place)
    job = bndl.Job("crash", attempts=1)
    job.stage(abs, [-1, -2], name="before")
    job.stage(function, [argument], name="crash")
    job.stage(abs, [-1, -2], name="after")
    with pytest.raises(TaskFailed) as caught:
        ctx.run(job)
    assert caught.value.task == "crash[0]"
    check_error(caught.value, kind, place)
    assert job.report().state == "failed"
    check_usable(ctx)


def check_usable(ctx: bndl.Context) -> None:
    assert list(ctx.map(lambda x: x + 1, range(INNOCENT))) == list(range(1, INNOCENT + 1))


def check_error(error: BaseException | None, kind: str, place: str) -> None:
    assert isinstance(error, TaskFailed)
    cause = error.__cause__
    if kind in DEADLY:
        assert isinstance(cause, WorkerLost)
        assert DEADLY[kind] in cause.reason
        assert DEADLY[kind] in str(error)
        # The first loss may not count: another task may have been what ended the worker.
        assert len(error.attempts) in {3, 4}
        assert {attempt.outcome for attempt in error.attempts} == {"lost"}
        return
    refused = (kind, place) == ("error", "pickling the result")
    assert type(cause) is (NotPicklable if refused else RAISING[kind])
    assert isinstance(cause.__cause__, RemoteTraceback)
    assert "crash" in str(error)
    assert len(error.attempts) == 1


# On the driver: an exception is one more error. What ends the process ends the user's program, see test_orphans.


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        yield context


@pytest.fixture(params=RAISING)
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


def make_trap(kind: str) -> Callable[[], object]:
    """A function that returns a value which crashes when it is unpickled in this process."""
    here = os.getpid()

    def crash() -> None:
        if os.getpid() == here:
            if kind == "error":
                raise ValueError("bang")
            sys.exit(3)

    return lambda: make_mine(lambda: (crash, ()))


def test_unpickling_the_result_on_the_driver(ctx: bndl.Context, kind: str) -> None:
    trap = make_trap(kind)
    future = ctx.submit(trap)
    innocent = ctx.submit(abs, -1)
    error = future.exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, RAISING[kind])
    assert "Return plain data" in str(error)
    with pytest.raises(TaskFailed):
        future.result(TIMEOUT)
    assert innocent.result(TIMEOUT) == 1
    results = ctx.map(lambda index: trap() if index == 2 else index, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(TaskFailed):
        next(results)
    job = bndl.Job("trap")
    job.stage(lambda _: trap(), [0])
    with pytest.raises(TaskFailed):
        ctx.run(job)
    check_usable(ctx)


def test_unpickling_the_result_of_a_call_on_the_driver(ctx: bndl.Context, kind: str) -> None:
    ctx.await_workers()
    error = ctx.workers[0].execute(make_trap(kind)).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, RAISING[kind])
    check_usable(ctx)


def test_functions_are_not_unpickled_on_the_driver(ctx: bndl.Context, kind: str) -> None:
    mine = make_trap(kind)()
    assert list(ctx.map(lambda _: mine, [0])) == [None]
    check_usable(ctx)


@pytest.mark.parametrize("where", ["worker", "driver"])
def test_unpickling_the_exception(ctx: bndl.Context, kind: str, where: str) -> None:
    crash = make_crash(kind) if where == "worker" else None
    trap = make_trap(kind)

    def fail() -> None:
        class Cruel(Exception):
            def __reduce__(self) -> tuple[Any, ...]:
                return (crash, ()) if crash is not None else (lambda value: value, (trap(),))

        raise Cruel("no way")

    error = ctx.submit(fail).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, RemoteException)
    assert "no way" in str(error)
    check_usable(ctx)
