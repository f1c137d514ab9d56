"""Threads in native code: a process that ends while one is there aborts (see ``exits``), so they are waited for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["Inside"]

#: Seconds between looks at who is still inside.
_INTERVAL = 0.001


class Inside:
    """Who is in native code. Thread-safe, without a lock, because each message that is sent passes through.

    ``marks`` is for those who cannot afford ``with``: they put in an object of their own with their thread's number,
    and take it out afterwards. References to native objects have to be gone by then, as their end is native code, too.
    """

    def __init__(self) -> None:
        self.marks: dict[object, int] = {}

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """The calling thread is inside meanwhile."""
        mark = object()
        self.marks[mark] = threading.get_ident()
        try:
            yield
        finally:
            del self.marks[mark]

    def await_empty(self, timeout: float) -> bool:
        """Wait until no other thread is inside. Returns whether that is so within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        own = threading.get_ident()
        while any(thread != own for thread in list(self.marks.values())):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_INTERVAL)
        return True
