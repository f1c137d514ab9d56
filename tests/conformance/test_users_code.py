"""What users wrote and bndl calls on the driver: whatever it does, others are not held up, and the context goes on."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import InvalidOption, ItemsFailed, RemoteException, TaskCancelled, TaskFailed

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    yield shared
    assert list(shared.map(lambda x: x + 1, range(50))) == list(range(1, 51))
    assert shared.submit(abs, -1).result(TIMEOUT) == 1


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def wait(seconds: float) -> bool:
    return threading.Event().wait(seconds)


# Callbacks


def test_a_callback_that_wants_to_end_the_program(ctx: bndl.Context, caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()

    def leave(_: object) -> None:
        called.set()
        raise SystemExit(1)

    for call in calls(ctx):
        future = call(wait, 0.3)
        future.add_done_callback(leave)
        assert future.result(TIMEOUT) is False
        assert called.wait(TIMEOUT)
        called.clear()
    assert "crashed" not in caplog.text


def test_a_callback_that_waits_for_other_calls(ctx: bndl.Context) -> None:
    results: list[int] = []
    done = threading.Event()

    def go_on(_: object) -> None:
        others = [ctx.submit(abs, -number) for number in range(10)]
        concurrent.futures.wait(others, TIMEOUT)
        results.extend(other.result(TIMEOUT) for other in others)
        results.extend(ctx.map(abs, range(3)))
        done.set()

    ctx.submit(wait, 0.3).add_done_callback(go_on)
    assert done.wait(TIMEOUT)
    assert results == [*range(10), *range(3)]


def test_callbacks_run_although_the_context_is_stopped() -> None:
    called: list[object] = []
    with bndl.connect(workers=1, progress=False) as context:
        futures = [context.submit(wait, TIMEOUT) for _ in range(3)]
        for future in futures:
            future.add_done_callback(called.append)
    assert sorted(called, key=id) == sorted(futures, key=id)


# Exceptions and results that are unpickled here


#: Lets those go on who unpickle a ``Blocking`` on the driver.
release = threading.Event()


class Harmful(Exception):
    """Can only be unpickled in other processes than the driver's."""

    def __init__(self, driver: int) -> None:
        super().__init__(driver)
        self.driver = driver


class Leaving(Harmful):
    def __reduce__(self) -> tuple[Any, ...]:
        return leave_driver, (self.driver,)


def leave_driver(driver: int) -> Any:
    if os.getpid() == driver:
        raise SystemExit(1)
    return Leaving(driver)


class Blocking(Harmful):
    def __reduce__(self) -> tuple[Any, ...]:
        return block_driver, (self.driver,)


def block_driver(driver: int) -> Any:
    if os.getpid() == driver:
        release.wait(TIMEOUT)
    return Blocking(driver)


def fail(kind: type[Harmful], driver: int) -> None:
    raise kind(driver)


def calls(ctx: bndl.Context) -> Iterable[Callable[..., concurrent.futures.Future[Any]]]:
    return ctx.submit, ctx.workers[0].execute


def test_an_exception_that_ends_who_unpickles_it(ctx: bndl.Context, caplog: pytest.LogCaptureFixture) -> None:
    for call in calls(ctx):
        error = call(fail, Leaving, os.getpid()).exception(TIMEOUT)
        assert isinstance(error, TaskFailed)
        assert isinstance(error.__cause__, RemoteException)
    driver = os.getpid()
    with pytest.raises(TaskFailed) as caught:
        list(ctx.map(lambda kind: fail(kind, driver), [Leaving]))
    assert isinstance(caught.value.__cause__, RemoteException)
    assert "crashed" not in caplog.text


def test_an_exception_that_blocks_who_unpickles_it(ctx: bndl.Context) -> None:
    for call in calls(ctx):
        release.clear()
        future = call(fail, Blocking, os.getpid())
        await_true(future.done)
        assert ctx.submit(abs, -1).result(TIMEOUT) == 1
        release.set()
        error = future.exception(TIMEOUT)
        assert isinstance(error, TaskFailed)
        assert isinstance(error.__cause__, Blocking)


def test_a_result_that_ends_or_blocks_who_unpickles_it(ctx: bndl.Context) -> None:
    for call in calls(ctx):
        release.clear()
        assert isinstance(call(Leaving, os.getpid()).exception(TIMEOUT), TaskFailed)
        future = call(Blocking, os.getpid())
        await_true(future.done)
        assert ctx.submit(abs, -1).result(TIMEOUT) == 1
        release.set()
        assert isinstance(future.result(TIMEOUT), Blocking)


def test_a_locality_that_wants_to_end_the_program(ctx: bndl.Context) -> None:
    def leave(_: object) -> Any:
        raise SystemExit(1)

    job = bndl.Job("leaving", locality=leave)
    job.stage(abs, [1])
    with pytest.raises(InvalidOption, match="SystemExit"):
        ctx.run(job)


class NoText(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


def test_items_that_raise_what_cannot_be_shown(ctx: bndl.Context) -> None:
    def items() -> Iterator[int]:
        yield -1
        raise NoText

    results = ctx.map(abs, items())
    assert next(results) == 1
    with pytest.raises(ItemsFailed, match="raised NoText: <NoText object whose str raises SystemExit>"):
        next(results)


class Unreadable(Blocking):
    def __reduce__(self) -> tuple[Any, ...]:
        return raise_no_text, (self.driver,)


def raise_no_text(driver: int) -> Any:
    if os.getpid() == driver:
        raise NoText
    return Unreadable(driver)


def test_a_result_whose_class_raises_what_cannot_be_shown(ctx: bndl.Context) -> None:
    for call in calls(ctx):
        error = call(Unreadable, os.getpid()).exception(TIMEOUT)
        assert isinstance(error, TaskFailed)
        assert isinstance(error.__cause__, NoText)


class Watched(type):
    """A metaclass that notes in which threads its classes are looked at."""

    threads: set[str] = set()  # noqa: RUF012 - of all of them

    def __eq__(cls, other: object) -> bool:
        Watched.threads.add(threading.current_thread().name)
        return cls is other

    def __hash__(cls) -> int:
        return id(cls)

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        Watched.threads.add(threading.current_thread().name)
        return "watched"


class WatchedError(Exception, metaclass=Watched):
    pass


def test_exceptions_to_retry_are_not_looked_at_on_the_loop(ctx: bndl.Context) -> None:
    Watched.threads.clear()
    with pytest.raises(TaskFailed, match="in its only attempt"):
        list(ctx.map(lambda _: 1 // 0, [1], retry=bndl.Retry(on=(OSError, WatchedError))))
    assert not [name for name in Watched.threads if name.startswith("bndl-")]


# Iterators that are let go of


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("close", [True, False])
def test_a_job_ends_with_its_iterator(ctx: bndl.Context, *, begun: bool, close: bool) -> None:
    job = bndl.Job("unwanted")
    job.stage(lambda x: wait(0 if x < 2 else 1.0), range(100))
    tasks = ctx.execute(job)
    if begun:
        next(tasks)
    if close:
        tasks.close()
        assert list(tasks) == []
    else:
        del tasks
        gc.collect()
    await_true(lambda: job.report().state == "cancelled")
    with pytest.raises(TaskCancelled):
        _ = job.stages[0].tasks[-1].result


def test_nothing_is_left_of_maps_that_are_not_iterated_over(ctx: bndl.Context) -> None:
    for number in range(50):
        results = ctx.map(abs, [number])
        if number % 2:
            results.close()
        del results
    gc.collect()
    ctx.submit(abs, -1).result(TIMEOUT)
    await_true(lambda: len(ctx._node.driver._executions) <= 1)  # noqa: SLF001 - the endless one of submit


def test_a_map_is_stopped_while_another_thread_waits_in_it(ctx: bndl.Context) -> None:
    results = ctx.map(wait, [TIMEOUT] * 3)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, results)
        scheduler = ctx._node.driver._scheduler  # noqa: SLF001 - nothing else shows that it has begun
        await_true(lambda: any(worker.load for worker in list(scheduler.workers.values())))
        results.close()
        assert isinstance(waiting.exception(TIMEOUT), TaskCancelled)


# Items whose length is odd


class Odd(list[int]):
    def __len__(self) -> int:
        raise RuntimeError("no length")


@pytest.mark.parametrize("progress", [True, False])
def test_items_whose_length_is_not_to_be_had(*, progress: bool) -> None:
    with bndl.connect(workers=1, progress=progress) as context:
        assert list(context.map(abs, Odd([-1, -2]))) == [1, 2]
        results = context.map(abs, range(10**20))
        assert next(results) == 0
        assert list(context.map(abs, [-1, -2])) == [1, 2]
