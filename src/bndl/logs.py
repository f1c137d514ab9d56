"""bndl's own loggers, which do not run code of users in bndl's threads.

Handlers, filters and standard error are the users': they may block, raise what they want, or wait for work of the very
loop that logs. So what is logged in a thread of bndl's is handed to one thread that does nothing else, in order. In
other threads it is logged as usual.

::

    a thread of bndl's: logger.warning(...) --> writer's queue --> handlers, in the thread "bndl-logs"
    any other thread:   logger.warning(...) ---------------------> handlers

Whoever takes results waits for what was said before (``flush``), for a limited time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from bndl.locking import Condition

__all__ = ["flush", "get_logger", "hand_over"]

#: The names of threads that are bndl's begin like that.
_OWN = "bndl-"
#: How many things may wait to be logged. What is more is dropped, and counted: nobody reads it.
_MOST = 100_000
#: A Ctrl-C that comes in the instant before a wait does not end it. So no wait is longer than this many seconds.
_LONGEST_WAIT = 0.2
#: Seconds between two looks for something to log when there is nothing.
_IDLE = 60.0


class _Writer:
    """Runs calls in one thread, in order. It is started with the first of them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        #: Taken again by the thread that has it if the collection of garbage runs a finalizer that logs.
        self._lock = threading.RLock()
        self._changed = Condition()
        self._is_started = False
        self._thread = threading.Thread(target=self._run, name="bndl-logs", daemon=True)
        self._dropped = 0
        #: How many calls came, and how many are done.
        self._came = 0
        self._done = 0
        #: How many were done when somebody waited in vain.
        self._stuck_at = -1

    def put(self, call: Callable[[], object]) -> None:
        """Run a call, after those before it. Returns at once."""
        with self._lock:
            if self._came - self._done >= _MOST:
                self._dropped += 1
                return
            self._came += 1
            self._queue.put(call)
            is_first, self._is_started = not self._is_started, True
        if is_first:
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter ends, or the system has no room for one more
                self._is_started = False

    def flush(self, timeout: float) -> bool:
        """Wait until all is done that came until now. Returns whether it is.

        It does not wait in the writer's own thread, nor as long as nothing is done since somebody waited in vain.
        """
        last = self._came
        if self._done >= last:
            return True
        if threading.current_thread() is self._thread or self._stuck_at == self._done:
            return False
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._done < last:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    self._stuck_at = self._done
                    return False
                self._changed.wait(min(remaining, _LONGEST_WAIT))
        return True

    def _run(self) -> None:
        while True:
            try:
                call = self._queue.get(timeout=_IDLE)
            except Empty:
                continue
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - the users' handlers; the thread has to go on
                self._tell(f"a log handler raised {type(error).__name__}")
            del call
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._tell(f"{dropped:,} log records and lines were dropped: the handlers did not keep up")
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _tell(self, text: str) -> None:
        with contextlib.suppress(BaseException):  # there is nowhere else to say it
            print(f"bndl: {text}", file=sys.stderr)  # noqa: T201 - it is about logging


_writers = [_Writer()]
os.register_at_fork(after_in_child=lambda: _writers.__setitem__(0, _Writer()))


def hand_over(call: Callable[[], object]) -> None:
    """Run code of users, such as a handler: beside bndl's threads, in order; in other threads now."""
    if _is_own_thread():
        _writers[0].put(call)
    else:
        call()


def _is_own_thread() -> bool:
    return threading.current_thread().name.startswith(_OWN)


def flush(timeout: float) -> bool:
    """Wait until all that was said is written, for at most ``timeout`` seconds. Returns whether it is."""
    return _writers[0].flush(timeout)


class _Held:
    """A record that is still to be made, as the user may have said how that is done."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.created = time.time()
        self.thread = threading.get_ident()
        self.thread_name = threading.current_thread().name


class _Logger(logging.Logger):
    """Hands over what is logged in threads of bndl's."""

    def makeRecord(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - the base class has it
        return _Held(args, kwargs) if _is_own_thread() else super().makeRecord(*args, **kwargs)

    def handle(self, record: Any) -> None:
        if isinstance(record, _Held):
            _writers[0].put(lambda: self._handle_held(record))
        else:
            super().handle(record)

    def _handle_held(self, held: _Held) -> None:
        record = super().makeRecord(*held.args, **held.kwargs)
        record.created = held.created
        record.msecs = held.created % 1 * 1000
        record.thread, record.threadName = held.thread, held.thread_name
        super().handle(record)


def get_logger(name: str) -> logging.Logger:
    """The logger of this name, as ``logging.getLogger``. If it is there already it becomes one of bndl's."""
    logger = logging.getLogger(name)
    if type(logger) is logging.Logger:  # nobody has said that loggers are something else
        logger.__class__ = _Logger
    return logger
