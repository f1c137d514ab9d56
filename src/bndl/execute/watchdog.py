"""The last resort against an attempt that holds the interpreter's lock: a thread in C that ends the process.

While a loop in C holds the lock no Python code runs, so nobody can stop it. ``faulthandler`` has a thread that needs no
lock: it waits, writes where all threads are, and ends the process. It is set before the attempt begins, because later
may be too late, and is moved on as attempts end. Moving it takes 40 us, so it is set a little late, and moved only when
it would be too early.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Callable
from typing import Protocol

from bndl.waits import capped

__all__ = ["EXIT_HELD", "FaultTimer", "Timer", "Watchdog"]

#: The exit code with which ``faulthandler`` ends the process.
EXIT_HELD = 1
#: How many seconds after the limit it may strike at the earliest: the orderly end of the process needs time.
EARLIEST = 1.0
#: And at the latest.
LATEST = 2.0


class Timer(Protocol):
    """Ends the process at a time."""

    def start(self, seconds: float) -> None:
        """End the process after so many seconds, instead of when it was to end before."""

    def cancel(self) -> None:
        """Do not end the process."""


class FaultTimer:
    """The timer of ``faulthandler``, of which a process has one.

    Args:
        file: the descriptor of the file to which it writes where the threads are.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def start(self, seconds: float) -> None:
        """End the process after so many seconds."""
        faulthandler.dump_traceback_later(capped(seconds), exit=True, file=self._file)

    def cancel(self) -> None:
        """Do not end the process."""
        faulthandler.cancel_dump_traceback_later()


class Watchdog:
    """Sees to it that the process ends if a limit is passed. Not thread-safe.

    Args:
        timer: ends the process.
        now: the clock.

    Attributes:
        is_set: whether it is going to strike.
    """

    def __init__(self, timer: Timer, now: Callable[[], float]) -> None:
        self._timer = timer
        self._now = now
        self.is_set = False
        #: When it strikes, if it is set.
        self._at = 0.0

    def keep(self, limit: float | None) -> None:
        """Strike if the process is still there a while after ``limit``, or, without a limit, never."""
        if limit is None:
            if self.is_set:
                self.is_set = False
                self._timer.cancel()
        elif not self.is_set or not limit + EARLIEST <= self._at <= limit + LATEST:
            self.is_set = True
            self._at = limit + LATEST
            self._timer.start(max(self._at - self._now(), EARLIEST))
