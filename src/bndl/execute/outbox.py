"""Results on their way to a driver: many small ones go in one message, and none waits for long.

What tasks said is sent before the results that come after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bndl.net.messages import Finished, Message, Result

__all__ = ["DELAY", "Outbox"]

#: For how many seconds a result may wait for others.
DELAY = 0.002
#: How many results go in one message at most.
MOST = 256
#: How many bytes of results go in one message at most, the last result not counted.
MOST_BYTES = 1 << 20


class Outbox:
    """The results for one driver that are not sent yet. Thread-safe; what is added first is sent first.

    Args:
        now: the clock.
        send: sends a message to the driver.
        before: called before results are sent, with whether further tasks are queued.
        schedule_flush: called when the outbox gets its first result, to have ``flush`` called after ``DELAY``: the
            thread that added it may be busy with the next task by then.
    """

    def __init__(
        self,
        now: Callable[[], float],
        send: Callable[[Message], None],
        before: Callable[[bool], None],
        schedule_flush: Callable[[], None],
    ) -> None:
        self._now = now
        self._send = send
        self._before = before
        self._schedule_flush = schedule_flush
        self._lock = threading.Lock()
        self._results: list[Result] = []
        self._size = 0
        self._since = 0.0
        self._flush_scheduled = False

    def add(self, result: Result, *, more: bool) -> None:
        """Add a result.

        Args:
            result: to be sent.
            more: whether further tasks are queued, so that it is worth waiting for their results.
        """
        with self._lock:
            if not self._results:
                self._since = self._now()
            self._results.append(result)
            self._size += len(result.payload)
            full = len(self._results) >= MOST or self._size >= MOST_BYTES
            if not more or full or self._now() - self._since >= DELAY:
                self._flush(more=more)
                return
            if self._flush_scheduled:
                return
            self._flush_scheduled = True
        self._schedule_flush()

    def flush(self) -> None:
        """Send what there is; called after ``DELAY``."""
        with self._lock:
            self._flush_scheduled = False
            self._flush(more=False)

    def _flush(self, *, more: bool) -> None:
        if self._results:
            self._before(more)
            results, self._results = self._results, []
            self._size = 0
            self._send(Finished(results))
