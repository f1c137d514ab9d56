"""What a worker is made of that differs between a real and a simulated one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from bndl.errors import TaskInterrupted
from bndl.execute.slots import Prepared, Slots
from bndl.execute.watchdog import Timer
from bndl.loop import Loop

__all__ = ["WorkerParts"]

T = TypeVar("T")


class WorkerParts(Protocol):
    """What a worker is made of that differs between a real and a simulated one."""

    @property
    def loop(self) -> Loop:
        """What it does, it does on this."""

    @property
    def bulk_loop(self) -> Loop:
        """Its store is served on this."""

    @property
    def watch_loop(self) -> Loop:
        """What is cancelled or out of time is seen to on this."""

    @property
    def timer(self) -> Timer:
        """Ends it if it cannot do so itself."""

    def make_slots(self, count: int, begin: Callable[[Prepared], None], execute: Callable[[Prepared], None]) -> Slots:
        """Room for ``count`` tasks. Each is begun and executed."""

    def recording(self, execute: Callable[[Prepared], T]) -> Callable[[Prepared], T]:
        """``execute``, but it is noted what is executing, for the case that it ends the process."""

    def interrupt(self, prepared: Prepared, exception: type[TaskInterrupted]) -> None:
        """Have an exception come up in an attempt that is executing."""

    def withdraw(self, prepared: Prepared) -> None:
        """Take back the exception that has not come up in an attempt yet."""

    def wake(self, prepared: Prepared) -> None:
        """End a call in which an attempt waits, so that the exception comes up; as far as that is possible."""

    def watch_missed(self, on_missed: Callable[[Prepared], None]) -> None:
        """Tell of attempts in which an exception came up where it went nowhere."""

    def tidy(self, is_alone: Callable[[], bool]) -> None:
        """An attempt is over: put back what it changed, if no other is executing, which may have done it."""

    def pause(self) -> None:
        """Let the network have its turn."""

    def end(self, reason: str, where: str) -> None:
        """End the process, for a reason that is about this place in the user's code. What was sent still arrives."""

    def run_beside(self, call: Callable[[], None]) -> None:
        """Run a call from a peer beside the tasks."""
