"""One thread that owns a state: callbacks run on it one at a time, in order, and at given times.

What a node decides, it decides on its loop; so its state needs no locks. ``ThreadLoop`` is the real one.
``net.memory.VirtualTime`` is another, on which a whole cluster runs in one thread and no real time.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

__all__ = ["Loop", "ThreadLoop", "Timer"]

logger = logging.getLogger(__name__)

#: A callback with its arguments; None is the end.
_Item = tuple[Callable[..., object], tuple[Any, ...]] | None


class Timer:
    """A callback that is to run at a given time, unless it is cancelled before."""

    __slots__ = ("callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not run the callback. Harmless if it ran already."""
        self.cancelled = True


class Loop(Protocol):
    """Runs callbacks one at a time."""

    def now(self) -> float:
        """Seconds, monotonic, from an arbitrary start."""

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` after all that was posted before. Thread-safe, returns at once."""

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """Like ``post``, but may run the callback in this thread before it returns. Not for the main thread."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` seconds. Only to be called on the loop."""


class ThreadLoop:
    """A loop on a daemon thread of its own.

    Args:
        name: of the thread.
        on_crash: called on the loop's thread if a callback raises: the state that the loop owns may be broken then,
            so nothing further runs on it.
    """

    def __init__(self, name: str, on_crash: Callable[[BaseException], None]) -> None:
        self._queue: deque[_Item] = deque()
        #: Guards the queue and whose turn it is.
        self._changed = threading.Condition(threading.Lock())
        self._running = False
        self._broken = False
        #: When the thread looks again by itself.
        self._sleeps_until = math.inf
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._on_crash = on_crash
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` on the loop's thread after all that was posted before."""
        with self._changed:
            self._queue.append((callback, args))
            self._changed.notify()

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` in this thread if the loop has nothing to do, which saves waking its thread.

        The order is that of ``post``. Not for the main thread, where a Ctrl-C could end the callback halfway.
        """
        with self._changed:
            if self._running or self._queue or self._broken:
                self._queue.append((callback, args))
                self._changed.notify()
                return
            self._running = True
        self._run_one(callback, args)
        with self._changed:
            self._running = False
            if self._broken or self._queue or (self._timers and self._timers[0][0] < self._sleeps_until):
                self._changed.notify()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` seconds; to be called on the loop's thread only."""
        timer = Timer(self.now() + delay, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        return threading.current_thread() is self._thread

    def stop(self, timeout: float = 5.0) -> bool:
        """Run what was posted until now, then end the thread. Returns whether it ended within ``timeout`` seconds."""
        with self._changed:
            self._queue.append(None)
            self._changed.notify()
        if self._thread.is_alive() and not self.is_current():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._run_one(*item)
            self._running = False

    def _run_one(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except BaseException as error:  # the state may be broken, and nobody else would hear of it
            logger.exception("the loop %s crashed", self._thread.name)
            self._broken = True
            self._on_crash(error)

    def _next(self) -> _Item:
        """The next thing to run, a timer that is due or else what was posted; from then on it is the thread's turn."""
        with self._changed:
            while not self._broken:
                timeout = None
                if not self._running:
                    timer, timeout = self._next_timer()
                    if timer is not None or self._queue:
                        self._running = True
                        return (timer.callback, ()) if timer is not None else self._queue.popleft()
                self._sleeps_until = math.inf if timeout is None else time.monotonic() + timeout
                self._changed.wait(timeout)
        return None

    def _next_timer(self) -> tuple[Timer | None, float | None]:
        """The timer that is due, or in how many seconds the next one is; None and None if there is none."""
        while self._timers:
            when, _, timer = self._timers[0]
            timeout = when - time.monotonic()
            if timeout > 0 and not timer.cancelled:
                return None, timeout
            heapq.heappop(self._timers)
            if not timer.cancelled:
                return timer, None
        return None, None
