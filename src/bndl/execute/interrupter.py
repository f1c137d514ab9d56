"""Attempts that are cancelled or out of time are stopped: by asking, by an exception, and at last with the process.

::

    abandoned, or out of time --> told: check_cancelled() raises
        cancel_grace later    --> interrupted: TaskInterrupted comes up in its thread, which is woken if it waits
        cancel_grace later    --> given up: the process ends
    at any time               --> over

The times are kept on a loop of their own, which sleeps while there is nothing to stop: the worker's loop may be waiting
for a slow network.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bndl.errors import TaskCancelled, TaskTimeout
from bndl.execute.border import LEFT, Border, Stop
from bndl.execute.watchdog import Watchdog
from bndl.loop import Loop, Timer

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = ["Interrupter"]

#: Seconds until an attempt that was interrupted is woken again; twice as many for each further time.
_WAKE_AGAIN = 0.01


class Interrupter:
    """Stops attempts. Thread-safe.

    Args:
        loop: keeps the times.
        border: where attempts are interrupted.
        watchdog: ends the process if this cannot.
        grace: seconds between the steps.
        give_up: called on the loop with attempts that do not end: the process is to end.
        shared: whether several attempts run at the same time.
    """

    def __init__(
        self,
        loop: Loop,
        border: Border,
        watchdog: Watchdog,
        grace: float,
        give_up: Callable[[Sequence[Prepared]], None],
        *,
        shared: bool,
    ) -> None:
        self._loop = loop
        self._border = border
        self._watchdog = watchdog
        self._grace = grace
        self._give_up = give_up
        self._shared = shared
        self._lock = threading.Lock()
        #: When the next step is due for each attempt that has a timeout or is being stopped.
        self._due: dict[Prepared, float] = {}
        #: When this looks again by itself.
        self._wakes_at = math.inf
        self._timer: Timer | None = None
        #: Whether the process is being ended.
        self._is_over = False

    def begin(self, prepared: Prepared) -> None:
        """An attempt begins. To be called if it has a timeout, or if the watchdog is set."""
        with self._lock:
            timeout = prepared.attempt.timeout
            if timeout > 0:
                self._due[prepared] = prepared.started + timeout
                self._wake_by(prepared.started + timeout)
            self._keep_watch()

    def abandon(self, prepared: Prepared) -> None:
        """Nobody waits for an attempt any more."""
        with self._lock:
            if prepared.stop is not None:  # it is being stopped already
                return
            name = prepared.name
            text = f"{name} was cancelled: nobody waits for its result any more"
            prepared.stop = Stop(TaskCancelled(text))
            if prepared.phase != LEFT:
                self._due[prepared] = self._loop.now() + self._grace
                self._wake_by(self._due[prepared])
                self._keep_watch()

    def miss(self, prepared: Prepared) -> None:
        """The exception came up in an attempt where it went nowhere. To be called there."""
        # Not here and now: it would come up in the very code that calls this.
        self._loop.post(self._repeat, prepared)

    def end(self, prepared: Prepared, *, last: bool) -> None:
        """An attempt is over that had a timeout or was stopped; ``last`` if no other begins right now."""
        with self._lock:
            if self._due.pop(prepared, None) is not None and (last or self._shared):
                self._keep_watch()

    def _keep_watch(self) -> None:
        if self._is_over:  # the watchdog is for the end now
            return
        limits = [due + self._grace * _steps_left(each) for each, due in self._due.items()]
        self._watchdog.keep(min(limits, default=None))

    def _wake_by(self, when: float) -> None:
        if when < self._wakes_at:
            self._wakes_at = when
            self._loop.post(self._set_timer)

    # On the loop

    def _set_timer(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = min(self._due.values(), default=math.inf)
            if self._wakes_at < math.inf:
                self._timer = self._loop.call_later(max(self._wakes_at - self._loop.now(), 0.0), self._look)
            else:
                self._timer = None
                self._keep_watch()

    def _repeat(self, prepared: Prepared) -> None:
        with self._lock:
            if prepared in self._due and prepared.stop is not None:
                self._border.repeat(prepared, prepared.stop)

    def _wake(self, prepared: Prepared, stop: Stop, delay: float) -> None:
        if prepared in self._due and not self._is_over and self._border.wake(prepared, stop):
            self._loop.call_later(2 * delay, partial(self._wake, prepared, stop, 2 * delay))

    def _look(self) -> None:
        """Take the steps that are due."""
        stuck = []
        with self._lock:
            now = self._loop.now()
            for prepared in [prepared for prepared, due in self._due.items() if due <= now]:
                # From now and not from when it was due: if this comes late, the attempt was not told before.
                self._due[prepared] = now + self._grace
                stop = prepared.stop
                if stop is None:
                    prepared.stop = Stop(_timeout_error(prepared))
                elif not stop.is_due:
                    self._border.interrupt(prepared, stop)
                    self._loop.call_later(_WAKE_AGAIN, partial(self._wake, prepared, stop, _WAKE_AGAIN))
                elif self._border.give_up(prepared, stop):
                    stuck.append(prepared)
            self._keep_watch()
            self._is_over = bool(stuck)
        if stuck:
            self._give_up(stuck)
        else:
            self._set_timer()


def _steps_left(prepared: Prepared) -> int:
    """How many more steps there are after the next one until the process ends."""
    if prepared.stop is None:
        return 2
    return 0 if prepared.stop.is_due else 1


def _timeout_error(prepared: Prepared) -> TaskTimeout:
    name = prepared.name
    timeout = prepared.attempt.timeout
    text = (
        f"{name} took longer than its timeout of {timeout:g} s. Give it a longer one, or see in the traceback what it "
        "waits for."
    )
    return TaskTimeout(text, task=name, timeout=timeout)
