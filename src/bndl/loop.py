"""One thread that owns a state: callbacks run on it one at a time, in order, and at given times.

What a node decides, it decides on its loop; so its state needs no locks. ``ThreadLoop`` is the real one.
``net.memory.VirtualTime`` is another, on which a whole cluster runs in one thread and no real time.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Protocol

__all__ = ["Loop", "ThreadLoop", "Timer"]

logger = logging.getLogger(__name__)


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
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
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
        self._queue.put((callback, args))

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
        self._queue.put(None)
        if self._thread.is_alive() and not self.is_current():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                callback, args = item
                callback(*args)
        except BaseException as error:  # where the thread ends: nobody else would hear of it
            logger.exception("the loop %s crashed", self._thread.name)
            self._on_crash(error)

    def _next(self) -> tuple[Callable[..., object], tuple[Any, ...]] | None:
        """The next thing to run: a timer that is due, or else what was posted."""
        while True:
            timeout = None
            if self._timers:
                when, _, timer = self._timers[0]
                timeout = when - time.monotonic()
                if timer.cancelled or timeout <= 0:
                    heapq.heappop(self._timers)
                    if timer.cancelled:
                        continue
                    return timer.callback, ()
            try:
                return self._queue.get(timeout=timeout)
            except Empty:
                continue
