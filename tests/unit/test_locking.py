"""A condition, and whom it lets in after an interrupt."""

from __future__ import annotations

import threading

import pytest

from bndl.locking import Condition
from tests.unit.interrupting import interrupt_everywhere

TIMEOUT = 10.0


def is_free(condition: threading.Condition) -> bool:
    """Whether another thread gets in."""
    got: list[bool] = []

    def enter() -> None:
        got.append(condition.acquire(timeout=0.1))
        if got[0]:
            condition.release()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(TIMEOUT)
    return got == [True]


def enter_and_leave(condition: threading.Condition) -> None:
    with condition:
        condition.notify_all()


def test_an_interrupt_does_not_leave_it_locked() -> None:
    condition = Condition()
    places = [place for place in interrupt_everywhere(lambda: enter_and_leave(condition)) if is_free(condition)]
    assert places == list(range(1, len(places) + 1))
    assert places


def test_the_test_finds_that_of_the_standard_library_locked() -> None:
    # When this fails, ours is not needed any more.
    condition = threading.Condition()
    assert not all(is_free(condition) for _ in interrupt_everywhere(lambda: enter_and_leave(condition)))


def test_it_is_a_condition() -> None:
    condition, ready = Condition(), list[int]()

    def fill() -> None:
        with condition:
            ready.append(1)
            condition.notify()

    thread = threading.Thread(target=fill)
    with condition, condition:
        thread.start()
        assert condition.wait_for(lambda: ready, TIMEOUT)
    thread.join(TIMEOUT)
    with pytest.raises(RuntimeError):
        condition.notify()
