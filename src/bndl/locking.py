"""Locks that a Ctrl-C does not leave locked."""

from __future__ import annotations

import threading
from operator import attrgetter

__all__ = ["Condition"]


class Condition(threading.Condition):
    """A condition that is entered and left in one step of the interpreter.

    The ``__enter__`` of the standard library's is a function of Python. A ``KeyboardInterrupt`` between its two steps,
    when the lock is taken and the ``with`` block has not begun, leaves it locked for good. Here the methods are those
    of the lock itself.
    """

    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))
