"""A Ctrl-C at every place of a call: what the interpreter may do between any two lines, a test does at each in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["interrupt_everywhere"]


def interrupt_everywhere(call: Callable[[], object], most: int = 2000) -> Iterator[int]:
    """Call a function again and again, with a ``KeyboardInterrupt`` at its first line, at its second, and so on.

    Yields after each call that was interrupted, so that the damage can be looked at, and ends when one was not.
    """
    for place in range(1, most):
        if not _interrupt(call, place):
            return
        yield place
    text = f"the call does not end within {most} places"
    raise AssertionError(text)


def _interrupt(call: Callable[[], object], place: int) -> bool:
    """Call with an interrupt at one place; returns whether it came to that."""
    left = place

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    # It may have come where the interpreter does not let it out, such as in a finalizer.
    return left <= 0
