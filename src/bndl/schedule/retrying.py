"""When a task that failed is tried again: after a time that grows with each failure (exponential backoff).

The jitter keeps tasks that failed together from coming back together. It is drawn from the task's number and not from
chance, so the same events give the same instructions.
"""

from __future__ import annotations

import heapq

from bndl.schedule.events import RetryRule
from bndl.schedule.state import TaskState

__all__ = ["LONGEST_BACKOFF", "Delays", "delay_of"]

#: In seconds, a day. The time grows with each failure, and soon nobody would wait for its end.
LONGEST_BACKOFF = 86_400.0
_MASK = (1 << 64) - 1


def delay_of(rule: RetryRule, task: int, failures: int) -> float:
    """How many seconds a task waits that has failed ``failures`` times, at least once."""
    if rule.backoff <= 0.0:
        return 0.0
    try:
        grown = rule.backoff * rule.factor ** (failures - 1)
    except OverflowError:
        return LONGEST_BACKOFF
    return min(grown * (1.0 + rule.jitter * (2.0 * _spread(task, failures) - 1.0)), LONGEST_BACKOFF)


def _spread(task: int, failures: int) -> float:
    """A number from 0 to 1 that looks random: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    value = (task * 0x9E3779B97F4A7C15 + failures) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) / _MASK


class Delays:
    """The tasks that wait for the time of their next attempt."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, TaskState]] = []

    def add(self, when: float, task: TaskState) -> None:
        """Let a task wait until a time."""
        task.delayed = True
        heapq.heappush(self._heap, (when, task.id, task.failures, task))

    def release(self, now: float) -> list[TaskState]:
        """The tasks whose time has come, and that have not been cancelled in the meantime."""
        released = []
        while self._heap and self._heap[0][0] <= now:
            task = heapq.heappop(self._heap)[3]
            if task.delayed:
                task.delayed = False
                released.append(task)
        return released

    def due(self, task: TaskState) -> float:
        """Until when a task waits that does. This looks at all of them."""
        return max(when for when, _, _, each in self._heap if each is task)

    @property
    def next(self) -> float | None:
        """When the next one is due."""
        while self._heap and not self._heap[0][3].delayed:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
