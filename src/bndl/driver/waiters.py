"""Who waits for the driver: each is told once how it ended, by the driver or by the driver's own end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable

from bndl.driver.execution import Execution
from bndl.errors import BndlError, InternalError, TaskCancelled
from bndl.reprs import safe_str, type_name
from bndl.schedule.instructions import FinishJob, TaskOutcome

__all__ = ["Waiters", "crash_error", "error_of"]


class Waiters:
    """All that somebody waits for. Thread-safe.

    It does without a lock, which an interrupt of a user's thread could leave locked. Each step is one of the
    interpreter, and their order sees to it that nobody is forgotten: who waits is noted first and then looks whether it
    is over; the end is noted first and then looks who waits.
    """

    def __init__(self) -> None:
        #: How each of them is told that the driver has ended.
        self._open: dict[Hashable, Callable[[BndlError], object]] = {}
        self._over: BndlError | None = None

    def add(self, waiter: Hashable, tell: Callable[[BndlError], object]) -> None:
        """Somebody waits. Unless the driver tells how it ended, ``tell`` is called when the driver ends.

        Raises:
            BndlError: the driver has ended, so there is nothing to wait for.
        """
        self._open[waiter] = tell
        if self._over is not None and self.claim(waiter):
            raise copy.copy(self._over)

    def claim(self, waiter: Hashable) -> bool:
        """Whether it was not told yet, which is up to the caller now."""
        return self._open.pop(waiter, None) is not None

    def close(self, error: BndlError) -> None:
        """Let nobody begin to wait any more."""
        if self._over is None:
            self._over = error

    def end(self, error: BndlError) -> None:
        """The driver has ended. Tell all who wait, and whoever wants to from now on."""
        self.close(error)
        while self._open:
            try:
                _, tell = self._open.popitem()
            except KeyError:  # claimed in the meantime
                return
            tell(error)


def error_of(instruction: FinishJob, execution: Execution) -> BndlError | None:
    """What to raise where someone waits for the whole job."""
    if instruction.outcome is TaskOutcome.SUCCEEDED:
        return None
    if instruction.outcome is TaskOutcome.FAILED and execution.failure is not None:
        return execution.failure
    return TaskCancelled(f"job {execution.name!r} was cancelled: {instruction.reason}")


def crash_error(error: BaseException) -> BndlError:
    """What to raise where someone waits when the driver's loop broke."""
    if isinstance(error, InternalError):
        return error
    shown = f"{type_name(error)}: {safe_str(error)}"
    text = f"the driver's loop broke with {shown}. This is a bug in bndl; make a new context."
    return InternalError(text)
