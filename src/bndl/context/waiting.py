"""Where user threads wait for what an execution brings."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue

from bndl.driver.tasks import Task
from bndl.errors import BndlError

__all__ = ["Ended", "Mailbox"]

#: A Ctrl-C that comes in the instant before a wait does not end it. So no wait is longer than this many seconds.
_LONGEST_WAIT = 0.2


class Ended:
    """The last thing that comes into a mailbox: all is done, or ``error`` says why not."""

    __slots__ = ("error",)

    def __init__(self, error: BndlError | None) -> None:
        self.error = error


class Mailbox:
    """Tasks that are done, in the order in which they were. The listener of an execution that one thread waits for."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Sequence[Task] | Ended] = SimpleQueue()

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done."""
        self._queue.put(tasks)

    def execution_ended(self, error: BndlError | None) -> None:
        """All is done."""
        self._queue.put(Ended(error))

    def take(self) -> Sequence[Task] | Ended:
        """The next tasks, or the end. Waits for them: the driver sees to it that the end always comes."""
        while True:
            try:
                return self._queue.get(timeout=_LONGEST_WAIT)
            except Empty:
                continue
