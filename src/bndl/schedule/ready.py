"""Ready tasks, queued by how urgent they are and by where they want to run.

Tasks that are equally urgent and would all have the same workers form a group, a plain queue. A stage has one group as
long as nobody cares where its tasks run, and one for each place otherwise; so finding a task for a worker means looking
at groups, never at tasks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.state import TaskState

__all__ = ["Group", "ReadyTasks"]

#: Priority, scores, whether they wait, workers to avoid, and whether each gets a worker for itself.
_Key = tuple[int, tuple[tuple[str, int], ...], bool, tuple[str, ...], bool]


class Group:
    """Ready tasks that are equally urgent and would all have the same workers.

    Attributes:
        priority: the higher, the sooner.
        scores: how much each worker is wanted; 0 for those that are not in it, below 0 for those that are forbidden.
        waits: whether they wait for a better worker, rather than take what there is.
        avoid: workers that rank below all others that are allowed.
        tasks: in the order in which they are to be launched.
        oldest: since when one of its tasks has been waiting at the longest, or earlier.
        is_plain: whether any worker will do.
        is_isolated: whether each of them gets a worker for itself.
    """

    __slots__ = (
        "_best",
        "_version",
        "avoid",
        "is_isolated",
        "is_plain",
        "key",
        "oldest",
        "priority",
        "scores",
        "tasks",
        "waits",
    )

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.priority, scores, self.waits, self.avoid, self.is_isolated = key
        self.scores: Mapping[str, int] = dict(scores)
        self.is_plain = not scores and not self.avoid
        self.tasks: deque[TaskState] = deque()
        self.oldest = math.inf
        self._best: Mapping[str, None] = {}
        self._version = -1

    def allows(self, worker: str) -> bool:
        """Whether a worker is not forbidden."""
        return self.scores.get(worker, 0) >= 0

    def best(self, workers: Collection[str], version: int) -> Mapping[str, None]:
        """The workers that no other one is preferred to, as keys; none if all are forbidden.

        Args:
            workers: all that are there.
            version: changes when they do.
        """
        if version != self._version:
            allowed = [worker for worker in workers if self.allows(worker)]
            highest = max(map(self.rank, allowed), default=(False, 0))
            self._best = {worker: None for worker in allowed if self.rank(worker) == highest}
            self._version = version
        return self._best

    def count_late(self, bound: float, now: float, most: int) -> int:
        """How many tasks are to be taken, at most ``most``, so that none is left that has waited for ``bound`` seconds.

        What is tried again comes first, so those that have waited for long may stand anywhere.
        """
        if most <= 0 or self.oldest + bound > now:
            return 0
        count = 0
        oldest = math.inf
        for position, task in enumerate(self.tasks, 1):
            if task.since + bound > now:
                oldest = min(oldest, task.since)
            elif position < most:
                count = position
            else:
                return most
        self.oldest = oldest
        return count

    def rank(self, worker: str) -> tuple[bool, int]:
        """How much a worker is wanted: the higher, the more."""
        return worker not in self.avoid, self.scores.get(worker, 0)


class ReadyTasks:
    """The ready tasks of a stage."""

    __slots__ = ("_count", "groups")

    def __init__(self) -> None:
        #: Groups that have tasks, by what makes them one.
        self.groups: dict[_Key, Group] = {}
        self._count = 0

    def push(self, task: TaskState, priority: int, scores: Mapping[str, int], *, waits: bool, first: bool) -> None:
        """Queue a task, as the first or as the last of its group."""
        key = (priority, tuple(sorted(scores.items())) if scores else (), waits, task.avoid, task.is_isolated)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key)
        task.group = group
        group.oldest = min(group.oldest, task.since)
        (group.tasks.appendleft if first else group.tasks.append)(task)
        self._count += 1

    def took(self, group: Group, count: int) -> None:
        """So many tasks were taken out of a group."""
        self._count -= count
        if not group.tasks:
            del self.groups[group.key]

    def remove(self, task: TaskState) -> None:
        """Take a task out, wherever it stands."""
        group = task.group
        if group is not None:
            group.tasks.remove(task)
            task.group = None
            self.took(group, 1)

    def prune(self) -> None:
        """Take out the tasks that are not ready any more."""
        for group in list(self.groups.values()):
            kept = deque(task for task in group.tasks if task.state is State.READY)
            gone = len(group.tasks) - len(kept)
            if gone:
                for task in group.tasks:
                    if task.state is not State.READY:
                        task.group = None
                group.tasks = kept
                self._count -= gone
                if not kept:
                    del self.groups[group.key]

    def clear(self) -> list[TaskState]:
        """Take all tasks out."""
        tasks = list(self)
        for task in tasks:
            task.group = None
        self.groups.clear()
        self._count = 0
        return tasks

    def __iter__(self) -> Iterator[TaskState]:
        for group in self.groups.values():
            yield from group.tasks

    def __len__(self) -> int:
        return self._count
