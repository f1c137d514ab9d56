"""Pipes that end with this process, even if it has forked.

A process that was started here knows that this one is gone by the end of a pipe. But a fork has all open files of its
process, and would hold the pipe open: whoever forks, such as a pool of ``multiprocessing``, knows nothing of it. So the
end that is written to is closed in each fork, as the first thing there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from io import FileIO

__all__ = ["open_lifeline"]

#: Held while a pipe is made and noted: nothing is forked between the two. Reentrant, because a finalizer may fork.
_lock = threading.RLock()
_writers: weakref.WeakSet[FileIO] = weakref.WeakSet()


def open_lifeline() -> tuple[FileIO, FileIO]:
    """A pipe: the end for the other process, and the one that only this process holds.

    Raises:
        OSError: too many files are open.
    """
    with _lock:
        reader, writer = os.pipe()
        writing = FileIO(writer, "wb")
        _writers.add(writing)
    return FileIO(reader, "rb"), writing


def _let_go() -> None:
    """Close what belongs to the process that this one was forked from. The files know then that they are closed."""
    for writer in list(_writers):
        with contextlib.suppress(OSError):
            writer.close()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_let_go)
