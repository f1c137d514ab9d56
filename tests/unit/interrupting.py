"""A Ctrl-C at every place of a call.

The interpreter lets one in where a function begins and after each call. The profiler hears of those places, and may
raise there. It also hears when a function of C is about to be called, where none can come in.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["interrupt_everywhere"]


def interrupt_everywhere(call: Callable[[], object], most: int = 2000) -> Iterator[int]:
    """Call a function again and again, with a ``KeyboardInterrupt`` at its first place, at its second, and so on.

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

    def interrupt(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left
        left -= event in {"call", "return", "c_return"}
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    collects = gc.isenabled()
    gc.disable()  # what others have called by the garbage collector is no place of this call
    sys.setprofile(interrupt)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
        if collects:
            gc.enable()
    # It may have come where the interpreter does not let it out, such as in a finalizer.
    return left <= 0
