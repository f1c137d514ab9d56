"""Ready tasks, queued by how urgent they are and by where they want to run.

Tasks that are equally urgent and would all have the same workers form a group, a plain queue. A stage has one group as
long as nobody cares where its tasks run, and one for each place otherwise; so finding a task for a worker means looking
at groups, never at tasks. There may be a group for each of a thousand workers, so those that would have a worker are
found by its name.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from bndl.schedule.groups import Group, Key, Scores, shared
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.state import TaskState

__all__ = ["Level", "ReadyTasks"]


class Level:
    """The groups of a stage that are equally urgent.

    Attributes:
        alone: those whose tasks get a worker for each of them, by number.
        placed: those that prefer some workers and may have others as well.
        eager: those of them that take what there is, rather than wait for a better worker.
        plain: those that do not care.
        oldest: since when a task that waits for a better worker has been waiting at the longest, or earlier.
        oldest_failed: the same for tasks that failed on a worker and wait for another one.
    """

    __slots__ = (
        "_anywhere",
        "_groups",
        "_near",
        "_places",
        "alone",
        "eager",
        "oldest",
        "oldest_failed",
        "placed",
        "plain",
    )

    def __init__(self) -> None:
        self.alone: dict[int, Group] = {}
        self.placed: dict[int, Group] = {}
        self.eager: dict[int, Group] = {}
        self.plain: dict[int, Group] = {}
        self.oldest = math.inf
        self.oldest_failed = math.inf
        self._groups: dict[int, Group] = {}
        #: Those that are neither alone nor plain by the workers that are best for them, if these are few, and the rest.
        self._near: dict[str, dict[int, Group]] = {}
        self._anywhere: dict[int, Group] = {}
        #: What each is found by.
        self._places: dict[int, Iterable[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, group: Group) -> None:
        """There is another group. If it cares where its tasks run it is found once it is settled."""
        self._groups[group.number] = group
        if group.is_isolated:
            self.alone[group.number] = group
        elif group.is_plain:
            self.plain[group.number] = group

    def remove(self, group: Group) -> None:
        """A group has no tasks any more."""
        for groups in (self._groups, self.alone, self.plain):
            groups.pop(group.number, None)
        self._displace(group.number)

    def _displace(self, number: int) -> None:
        """Forget where a group is to be looked for."""
        for groups in (self.placed, self.eager, self._anywhere):
            groups.pop(number, None)
        for worker in self._places.pop(number, ()):
            near = self._near[worker]
            del near[number]
            if not near:
                del self._near[worker]

    def settle(self, group: Group, workers: Mapping[str, object], version: int) -> None:
        """Find out where a group is to be looked for, given which workers are there."""
        if group.is_isolated or group.is_plain:
            return
        number = group.number
        self._displace(number)
        if group.count_others(workers, version):
            self.placed[number] = group
            if not group.waits:
                self.eager[number] = group
        best = group.best(workers, version)
        if not isinstance(best, dict):
            self._anywhere[number] = group
            return
        self._places[number] = best
        for worker in best:
            self._near.setdefault(worker, {})[number] = group

    def find(self, workers: Collection[str]) -> Iterator[Group]:
        """The groups of which the best workers may be among these, in the order in which they go first.

        Those that care where they run come before those that do not, or others would take their places. Groups may be
        removed meanwhile. One that is found by several workers comes several times.
        """
        if self._near:
            for worker in list(shared(self._near, workers)):
                yield from list(self._near.get(worker, {}).values())
        if self._anywhere:
            yield from list(self._anywhere.values())
        yield from list(self.plain.values())


class ReadyTasks:
    """The ready tasks of a stage."""

    __slots__ = ("_count", "_made", "_new", "_order", "_version", "groups", "levels")

    def __init__(self) -> None:
        #: Groups that have tasks, by what makes them one.
        self.groups: dict[Key, Group] = {}
        #: The same by priority.
        self.levels: dict[int, Level] = {}
        self._count = 0
        self._made = 0
        #: The priorities in order, and some that are gone; None if there is a new one.
        self._order: list[int] | None = []
        #: Those that are yet to be settled, as long as the version of the workers is this one.
        self._new: list[Group] = []
        self._version = -1

    def push(self, task: TaskState, priority: int, scores: Mapping[str, int], *, waits: bool, first: bool) -> None:
        """Queue a task, as the first or as the last of its group."""
        wanted = scores if isinstance(scores, Scores) and scores else tuple(sorted(scores.items()))
        key = (priority, wanted, waits, task.avoid, task.is_isolated)
        group = self.groups.get(key) or self._make(key)
        task.group = group
        since = task.since
        group.oldest = min(group.oldest, since)
        if waits and not group.is_plain:
            level = self.levels[priority]
            if group.scores:
                level.oldest = min(level.oldest, since)
            if group.avoid:
                level.oldest_failed = min(level.oldest_failed, since)
        (group.tasks.appendleft if first else group.tasks.append)(task)
        self._count += 1

    def _make(self, key: Key) -> Group:
        group = self.groups[key] = Group(key, self._made)
        self._made += 1
        level = self.levels.get(group.priority)
        if level is None:
            level = self.levels[group.priority] = Level()
            self._order = None
        level.add(group)
        if not group.is_plain:
            self._new.append(group)
        return group

    def below(self, priority: float) -> int | None:
        """The highest priority that is less than this one."""
        levels = self.levels
        if len(levels) == 1:
            (only,) = levels
            return only if only < priority else None
        if self._order is None:
            self._order = sorted(levels)
        order = self._order
        while order and order[-1] not in levels:
            order.pop()
        index = bisect_left(order, priority) - 1
        while index >= 0 and order[index] not in levels:
            index -= 1
        return order[index] if index >= 0 else None

    def is_unsettled(self, version: int) -> bool:
        """Whether there is something to settle."""
        return version != self._version or bool(self._new)

    def settle(self, workers: Mapping[str, object], version: int) -> list[Group]:
        """Take note of which workers are there. Returns groups that none of them may have, unless they were before.

        Args:
            workers: all that are there.
            version: changes when they do.
        """
        if version == self._version:
            groups = [group for group in self._new if self.groups.get(group.key) is group]
        else:
            groups = list(self.groups.values())
            self._version = version
        self._new = []
        forbidden = []
        for group in groups:
            if not group.is_plain:
                self.levels[group.priority].settle(group, workers, version)
                if not group.best(workers, version):
                    forbidden.append(group)
        return forbidden

    def took(self, group: Group, count: int) -> None:
        """So many tasks were taken out of a group."""
        self._count -= count
        if not group.tasks:
            del self.groups[group.key]
            level = self.levels[group.priority]
            level.remove(group)
            if not level:
                del self.levels[group.priority]

    def remove(self, task: TaskState) -> None:
        """Take a task out, wherever it stands."""
        group = task.group
        if group is not None:
            group.tasks.remove(task)
            task.group = None
            self.took(group, 1)

    def prune(self) -> None:
        """Take out the tasks that are not ready any more."""
        self._filter(list(self.groups.values()), lambda task: task.state is State.READY)

    def remove_all(self, tasks: Iterable[TaskState]) -> None:
        """Take those of many tasks out that are in here, looking once at each that is queued with them."""
        groups: dict[int, Group] = {}
        gone: set[int] = set()
        for task in tasks:
            if task.group is not None and task.stage.ready is self:
                groups[task.group.number] = task.group
                gone.add(task.id)
        self._filter(groups.values(), lambda task: task.id not in gone)

    def _filter(self, groups: Iterable[Group], stays: Callable[[TaskState], bool]) -> None:
        for group in groups:
            kept = deque(task for task in group.tasks if stays(task))
            gone = len(group.tasks) - len(kept)
            if gone:
                for task in group.tasks:
                    if not stays(task):
                        task.group = None
                group.tasks = kept
                self.took(group, gone)

    def clear(self) -> list[TaskState]:
        """Take all tasks out."""
        tasks = list(self)
        for task in tasks:
            task.group = None
        self.groups.clear()
        self.levels.clear()
        self._order = []
        self._new.clear()
        self._count = 0
        return tasks

    def __iter__(self) -> Iterator[TaskState]:
        for group in self.groups.values():
            yield from group.tasks

    def __len__(self) -> int:
        return self._count
