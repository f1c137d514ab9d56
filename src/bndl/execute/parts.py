"""What a real worker is made of."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from bndl.errors import TaskInterrupted
from bndl.execute.blackbox import ENDS_BECAUSE, BlackBox
from bndl.execute.capture import Capture
from bndl.execute.current import running
from bndl.execute.raising import catch_wakes, raise_in, wake, withdraw_from
from bndl.execute.slots import Prepared, ThreadSlots
from bndl.execute.watchdog import FaultTimer
from bndl.logs import flush, get_logger
from bndl.loop import ThreadLoop
from bndl.threads import run_beside

__all__ = ["EXIT_STUCK", "ThreadParts"]

T = TypeVar("T")

logger = get_logger(__name__)

#: The exit code of a process that ended itself because an attempt did not end.
EXIT_STUCK = 70
#: Seconds that it takes to hand what was sent to the network. A process that is killed at once has not sent it.
_TURN = 0.0002
#: For how many seconds the process of a worker whose loop crashed waits for the log.
_LOG_TIMEOUT = 1.0


class ThreadParts:
    """Loops and slots that are threads, in a process that can be ended.

    Args:
        capture: takes what tasks print.
        box: notes what the slots execute, if there is one.
        stop_timeout: how many seconds the end of the process may take.

    Attributes:
        close: leaves the cluster. Called before the process ends itself.
    """

    def __init__(self, capture: Capture, box: BlackBox | None, stop_timeout: float) -> None:
        self.loop = ThreadLoop("bndl-worker", _crash)
        self.bulk_loop = ThreadLoop("bndl-bulk", _crash)
        self.watch_loop = ThreadLoop("bndl-watch", _crash)
        self.timer = FaultTimer(capture.file if box is None else box.fd)
        self.tidy = capture.tidy
        self.close: Callable[[], None] = lambda: None
        self._capture = capture
        self._box = box
        self._stop_timeout = stop_timeout
        self._slots: ThreadSlots

    def start(self) -> None:
        """Start the loops."""
        for loop in (self.loop, self.bulk_loop, self.watch_loop):
            loop.start()

    def make_slots(
        self, count: int, begin: Callable[[Prepared], None], execute: Callable[[Prepared], None]
    ) -> ThreadSlots:
        """Room for ``count`` tasks. One of the slots is the thread that calls ``run_slot``."""
        self._slots = ThreadSlots(count, begin, execute, _crash, is_one_here=True)
        self._slots.start()
        return self._slots

    def run_slot(self) -> NoReturn:
        """Execute tasks in the main thread, where calls that wait can be ended by a signal."""
        catch_wakes()
        self._slots.run()
        os._exit(1)  # it crashed, and the process is ending already

    def recording(self, execute: Callable[[Prepared], T]) -> Callable[[Prepared], T]:
        """``execute``, but it is noted in the black box what is executing."""
        return execute if self._box is None else self._box.recording(execute)

    def interrupt(self, prepared: Prepared, exception: type[TaskInterrupted]) -> None:
        """Have an exception come up in the thread of an attempt."""
        raise_in(prepared.thread, exception)

    def withdraw(self, prepared: Prepared) -> None:
        """Take back the exception that has not come up in the thread of an attempt yet."""
        withdraw_from(prepared.thread)

    def wake(self, prepared: Prepared) -> None:
        """End a call in which the thread of an attempt waits, if that is the main thread."""
        wake(prepared.thread)

    def watch_missed(self, on_missed: Callable[[Prepared], None]) -> None:
        """Tell of exceptions that came up in finalizers and callbacks of C, which the interpreter prints and drops."""
        before = sys.unraisablehook

        def look(unraisable: sys.UnraisableHookArgs) -> None:
            prepared = running()
            if prepared is not None and prepared.stop is not None and unraisable.exc_type is prepared.stop.exception:
                on_missed(prepared)
            else:
                before(unraisable)

        sys.unraisablehook = look

    def pause(self) -> None:
        """Let the network have its turn."""
        time.sleep(_TURN)

    def end(self, reason: str, where: str) -> None:
        """End the process, in order if that is possible, and soon in any case."""
        self.timer.start(self._stop_timeout)
        last_words = f"{ENDS_BECAUSE}{reason}\n{where}\n"
        if self._box is None:
            self._capture.write_through(last_words)
        else:  # for the certificate: what is written to standard error everybody has to read
            self._box.write(last_words)
        self.close()
        os._exit(EXIT_STUCK)

    def run_beside(self, call: Callable[[], None]) -> None:
        """Run a call from a peer beside the tasks."""
        loop = self.watch_loop
        run_beside(call, lambda delay, again: loop.post(loop.call_later, delay, again), "bndl-call")


def _crash(error: BaseException) -> None:
    """A thread broke: a worker that cannot answer is better gone, so that its work goes elsewhere."""
    try:
        logger.error("a thread of this worker crashed", exc_info=error)
        flush(_LOG_TIMEOUT)
    finally:
        os._exit(1)
