"""Memory that was freed goes back to the system.

The allocator of the C library keeps what is freed, in pieces between others that are in use: after 700 results of 1 MB
a driver had four times the memory that it needed, for good. Giving each piece back at once makes large results half as
fast, as the kernel has to clear all of their memory again. So it is done after much has passed through this process.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from bndl.loop import Loop

__all__ = ["Trimmer", "trim_heap"]

#: After so many bytes it is done in any case.
_MUCH = 256 << 20
#: After so many bytes it is worth the 10 ms that it takes, when something is over.
_SOME = 32 << 20
#: Seconds from the end of something until whoever has the last of it has let go of it.
_DELAY = 0.2


def trim_heap() -> None:
    """Give memory that is free back to the system, where the C library can."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # it is not that of GNU
        return
    trim(0)


class Trimmer:
    """Has freed memory given back. Thread-safe.

    Args:
        loop: on which that is done.
        trim: does it.
    """

    def __init__(self, loop: Loop, trim: Callable[[], object] = trim_heap) -> None:
        self._loop = loop
        self._trim = trim
        self._lock = threading.Lock()
        self._bytes = 0

    def passed(self, count: int) -> None:
        """So many bytes of results or arguments came, or went."""
        with self._lock:
            self._bytes += count
        if self._bytes >= _MUCH:
            self.over()

    def over(self) -> None:
        """Something is over, such as a job, and what it needed is free now."""
        with self._lock:
            if self._bytes < _SOME:
                return
            self._bytes = 0
        self._loop.post(self._later)

    def _later(self) -> None:
        self._loop.call_later(_DELAY, self._trim)
