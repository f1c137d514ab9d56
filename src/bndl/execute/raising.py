"""An exception raised in another thread. CPython has this in its C interface only.

It comes up when the thread executes Python code again, and not in a call that waits: ``time.sleep``, ``Lock.acquire``,
``Queue.get``, ``socket.recv``, ``select``, ``Popen.wait``. A signal ends the system call of such a wait, but CPython
resumes it unless a handler raises, and it runs handlers in the main thread only. So a worker executes tasks in its
main thread. The handler for ``_SIGNAL`` is a function of Python that does nothing: the exception comes up in it, and
ends the wait.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from types import TracebackType

__all__ = ["catch_wakes", "raise_in", "wake", "withdraw_from", "without_wake"]

#: The system ignores it unless there is a handler, so it harms no process. Go's runtime uses it for the same reason.
_SIGNAL: int | None = getattr(signal, "SIGURG", None)

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


def catch_wakes() -> None:
    """Let ``wake`` have an effect in this process. To be called in the main thread."""
    if _SIGNAL is not None:
        signal.signal(_SIGNAL, _wake)


def _wake(_signal: int, _frame: object) -> None:
    """What was raised in the main thread while it waited comes up here."""


def wake(thread: int) -> None:
    """End a wait of a thread if something was raised in it. No effect on other threads than the main one.

    Args:
        thread: its ``threading.get_ident()``.
    """
    if _SIGNAL is not None and thread == threading.main_thread().ident and signal.getsignal(_SIGNAL) is _wake:
        signal.pthread_kill(thread, _SIGNAL)


def without_wake(trace: TracebackType | None) -> TracebackType | None:
    """A traceback of what came up, without the handler's frame, which says nothing to users."""
    last = trace
    while last is not None and last.tb_next is not None:
        if last.tb_next.tb_frame.f_code is _wake.__code__:
            last.tb_next = None
        last = last.tb_next
    return trace
