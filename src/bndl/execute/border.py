"""The border around the user's code: an exception that is raised from outside comes up in that code and nowhere else.

::

    QUEUED --enter--> INSIDE --leave--> LEFT
                      |    ^
                 shield    unshield
                      v    |
                     SHIELDED

CPython can raise an exception in another thread (``PyThreadState_SetAsyncExc``). It comes up at any instruction from
then on, and that may be late: the thread may have been in a long call into C, and be beyond what was to be interrupted
by the time it comes up. So it is given to a thread only while the attempt that it is meant for is INSIDE, and withdrawn
at the border if it has not come up by then. What of bndl's code the user's code calls, such as to print, is SHIELDED:
the exception waits until it is done.

An attempt is interrupted once. So whoever is hit by the exception while it crosses the border needs to cross it again,
and will not be hit again. If it comes up in a finalizer, where exceptions go nowhere, that was no interruption, and it
is raised again.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from bndl.errors import TaskError, TaskInterrupted

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = ["INSIDE", "LEFT", "QUEUED", "SHIELDED", "Border", "Stop"]

QUEUED, INSIDE, SHIELDED, LEFT = range(4)


class Stop:
    """That an attempt is to end, and how far that has come.

    Args:
        error: why, for the task.

    Attributes:
        error: why, for the task.
        exception: what is raised in its thread.
        is_due: whether it is to be raised there, if it is not yet.
        sent: whether it was given to the thread, and not withdrawn.
        delivered: whether it came up.
        gave_up: whether the process is ended because the attempt does not, so that it reports nothing any more.
    """

    __slots__ = ("delivered", "error", "exception", "gave_up", "is_due", "sent")

    def __init__(self, error: TaskError) -> None:
        self.error = error
        self.exception = _exception_of(self)
        self.is_due = False
        self.sent = False
        self.delivered = False
        self.gave_up = False


def _exception_of(stop: Stop) -> type[TaskInterrupted]:
    """A class of its own for each stop: CPython takes a class, and makes the instance when it comes up."""

    class Interruption(TaskInterrupted):
        def __init__(self) -> None:
            stop.delivered = True
            super().__init__(stop.error.message)

        def __reduce__(self) -> tuple[Any, ...]:
            return TaskInterrupted, self.args

    Interruption.__name__ = TaskInterrupted.__name__
    Interruption.__qualname__ = TaskInterrupted.__qualname__
    Interruption.__module__ = TaskInterrupted.__module__
    return Interruption


class Border:
    """Crossed by the threads that execute attempts, watched by those that interrupt them.

    Crossing takes no lock as long as nobody wants to stop the attempt: the phase is written before ``stop`` is read
    here, and the other way round there, so one of the two sees the other.

    Args:
        send: has an exception raised in the thread of an attempt.
        withdraw: takes back the exception that was sent to it and has not come up.
        wake: ends a call in which that thread waits, so that the exception that was sent to it comes up.
    """

    def __init__(
        self,
        send: Callable[[Prepared, type[TaskInterrupted]], None],
        withdraw: Callable[[Prepared], None],
        wake: Callable[[Prepared], None],
    ) -> None:
        self._send = send
        self._withdraw = withdraw
        self._wake = wake
        #: Held while an exception is sent or withdrawn.
        self._lock = Lock()

    # In the thread of the attempt

    def enter(self, prepared: Prepared) -> None:
        """The user's code comes next.

        Raises:
            TaskInterrupted: the attempt is to be stopped, so there is no need to begin.
        """
        prepared.phase = INSIDE
        if prepared.stop is not None:
            raise prepared.stop.exception

    def leave(self, prepared: Prepared) -> None:
        """The user's code is over. If this is interrupted it is to be called again."""
        prepared.phase = LEFT
        if prepared.stop is not None:
            self._settle(prepared, prepared.stop)

    def shield(self, prepared: Prepared) -> bool:
        """Code of bndl's comes next, called by the user's. Returns whether ``unshield`` is to be called after it."""
        if prepared.phase != INSIDE or prepared.thread != get_ident():
            return False
        prepared.phase = SHIELDED
        if prepared.stop is not None:
            self._settle(prepared, prepared.stop)
        return True

    def unshield(self, prepared: Prepared) -> None:
        """The user's code goes on.

        Raises:
            TaskInterrupted: in the meantime it was to be raised.
        """
        prepared.phase = INSIDE
        stop = prepared.stop
        if stop is not None and stop.is_due and not stop.delivered:
            with self._lock:
                owed = not stop.sent
            if owed:
                raise stop.exception

    def _settle(self, prepared: Prepared, stop: Stop) -> None:
        with self._lock:  # whoever is sending, has sent
            if stop.sent and not stop.delivered:
                self._withdraw(prepared)
                stop.sent = False

    # In another thread

    def interrupt(self, prepared: Prepared, stop: Stop) -> None:
        """Raise the exception of ``stop`` in the attempt, now or when its shield is gone."""
        with self._lock:
            stop.is_due = True
            if prepared.phase == INSIDE:
                stop.sent = True
                self._send(prepared, stop.exception)
                self._wake(prepared)

    def wake(self, prepared: Prepared, stop: Stop) -> bool:
        """End the call in which the attempt waits, if the exception did not come up yet. Returns whether it did not.

        The attempt may have begun to wait just after it was woken the last time.
        """
        with self._lock:
            if stop.delivered or prepared.phase == LEFT:
                return False
            if stop.sent and prepared.phase == INSIDE:
                self._wake(prepared)
            return True

    def repeat(self, prepared: Prepared, stop: Stop) -> None:
        """Raise the exception of ``stop`` once more: it came up where it went nowhere."""
        with self._lock:
            stop.sent = stop.delivered = False
        self.interrupt(prepared, stop)

    def give_up(self, prepared: Prepared, stop: Stop) -> bool:
        """Whether the attempt is still not over; then it reports nothing any more."""
        with self._lock:
            if prepared.phase != LEFT:
                stop.gave_up = True
            return stop.gave_up
