"""The end of a process in order: after all exit handlers of users, and without a thread that it kills in native code.

While the interpreter ends, it ends each other thread at the moment when that wants the interpreter's lock. A thread in
native code of Rust or C++ cannot be ended there: the whole process aborts with ``FATAL: exception not rethrown``. So
bndl ends its threads before, in one of two ways:

- A driver is the user's process, which ends as it likes. ``at_last`` calls back after all handlers of ``atexit`` ran,
  also those that were registered before bndl was imported, because they may use a context.
- A worker's process is bndl's. It runs code of users in threads that nobody can end, so it leaves with ``leave``, which
  does what the interpreter does at its end but for ending threads.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import NoReturn

__all__ = ["at_last", "leave"]

logger = logging.getLogger(__name__)

#: Seconds between looks at which threads are left.
_LOOK = 1.0

_callbacks: list[Callable[[], object]] = []


class _Last:
    """An argument of an exit handler. It goes when ``atexit`` drops its handlers, after the last of them ran."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        #: Whether the handlers run. ``multiprocessing`` drops those of a process that it forked without running them.
        self.is_end = False

    def __del__(self) -> None:
        if os.getpid() != self._pid:
            return
        # The handlers of a process that does not end can be dropped, too. ``threading`` is over before they run.
        if self.is_end or not threading.main_thread().is_alive():
            _run_callbacks()


#: The one that ``atexit`` has.
_last: weakref.ref[_Last] | None = None


def _begin(last: _Last) -> None:
    last.is_end = True


def at_last(callback: Callable[[], object]) -> None:
    """Call ``callback()`` at the end of this process, after all handlers of ``atexit``; the last one given goes first.

    To be called again for each thing that needs it: handlers can be dropped. A callback is called once. A forked
    process calls none of those that it got from its parent.
    """
    global _last  # noqa: PLW0603 - a process has one end
    if callback not in _callbacks:
        _callbacks.append(callback)
    if _last is None or _last() is None:
        last = _Last()
        _last = weakref.ref(last)
        atexit.register(_begin, last)


def _run_callbacks() -> None:
    while _callbacks:
        callback = _callbacks.pop()
        try:
            callback()
        except Exception:  # the others have to be called all the same
            logger.exception("%r failed at the end of the process", callback)


def leave(code: int) -> NoReturn:
    """End this process like the interpreter does, but leave its daemon threads alone. From any thread.

    Threads that are no daemons are waited for, exit handlers run, and the standard streams are flushed.
    """
    for step in (_end_threads, atexit._run_exitfuncs, _flush):  # noqa: SLF001 - there is no public name for it
        try:
            step()
        except BaseException:  # the process ends here; what the user's handlers raise, ``atexit`` has printed
            logger.exception("the end of the process went wrong")
    os._exit(code)


def _end_threads() -> None:
    """As the interpreter does it, which can do it in the main thread only."""
    for end in reversed(getattr(threading, "_threading_atexits", ())):  # those of ``concurrent.futures``
        end()
    ours = {threading.current_thread(), threading.main_thread()}
    while others := [each for each in threading.enumerate() if not each.daemon and each not in ours]:
        for each in others:
            each.join(timeout=_LOOK)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(Exception):
                stream.flush()
