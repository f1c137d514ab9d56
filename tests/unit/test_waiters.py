"""Whoever waits for the driver is told once, whatever happens first."""

from __future__ import annotations

import pytest

from bndl.driver.waiters import Waiters, crash_error
from bndl.errors import BndlError, ContextClosed, ForbiddenTransition, InternalError

CLOSED = ContextClosed("closed")


def test_who_was_told_by_the_driver_is_not_told_again() -> None:
    waiters, told = Waiters(), list[BndlError]()
    waiters.add("one", told.append)
    waiters.add("other", told.append)
    assert waiters.claim("one")
    assert not waiters.claim("one")
    waiters.end(CLOSED)
    waiters.end(ContextClosed("again"))
    assert told == [CLOSED]
    assert not waiters.claim("other")


def test_nobody_begins_to_wait_after_the_end() -> None:
    waiters, told = Waiters(), list[BndlError]()
    waiters.add("before", told.append)
    waiters.close(CLOSED)
    for _ in range(2):
        with pytest.raises(ContextClosed, match="closed") as caught:
            waiters.add("after", told.append)
        assert caught.value is not CLOSED  # or it would have the tracebacks of all who got it
    assert told == []
    assert waiters.claim("before")


def test_the_first_end_is_the_one_that_counts() -> None:
    waiters = Waiters()
    waiters.close(CLOSED)
    waiters.end(InternalError("broken"))
    with pytest.raises(ContextClosed):
        waiters.add("after", print)


def test_who_is_told_of_the_end_may_want_to_wait_again() -> None:
    waiters, told = Waiters(), list[BndlError]()

    def again(error: BndlError) -> None:
        told.append(error)
        with pytest.raises(ContextClosed):
            waiters.add("again", again)

    waiters.add("first", again)
    waiters.end(CLOSED)
    assert told == [CLOSED]


def test_a_bug_is_called_a_bug() -> None:
    own = ForbiddenTransition("forbidden", story=())
    assert crash_error(own) is own
    assert "KeyError: 1" in str(crash_error(KeyError(1)))
