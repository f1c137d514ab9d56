"""The last transitions of a job's tasks: a bounded log of when, what and why."""

from __future__ import annotations

from collections import deque

import msgspec

from bndl.schedule.transitions import Cause, State

__all__ = ["Chapter", "Story"]


class Chapter(msgspec.Struct, frozen=True):
    """One transition of one task.

    Attributes:
        when: seconds, on the driver's clock.
        task: the task.
        before: its state before, ``None`` if it was not known.
        after: its state from then on.
        cause: why.
        number: its current attempt, 0 before the first.
        worker: the worker concerned, or empty.
    """

    when: float
    task: int
    before: State | None
    after: State
    cause: Cause
    number: int
    worker: str

    def __str__(self) -> str:
        where = f" on {self.worker}" if self.worker else ""
        return f"{self.when:.6f} {self.before or 'new'} -> {self.after}: {self.cause} (attempt {self.number}{where})"


class Story:
    """The last ``length`` transitions, of all tasks together, so that its size does not grow with the work."""

    def __init__(self, length: int = 50_000) -> None:
        #: Tuples rather than chapters: one is written for every transition, few are ever read.
        self.log: deque[tuple[float, int, State | None, State, Cause, int, str]] = deque(maxlen=length)

    def of(self, task: int) -> list[Chapter]:
        """What is still known of one task, oldest first. Thread-safe."""
        return [Chapter(*row) for row in list(self.log) if row[1] == task]
