"""Times that the system cannot count: whoever waits for that long, waits, and whoever waits for them is told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from bndl.driver.futures import Loops, Ready, RemoteFuture
from bndl.execute.watchdog import FaultTimer
from bndl.loop import ThreadLoop
from bndl.schedule.events import RetryRule
from bndl.schedule.retrying import LONGEST_BACKOFF, delay_of
from bndl.waits import LONGEST, capped

TIMEOUT = 10.0
#: What ``Condition.wait``, ``SimpleQueue.get``, ``Thread.join`` and ``faulthandler`` refuse, and what no clock can add.
HUGE: tuple[float, ...] = (1e10, 1e12, 1e300, math.inf, math.nan, 10**400)


def test_capped() -> None:
    assert [capped(seconds) for seconds in (-1, 0, 0.5, 3, LONGEST)] == [-1.0, 0.0, 0.5, 3.0, LONGEST]
    assert [capped(seconds) for seconds in HUGE] == [LONGEST] * len(HUGE)
    assert threading.TIMEOUT_MAX > LONGEST


@pytest.mark.parametrize("delay", HUGE)
def test_a_loop_waits_for_a_timer_that_is_far_away(delay: float) -> None:
    crashes: SimpleQueue[BaseException] = SimpleQueue()
    ran = threading.Event()
    loop = ThreadLoop("far", crashes.put)
    loop.start()
    loop.post(lambda: loop.call_later(delay, ran.set))
    loop.post(lambda: loop.call_later(0.001, ran.set))  # behind the far one, so that it sleeps in between
    assert ran.wait(TIMEOUT)
    assert loop.stop(delay), "it did not end"
    assert crashes.empty()


@pytest.mark.parametrize("ask", [RemoteFuture.result, RemoteFuture.exception])
def test_a_future_can_be_waited_for_as_long_as_anybody_likes(ask: Callable[..., object]) -> None:
    loop = ThreadLoop("futures", lambda _: None)
    loop.start()
    for timeout in HUGE:
        future = RemoteFuture(Loops(loop, loop, loop, loop))
        loop.post(loop.call_later, 0.001, lambda future=future: future.settle(Ready(3)))
        assert ask(future, timeout) in {3, None}
    assert loop.stop(TIMEOUT)


@pytest.mark.parametrize("seconds", HUGE)
def test_the_last_resort_can_be_set_for_a_time_far_away(seconds: float) -> None:
    timer = FaultTimer(2)
    try:
        timer.start(seconds)
    finally:
        timer.cancel()


@pytest.mark.parametrize("rule", [RetryRule(1.0, 1e300, 0.1), RetryRule(1e300, 1e300, 1.0)])
def test_a_backoff_that_grows_beyond_all_numbers(rule: RetryRule) -> None:
    assert [delay_of(rule, 1, failures) for failures in (3, 4, 1000)] == [LONGEST_BACKOFF] * 3


# A loop does not end without telling


def test_a_loop_that_breaks_in_its_own_code_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes: SimpleQueue[BaseException] = SimpleQueue()
    loop = ThreadLoop("breaking", crashes.put)

    def fail() -> Any:
        raise OverflowError("too large")

    monkeypatch.setattr(loop, "_next_timer", fail)
    loop.start()
    assert isinstance(crashes.get(timeout=TIMEOUT), OverflowError)
    assert loop.stop(TIMEOUT)


def test_a_crash_is_told_before_it_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    told, go_on = threading.Event(), threading.Event()

    def block(*_: object, **__: object) -> None:
        go_on.wait(TIMEOUT)

    monkeypatch.setattr("bndl.loop.logger.error", block)
    loop = ThreadLoop("blocked", lambda _: told.set())
    loop.start()
    loop.post(int, "not a number")
    assert told.wait(TIMEOUT), "the log is written first"
    go_on.set()
    assert loop.stop(TIMEOUT)
