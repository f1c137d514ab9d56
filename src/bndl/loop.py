"""One thread that owns a state: callbacks run on it one at a time, in order, and at given times.

What a node decides, it decides on its loop; so its state needs no locks. ``ThreadLoop`` is the real one.
``net.memory.VirtualTime`` is another, on which a whole cluster runs in one thread and no real time.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from bndl.logs import get_logger
from bndl.waits import capped

__all__ = ["Loop", "ThreadLoop", "Timer"]

logger = get_logger(__name__)

#: A callback with its arguments.
_Item = tuple[Callable[..., object], tuple[Any, ...]]

#: What is posted to make the thread look around.
_NOTHING: _Item = (int, ())
#: How many timers there are before those that were cancelled are looked for.
_FEW_TIMERS = 64


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
        """Run ``callback(*args)`` after all that was posted before. Returns at once.

        For all threads, and for finalizers, which the collection of garbage may call anywhere, also within ``post``.
        """

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` after all that was handed over in this way before, maybe in this thread, now.

        There is no order between this and ``post``. Not for the main thread, where a Ctrl-C could end the callback
        halfway.
        """

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` seconds. Only to be called on the loop."""


class ThreadLoop:
    """A loop on a daemon thread of its own.

    No lock is needed to post: an interrupt could leave it locked, and a finalizer could find it locked by the very
    thread that it runs in. One lock says whose turn it is. The thread has it while it is awake; while it sleeps, others
    take it to run what they hand over.

    Args:
        name: of the thread.
        on_crash: called where a callback raised, on the loop: the state that the loop owns may be broken then, so
            nothing further runs on it.
    """

    def __init__(self, name: str, on_crash: Callable[[BaseException], None]) -> None:
        #: What was posted. Putting something in is a single step of the interpreter, and wakes the thread.
        self._posted: SimpleQueue[_Item] = SimpleQueue()
        #: What was handed over. Whoever has the turn sees to it; whoever gives up the turn looks again afterwards.
        self._handed: deque[_Item] = deque()
        self._turn = threading.Lock()
        #: Whether the thread has the turn, or is about to take it.
        self._awake = True
        #: Whether nothing runs any more: it was stopped, or a callback raised.
        self._over = False
        #: When the thread looks again by itself.
        self._sleeps_until = math.inf
        self._timers: list[tuple[float, int, Timer]] = []
        #: With how many timers those that were cancelled are looked for.
        self._most_timers = _FEW_TIMERS
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
        """Run ``callback(*args)`` on the loop's thread after all that was posted before. Nothing after the end."""
        if not self._over:
            self._posted.put((callback, args))

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` in this thread if the loop has nothing to do, which saves waking its thread.

        All that is handed over in this way runs in order. Not for the main thread, where a Ctrl-C could end the
        callback halfway.
        """
        if self._over:
            return
        handed = self._handed
        handed.append((callback, args))
        while handed and not self._awake and self._turn.acquire(blocking=False):
            try:
                self._run_handed()
                if self._over or (self._timers and self._timers[0][0] < self._sleeps_until):
                    self._posted.put(_NOTHING)
            finally:
                self._turn.release()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` seconds; to be called on the loop only."""
        timer = Timer(self.now() + capped(delay), callback)
        timers = self._timers
        heapq.heappush(timers, (timer.when, next(self._order), timer))
        if len(timers) > self._most_timers:
            timers[:] = [entry for entry in timers if not entry[2].cancelled]
            heapq.heapify(timers)
            self._most_timers = max(2 * len(timers), _FEW_TIMERS)
        return timer

    def is_current(self) -> bool:
        """Whether the caller runs on this loop's thread."""
        return threading.current_thread() is self._thread

    def stop(self, timeout: float = 5.0) -> bool:
        """Run what was posted until now, then end the thread. Returns whether it ended within ``timeout`` seconds."""
        self.post(self._end)
        if self._thread.is_alive() and not self.is_current():
            self._thread.join(capped(timeout))
        return not self._thread.is_alive()

    def _end(self) -> None:
        self._over = True

    def _run(self) -> None:
        try:
            with self._turn:
                while not self._over:
                    timer, timeout = self._next_timer()
                    if timer is not None:
                        self._run_one((timer.callback, ()))
                    elif self._handed or not self._posted.empty():
                        self._run_handed()
                        self._run_posted()
                    else:
                        self._sleep(timeout)
        except BaseException as error:  # noqa: BLE001 - where the thread ends: nobody else would hear of it
            self._crash(error)
        self._timers.clear()

    def _run_handed(self) -> None:
        """Run the first thing that was handed over, if there is one."""
        if self._handed and not self._over:
            self._run_one(self._handed.popleft())

    def _run_posted(self) -> None:
        """Run the first thing that was posted, if there is one. Only the thread takes from there."""
        if not self._over and not self._posted.empty():
            self._run_one(self._posted.get_nowait())

    def _sleep(self, timeout: float | None) -> None:
        """Let others have their turn until something is posted, and run that."""
        self._sleeps_until = math.inf if timeout is None else time.monotonic() + timeout
        item = _NOTHING
        self._turn.release()
        self._awake = False
        try:
            # What was handed over while this thread was awake was left to it.
            if not self._handed:
                item = self._posted.get(timeout=timeout)
        except Empty:
            pass
        finally:
            self._awake = True
            self._turn.acquire()
        if not self._over:
            self._run_one(item)

    def _run_one(self, item: _Item) -> None:
        callback, args = item
        try:
            callback(*args)
        except BaseException as error:  # noqa: BLE001 - where the loop ends: its state may be broken
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        """Nothing further runs on the loop. Those who wait hear of it first, as a log handler may block or raise."""
        self._over = True
        try:
            self._on_crash(error)
        finally:
            logger.error("the loop %s crashed", self._thread.name, exc_info=error)

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
