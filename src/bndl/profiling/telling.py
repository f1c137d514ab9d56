"""What a node tells when it is asked, each thing once: also if an answer comes too late, or not at all.

A node keeps what it told until a driver that has heard it asks again, and tells the rest once more. All that it tells
has a number, so the driver does not add it twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bndl.profiling.wire import Heard, Told

__all__ = ["Hearing", "Telling"]

T = TypeVar("T")


class Telling(Generic[T]):
    """The node's side. Thread-safe.

    Args:
        session: which start of profiling it is of.
        take: gives what is new since the last time.
    """

    def __init__(self, session: int, take: Callable[[], Sequence[T]]) -> None:
        #: Tells it from others that this process, or another of its name, has or had.
        self._epoch = time.time_ns()
        self._session = session
        self._take = take
        self._lock = threading.Lock()
        self._number = 0
        self._batches: dict[int, Sequence[T]] = {}

    def tell(self, heard: Heard) -> Told[T]:
        """All that the driver has not heard.

        Args:
            heard: what it has.
        """
        epoch, last = heard
        with self._lock:
            if epoch == self._epoch:
                self._batches = {number: batch for number, batch in self._batches.items() if number > last}
            if new := self._take():
                self._number += 1
                self._batches[self._number] = new
            return Told(self._session, self._epoch, list(self._batches.items()))


class Hearing(Generic[T]):
    """The driver's side, for one session. To be used by one thread at a time.

    Args:
        session: which start of profiling it is of; what is of others is not heard.
    """

    def __init__(self, session: int = 0) -> None:
        self._session = session
        self._heard: dict[str, Heard] = {}

    def heard(self, worker: str) -> Heard:
        """What was heard of a node: its epoch, and the last number."""
        return self._heard.get(worker, (0, 0))

    def hear(self, worker: str, told: Told[T]) -> list[T]:
        """What is new of what a node told."""
        if told.session != self._session or not told.batches:
            return []
        epoch, last = self.heard(worker)
        if epoch != told.epoch:
            last = 0
        self._heard[worker] = (told.epoch, max(last, told.batches[-1][0]))
        return [each for number, batch in told.batches if number > last for each in batch]
