"""Where user threads wait for what an execution brings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from bndl.context.progress import Bars
from bndl.driver.execution import Execution
from bndl.driver.tasks import Task
from bndl.errors import BndlError, ContextClosed
from bndl.execute.failures import open_cause
from bndl.screen import INTERVAL

__all__ = ["MOST_BYTES", "MOST_MAPPED_BYTES", "MOST_TASKS", "Ended", "Mailbox"]

#: How many tasks may be done and not taken before their job is paused, and how many bytes of results.
MOST_TASKS = 100_000
MOST_BYTES = 512 << 20
#: The same for a ``map``, whose results can always be taken.
MOST_MAPPED_BYTES = 128 << 20

#: A Ctrl-C that comes in the instant before a wait does not end it. So no wait is longer than this many seconds.
_LONGEST_WAIT = 0.2


class Ended:
    """The last thing that comes into a mailbox: all is done, or an error says why not."""

    __slots__ = ("_error",)

    def __init__(self, error: BndlError | None) -> None:
        self._error = error

    def check(self) -> None:
        """Raise the error, if there is one."""
        if self._error is not None:
            raise open_cause(self._error)


class Mailbox:
    """Tasks that are done, in the order in which they were. The listener of an execution that one thread waits for.

    If that thread does not keep up, so that more than ``MOST_TASKS`` tasks or too many bytes of results are waiting,
    the execution is paused until half of them are taken.

    Args:
        is_kept: whether what was taken out goes on waiting elsewhere, until ``release`` is called for it.

    Attributes:
        bars: show how far the work is while a thread waits, if they are wanted.
    """

    def __init__(self, *, is_kept: bool = False) -> None:
        self.bars: Bars | None = None
        self._is_kept = is_kept
        #: Each entry with the size of the results in it.
        self._queue: SimpleQueue[tuple[Sequence[Task] | Ended, int]] = SimpleQueue()
        self._execution: Execution | None = None
        self._process = os.getpid()
        #: Guards what follows.
        self._lock = threading.Lock()
        self._tasks = 0
        self._bytes = 0
        self._is_paused = False

    def bind(self, execution: Execution) -> None:
        """Name the execution that is to be paused when too much is waiting; none is without this."""
        self._execution = execution

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done."""
        size = sum(task.payload_bytes for task in tasks)
        self._count(len(tasks), size)
        self._queue.put((tasks, size))

    def execution_ended(self, error: BndlError | None) -> None:
        """All is done."""
        self._queue.put((Ended(error), 0))

    def take(self, while_waiting: Callable[[], object] = bool) -> Sequence[Task] | Ended:
        """The next tasks, or the end. Waits for them: the driver sees to it that the end always comes.

        Args:
            while_waiting: is called now and then as long as nothing comes.

        Raises:
            ContextClosed: this is a forked child of the process that waits for them.
        """
        bars = self.bars
        if bars is None or not self._queue.empty():
            return self._take(while_waiting, _LONGEST_WAIT)
        with bars.waiting() as tick:

            def see_to_both() -> None:
                tick()
                while_waiting()

            return self._take(see_to_both, INTERVAL)

    def _take(self, while_waiting: Callable[[], object], interval: float) -> Sequence[Task] | Ended:
        while True:
            if self._process != os.getpid():
                text = (
                    "these results come to the process that asked for them, and this is a forked child of it. Take "
                    "them there, and hand over what the child needs."
                )
                raise ContextClosed(text)
            try:
                got, size = self._queue.get(timeout=interval)
            except Empty:
                while_waiting()
                continue
            if not isinstance(got, Ended) and not self._is_kept:
                self._count(-len(got), -size)
            return got

    @property
    def is_empty(self) -> bool:
        """Whether ``take`` would wait."""
        return self._queue.empty()

    def release(self, size: int) -> None:
        """A task whose results have ``size`` bytes does not wait any more."""
        self._count(-1, -size)

    def go_on(self) -> None:
        """Launch what there is, although too much is waiting: somebody needs what is not launched, and nothing else."""
        execution = self._execution
        with self._lock:
            if execution is not None and self._is_paused:
                self._is_paused = False
                execution.driver.resume(execution)

    def _count(self, tasks: int, size: int) -> None:
        execution = self._execution
        if execution is None:
            return
        most_bytes = MOST_MAPPED_BYTES if self._is_kept else MOST_BYTES
        with self._lock:
            self._tasks += tasks
            self._bytes += size
            if not self._is_paused and tasks > 0 and (self._tasks > MOST_TASKS or self._bytes > most_bytes):
                self._is_paused = True
                execution.driver.pause(execution)
            elif self._is_paused and self._tasks <= MOST_TASKS // 2 and self._bytes <= most_bytes // 2:
                self._is_paused = False
                execution.driver.resume(execution)
