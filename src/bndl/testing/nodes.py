"""What makes up a simulated node: a loop that stands still or ends with its node, and slots in virtual time."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from bndl.driver.futures import Loops
from bndl.errors import TaskInterrupted
from bndl.execute.border import INSIDE
from bndl.execute.slots import Prepared
from bndl.loop import Timer
from bndl.net.fabric import Fabric, Listener
from bndl.net.memory import VirtualTime
from bndl.net.messages import decode

__all__ = ["NodeLoop", "OneLoop", "TracedFabric", "VirtualParts", "VirtualSlots"]

T = TypeVar("T")

#: Timers go off at multiples of so many seconds. So they are late, as real ones are, and other things happen before.
_TICK = 0.001


class NodeLoop:
    """The loop of one node on the virtual time of all. While the node is frozen its callbacks wait."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._held: list[tuple[Timer, Callable[[], object]]] = []
        self.is_frozen = False
        self.is_dead = False

    def now(self) -> float:
        """Virtual seconds. They go on for a frozen node too."""
        return self._time.now()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` after all that was posted before."""
        self.call_later(0.0, partial(callback, *args))

    def run_or_post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run ``callback(*args)`` now, or as ``post`` does it if the node is frozen."""
        if self.is_frozen:
            self.post(callback, *args)
        elif not self.is_dead:
            callback(*args)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback()`` in ``delay`` virtual seconds, or when the node is thawed if it is frozen then."""
        if delay > 0.0:
            now = self.now()
            delay = math.ceil((now + delay) / _TICK) * _TICK - now
        timer = self._time.call_later(delay, lambda: self._run(timer, callback))
        return timer

    def kill(self) -> None:
        """Run nothing any more."""
        self.is_dead = True
        self._held.clear()

    def freeze(self) -> None:
        """Run nothing until ``thaw``."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Run what was due in the meantime, in order, and go on."""
        self.is_frozen = False
        held, self._held = self._held, []
        for timer, callback in held:
            self._time.post(self._run, timer, callback)

    def _run(self, timer: Timer, callback: Callable[[], object]) -> None:
        if self.is_dead or timer.cancelled:
            return
        if self.is_frozen:
            self._held.append((timer, callback))
        else:
            callback()


class VirtualSlots:
    """Slots in which an attempt takes virtual time. Its function is called when that time is over.

    An attempt that is interrupted ends at that time, and its function is not called.

    Args:
        count: how many attempts run at the same time.
        loop: of the worker.
        begin: is told of each attempt before it is executed.
        execute: executes one attempt.
        duration: how many virtual seconds an attempt takes.
    """

    def __init__(
        self,
        count: int,
        loop: NodeLoop,
        begin: Callable[[Prepared], None],
        execute: Callable[[Prepared], None],
        duration: Callable[[Prepared], float],
    ) -> None:
        self._count = count
        self._loop = loop
        self._begin_one = begin
        self._execute = execute
        self._duration = duration
        self.queue: deque[Prepared] = deque()
        self.running: dict[Prepared, Timer] = {}

    def put(self, attempts: Sequence[Prepared]) -> None:
        """Queue attempts."""
        self.queue.extend(attempts)
        self._begin()

    def take_back(self, driver: str, attempts: Sequence[tuple[int, int]] | None) -> list[Prepared]:
        """Remove those of these attempts that have not begun, or all of a driver's."""
        wanted = None if attempts is None else {tuple(attempt) for attempt in attempts}
        taken = [
            prepared
            for prepared in self.queue
            if prepared.driver == driver
            and (wanted is None or (prepared.attempt.task, prepared.attempt.number) in wanted)
        ]
        for prepared in taken:
            self.queue.remove(prepared)
        return taken

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""
        return not self.queue

    def interrupt(self, prepared: Prepared) -> None:
        """End an attempt now."""
        self.running[prepared].cancel()
        self.running[prepared] = self._loop.call_later(0.0, partial(self._end, prepared))

    def _begin(self) -> None:
        while self.queue and len(self.running) < self._count:
            prepared = self.queue.popleft()
            self._begin_one(prepared)
            prepared.phase = INSIDE  # it is where a real one would be
            prepared.thread = threading.get_ident()
            self.running[prepared] = self._loop.call_later(self._duration(prepared), partial(self._end, prepared))

    def _end(self, prepared: Prepared) -> None:
        self._execute(prepared)
        del self.running[prepared]
        self._begin()


class OneLoop(Loops):
    """The loops of a driver, which are one, and run the code of users, too."""

    def beside(self, call: Callable[[], object]) -> None:
        """Run it at once."""
        call()


class NoTimer:
    """The watchdog's timer in a world where nothing holds a lock."""

    def start(self, seconds: float) -> None:
        """Nothing."""

    def cancel(self) -> None:
        """Nothing."""


class VirtualParts:
    """What a simulated worker is made of: ``WorkerParts``, all on one loop.

    Args:
        loop: of the worker.
        duration: how many virtual seconds an attempt takes.
        on_end: called when the worker ends itself, with the reason, and the place in the user's code that it is about.
        is_stubborn: whether an attempt does not end when it is interrupted.
    """

    def __init__(
        self,
        loop: NodeLoop,
        duration: Callable[[Prepared], float],
        on_end: Callable[[str, str], None] = lambda _, __: None,
        is_stubborn: Callable[[Prepared], bool] = lambda _: False,
    ) -> None:
        self.loop = self.bulk_loop = self.watch_loop = loop
        self.timer = NoTimer()
        self.end = on_end
        self._duration = duration
        self._is_stubborn = is_stubborn
        self.slots: VirtualSlots

    def make_slots(
        self, count: int, begin: Callable[[Prepared], None], execute: Callable[[Prepared], None]
    ) -> VirtualSlots:
        """Room for ``count`` tasks."""
        self.slots = VirtualSlots(count, self.loop, begin, execute, self._duration)
        return self.slots

    def recording(self, execute: Callable[[Prepared], T]) -> Callable[[Prepared], T]:
        """The same: nothing is noted here."""
        return execute

    def interrupt(self, prepared: Prepared, _: type[TaskInterrupted]) -> None:
        """End an attempt as an exception would do it."""
        if not self._is_stubborn(prepared):
            self.slots.interrupt(prepared)

    def withdraw(self, _: Prepared) -> None:
        """Nothing: an interruption is never late here."""

    def wake(self, _: Prepared) -> None:
        """Nothing: an attempt never waits here."""

    def watch_missed(self, _: Callable[[Prepared], None]) -> None:
        """Nothing: an interruption is never missed here."""

    def tidy(self, _: Callable[[], bool]) -> None:
        """Nothing: an attempt changes nothing here."""

    def pause(self) -> None:
        """Nothing: the network needs no turn."""

    def run_beside(self, call: Callable[[], None]) -> None:
        """Run a call from a peer beside the tasks."""
        self.loop.post(call)


class TracedFabric:
    """A fabric that tells what is sent on it.

    Args:
        fabric: carries the frames.
        on_send: called with the sender, the receiver, the kind of the message and the frame's size.
    """

    def __init__(self, fabric: Fabric, on_send: Callable[[str, str, str, int], None]) -> None:
        self._fabric = fabric
        self._on_send = on_send

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._fabric.name

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node listens."""
        return self._fabric.addresses

    def start(self, listener: Listener) -> None:
        """Go on the air."""
        self._fabric.start(listener)

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send, and tell of it."""
        self._on_send(self.name, to, type(decode(frame)).__name__, len(frame))
        self._fabric.send(to, frame, bulk=bulk)

    def close(self) -> None:
        """Withdraw."""
        self._fabric.close()
