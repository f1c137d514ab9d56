"""Futures that the driver settles: its loop runs nothing of the user's, and waits for nothing that users hold."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bndl.driver.futures import Loops, Ready, RemoteFuture
from bndl.errors import TaskCancelled, TaskFailed, UserError
from bndl.execute import failures
from bndl.net.memory import VirtualTime
from tests.unit.interrupting import interrupt_everywhere

TIMEOUT = 10.0


class Thread(VirtualTime):
    """A loop that runs when it is told to."""

    def settle(self) -> None:
        assert self.run(1.0)


class Asker:
    def __init__(self) -> None:
        self.own, self.futures, self.callbacks = Thread(), Thread(), Thread()
        self.loops = Loops(self.own, Thread(), self.futures, self.callbacks)
        self.future = RemoteFuture(self.loops)


@pytest.fixture
def asker() -> Asker:
    return Asker()


def in_thread(function: Callable[[], Any]) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(TIMEOUT)


def test_it_is_settled_at_once_if_nobody_is_in_the_way(asker: Asker) -> None:
    asker.future.settle(Ready(3))
    assert asker.future.done()
    assert (asker.future.result(0), asker.future.exception(0)) == (3, None)


def test_callbacks_run_on_their_own_loop_whatever_they_raise(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    called: list[object] = []

    def leave(_: object) -> None:
        raise SystemExit(1)

    asker.future.add_done_callback(leave)
    asker.future.add_done_callback(called.append)
    asker.future.settle(Ready(3))
    assert asker.future.done()
    assert called == []
    asker.callbacks.settle()
    assert called == [asker.future]
    assert "a callback" in caplog.text


def test_who_settles_does_not_wait_for_who_holds_it(asker: Asker) -> None:
    with asker.future._condition:  # noqa: SLF001 - what users' threads hold while they ask
        in_thread(lambda: asker.future.settle(Ready(3)))
        assert not asker.future.done()
    asker.futures.settle()
    assert asker.future.result(0) == 3


def test_who_settles_does_not_touch_the_locks_of_who_watches_it(asker: Asker) -> None:
    watching = threading.Thread(target=concurrent.futures.wait, args=([asker.future], TIMEOUT))
    watching.start()
    while not asker.future._waiters:  # noqa: SLF001 - nothing else shows that it watches
        threading.Event().wait(0.001)
    asker.future.settle(Ready(3))
    assert not asker.future.done()
    asker.futures.settle()
    watching.join(TIMEOUT)
    assert not watching.is_alive()


def test_a_future_that_was_cancelled_stays_so(asker: Asker) -> None:
    called: list[object] = []
    asker.future.add_done_callback(called.append)
    assert asker.future.cancel()
    asker.future.settle(TaskCancelled("too late"))
    asker.callbacks.settle()
    assert called == [asker.future]
    with pytest.raises(concurrent.futures.CancelledError):
        asker.future.result(0)


SETTING: list[Callable[[RemoteFuture], object]] = [
    lambda future: future.set_result(1),
    lambda future: future.set_exception(ValueError()),
    RemoteFuture.set_running_or_notify_cancel,
]


@pytest.mark.parametrize("settle", SETTING)
def test_only_the_driver_settles_it(asker: Asker, settle: Callable[[RemoteFuture], object]) -> None:
    with pytest.raises(UserError, match="which the driver settles"):
        settle(asker.future)
    assert not asker.future.done()
    asker.future.settle(Ready(3))
    with pytest.raises(UserError, match="which the driver settles"):
        settle(asker.future)
    assert asker.future.result(0) == 3


@pytest.mark.parametrize("ask", [RemoteFuture.result, RemoteFuture.exception])
def test_an_interrupt_of_who_asks_does_not_leave_it_locked(asker: Asker, ask: Callable[[RemoteFuture], object]) -> None:
    asker.future.settle(Ready(3))
    for _ in interrupt_everywhere(lambda: ask(asker.future)):
        assert in_thread(lambda: asker.future.result(1.0)) == 3


class Spy(Exception):
    """Notes in which threads it is unpickled."""

    threads: list[threading.Thread] = []  # noqa: RUF012 - of all of them

    def __reduce__(self) -> tuple[Any, ...]:
        return make_spy, ()


def make_spy() -> Spy:
    Spy.threads.append(threading.current_thread())
    return Spy()


def test_the_users_exception_is_unpickled_where_it_is_asked_for(asker: Asker) -> None:
    payload = failures.describe(Spy("caught"))
    Spy.threads.clear()

    def settle() -> None:
        failure, cause = failures.read(payload)
        error = TaskFailed(failure.line, task="any", job="", attempts=())
        error.__cause__ = TaskCancelled("between")
        error.__cause__.__cause__ = cause
        asker.future.settle(error)

    in_thread(settle)
    assert Spy.threads == []
    with pytest.raises(TaskFailed) as caught:
        asker.future.result(0)
    assert Spy.threads == [threading.current_thread()]
    assert asker.future.exception(0) is caught.value
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, Spy)
    assert Spy.threads == [threading.current_thread()]
