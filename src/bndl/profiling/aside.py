"""Where profiling does its own work, so that it is not in the figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

from bndl.threads import try_start

__all__ = ["apart", "current_tag", "unseen"]

P = ParamSpec("P")
T = TypeVar("T")

#: What yappi is told to count calls under.
current_tag: ContextVar[int] = ContextVar("bndl_profiling_tag", default=0)

#: The tag of what profiling itself does; it is never read.
_OWN = (1 << 31) - 1
#: A Ctrl-C does not end a wait; so no wait is longer than this many seconds.
_LONGEST_WAIT = 0.2


def unseen(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function; what it does is not in the figures. For profiling's own work."""
    context = copy_context()
    context.run(current_tag.set, _OWN)
    return context.run(function, *args, **kwargs)


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same in a thread that is not traced, for what takes longer: it is quicker by far."""
    future: Future[T] = Future()

    def run() -> None:
        sys.setprofile(None)
        try:
            future.set_result(unseen(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - where the thread ends; it goes to the caller
            future.set_exception(error)

    if try_start(run, "bndl-profiling") is None:
        return unseen(function, *args, **kwargs)
    while True:
        try:
            return future.result(_LONGEST_WAIT)
        except TimeoutError:
            if future.done():
                raise
