"""Virtual time: a loop that never waits. Whatever runs on it takes no real time to wait for anything."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from bndl.loop import Timer

__all__ = ["VirtualTime"]


class VirtualTime:
    """A ``Loop`` that never waits: its time jumps to the next callback. An exception of a callback ends the run."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()

    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` at the present time, after all that is due by now."""
        self.call_later(0.0, partial(callback, *args))

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """The same as ``post``: there is one thread only."""
        self.post(callback, *args)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` virtual seconds."""
        return self.call_at(self._now + delay, callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` at the virtual time ``when``, or now if that is past."""
        timer = Timer(max(self._now, when), callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def run_until(self, predicate_or_time: Callable[[], bool] | float, limit: float = float("inf")) -> None:
        """Run until the predicate holds, or until the given time.

        Args:
            predicate_or_time: asked before the first callback and after each; or a time, which ``now()`` is then.
            limit: virtual seconds that it may take at most.

        Raises:
            TimeoutError: if the limit is reached before, or nothing is left to run and the predicate does not hold.
        """
        deadline = self._now + limit
        if not callable(predicate_or_time):
            if predicate_or_time > deadline:
                raise TimeoutError(f"virtual time {predicate_or_time} is more than {limit} s after {self._now}")
            self._run(lambda: False, predicate_or_time)
            self._now = max(self._now, predicate_or_time)
        elif not self._run(predicate_or_time, deadline):
            left = "nothing is left to run" if self._next() is None else f"the limit of {limit} s is reached"
            raise TimeoutError(f"at {self._now:.6f} s {left}, and this does not hold: {predicate_or_time!r}")

    def run(self, limit: float) -> bool:
        """Run until nothing is left to run, for at most ``limit`` virtual seconds. Returns whether nothing is left."""
        self._run(lambda: False, self._now + limit)
        return self._next() is None

    def _run(self, done: Callable[[], bool], deadline: float) -> bool:
        while not done():
            timer = self._next()
            if timer is None or timer.when > deadline:
                return False
            heapq.heappop(self._timers)
            self._now = timer.when
            timer.callback()
        return True

    def _next(self) -> Timer | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][2] if self._timers else None
