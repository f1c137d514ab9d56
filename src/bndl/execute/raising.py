"""An exception raised in another thread. CPython has this in its C interface only."""

from __future__ import annotations

import ctypes

__all__ = ["raise_in", "withdraw_from"]

# The same function twice: without an exception it takes back the one that has not come up yet.
_FUNCTION = ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
_set = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(_FUNCTION)
_clear = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(_FUNCTION)


def raise_in(thread: int, exception: type[BaseException]) -> None:
    """Have ``exception`` come up in a thread, as soon as it executes Python code again.

    Args:
        thread: its ``threading.get_ident()``.
        exception: a class; the interpreter makes the instance.
    """
    _set(thread, exception)


def withdraw_from(thread: int) -> None:
    """Take back the exception that has not come up in a thread yet, if there is one."""
    _clear(thread, None)
