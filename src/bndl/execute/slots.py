"""Room to run tasks: threads that take attempts from one queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from bndl.net.messages import Attempt

if TYPE_CHECKING:
    from bndl.execute.definitions import Definition, Tenancy

__all__ = ["Prepared", "Slots", "ThreadSlots"]


class Prepared:
    """An attempt that could begin.

    Attributes:
        tenancy: of the driver that wants it, as it was when the attempt was launched.
        definition: of its stage, as it was then.
        attempt: the attempt.
        inputs: what was fetched for it, by task.
        fetched: how many bytes came from other nodes.
        started: when it began, on the worker's clock; set by the slots.
    """

    __slots__ = ("attempt", "definition", "fetched", "inputs", "started", "tenancy")

    def __init__(
        self,
        tenancy: Tenancy,
        definition: Definition,
        attempt: Attempt,
        inputs: dict[int, bytes] | None = None,
        fetched: int = 0,
    ) -> None:
        self.tenancy = tenancy
        self.definition = definition
        self.attempt = attempt
        self.inputs = inputs
        self.fetched = fetched
        self.started = 0.0

    @property
    def driver(self) -> str:
        """Who wants it."""
        return self.tenancy.driver


class Slots(Protocol):
    """Runs attempts, some at a time, in the order in which they come."""

    def put(self, attempts: Sequence[Prepared]) -> None:
        """Queue attempts."""

    def take_back(self, driver: str, attempts: Sequence[tuple[int, int]] | None) -> list[Prepared]:
        """Remove those of these attempts that have not begun, or all of a driver's."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""


class ThreadSlots:
    """Slots that are threads.

    Args:
        count: how many attempts run at the same time.
        now: the clock.
        execute: runs one attempt. Must not raise.
    """

    def __init__(self, count: int, now: Callable[[], float], execute: Callable[[Prepared], None]) -> None:
        self._now = now
        self._execute = execute
        self._queue: deque[Prepared] = deque()
        self._filled = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"bndl-slot-{index}", daemon=True) for index in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, attempts: Sequence[Prepared]) -> None:
        """Queue attempts and wake as many threads as are of use."""
        with self._filled:
            self._queue.extend(attempts)
            self._filled.notify(len(attempts))

    def take_back(self, driver: str, attempts: Sequence[tuple[int, int]] | None) -> list[Prepared]:
        """Remove those of these attempts that have not begun, or all of a driver's."""
        wanted = None if attempts is None else {tuple(attempt) for attempt in attempts}
        taken = []
        for prepared in list(self._queue):
            attempt = prepared.attempt
            if prepared.driver == driver and (wanted is None or (attempt.task, attempt.number) in wanted):
                try:
                    self._queue.remove(prepared)
                except ValueError:  # begun in the meantime
                    continue
                taken.append(prepared)
        return taken

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    def _work(self) -> None:
        queue = self._queue
        while True:
            try:
                prepared = queue.popleft()  # without the lock: this is done for every task
            except IndexError:
                with self._filled:
                    while not queue:
                        self._filled.wait()
                continue
            prepared.started = self._now()
            self._execute(prepared)
