"""Ready tasks, queued by how urgent they are and by where they want to run.

Tasks that are equally urgent and would all have the same workers form a group, a plain queue. A stage has one group as
long as nobody cares where its tasks run, and one for each place otherwise; so finding a task for a worker means looking
at groups, never at tasks. There may be a group for each of a thousand workers, so those that would have a worker are
found by its name.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.state import TaskState

__all__ = ["Group", "Level", "ReadyTasks", "shared"]

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
        wishes: the workers that are wanted more than any that is not in it.
        oldest: since when one of its tasks has been waiting at the longest, or earlier.
        number: how many groups there were before it.
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
        "number",
        "oldest",
        "priority",
        "scores",
        "tasks",
        "waits",
        "wishes",
    )

    def __init__(self, key: _Key, number: int) -> None:
        self.key = key
        self.number = number
        self.priority, scores, self.waits, self.avoid, self.is_isolated = key
        self.scores: Mapping[str, int] = dict(scores)
        self.is_plain = not scores and not self.avoid
        self.wishes = tuple(worker for worker, score in scores if score > 0 and worker not in self.avoid)
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
            allowed = [worker for worker in self.wishes if worker in workers]
            allowed = allowed or [worker for worker in workers if self.allows(worker)]
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


class Level:
    """The groups of a stage that are equally urgent.

    Attributes:
        placed: those that prefer some workers, by number.
        eager: those of them that take what there is, rather than wait for a better worker.
        oldest: since when a task that waits for a better worker has been waiting at the longest, or earlier.
    """

    __slots__ = ("_alone", "_anywhere", "_near", "_plain", "eager", "oldest", "placed")

    def __init__(self) -> None:
        self.placed: dict[int, Group] = {}
        self.eager: dict[int, Group] = {}
        self.oldest = math.inf
        self._alone: dict[int, Group] = {}
        self._plain: dict[int, Group] = {}
        #: Of those that are placed: by the workers that they wish for, and those that may have to do with others.
        self._near: dict[str, dict[int, Group]] = {}
        self._anywhere: dict[int, Group] = {}

    def __bool__(self) -> bool:
        return bool(self.placed or self._alone or self._plain)

    def add(self, group: Group) -> None:
        """There is another group. Any worker may be its best one until it is settled."""
        if group.is_isolated:
            self._alone[group.number] = group
        elif group.is_plain:
            self._plain[group.number] = group
        else:
            self.placed[group.number] = self._anywhere[group.number] = group
            if not group.waits:
                self.eager[group.number] = group
            for worker in group.wishes:
                self._near.setdefault(worker, {})[group.number] = group

    def remove(self, group: Group) -> None:
        """A group has no tasks any more."""
        for groups in (self._alone, self._plain, self.placed, self.eager, self._anywhere):
            groups.pop(group.number, None)
        for worker in group.wishes:
            near = self._near.get(worker)
            if near is not None and near.pop(group.number, None) is not None and not near:
                del self._near[worker]

    def settle(self, group: Group, workers: Collection[str]) -> None:
        """Find out whether a worker is there that a group wishes for. Then no other one is its best."""
        if group.number not in self.placed:
            return
        if any(worker in workers for worker in group.wishes):
            self._anywhere.pop(group.number, None)
        else:
            self._anywhere[group.number] = group

    def find(self, workers: Collection[str]) -> list[Group]:
        """The groups of which the best workers may be among these, in the order in which they go first.

        Those that get a worker for each task, those that care where they run, or others would take their places, and
        the rest.
        """
        found = dict(self._anywhere)
        near = self._near
        for worker in shared(near, workers):
            found.update(near[worker])
        return [*self._alone.values(), *(found[number] for number in sorted(found)), *self._plain.values()]


def shared(one: Collection[str], other: Collection[str]) -> Iterator[str]:
    """What is in both, in the order of the smaller one. Each finds a name quickly."""
    small, large = (one, other) if len(one) < len(other) else (other, one)
    return (name for name in small if name in large)


class ReadyTasks:
    """The ready tasks of a stage."""

    __slots__ = ("_count", "_made", "_new", "_version", "groups", "levels")

    def __init__(self) -> None:
        #: Groups that have tasks, by what makes them one.
        self.groups: dict[_Key, Group] = {}
        #: The same by priority.
        self.levels: dict[int, Level] = {}
        self._count = 0
        self._made = 0
        #: Those that are yet to be settled, as long as the version of the workers is this one.
        self._new: list[Group] = []
        self._version = -1

    def push(self, task: TaskState, priority: int, scores: Mapping[str, int], *, waits: bool, first: bool) -> None:
        """Queue a task, as the first or as the last of its group."""
        key = (priority, tuple(sorted(scores.items())) if scores else (), waits, task.avoid, task.is_isolated)
        group = self.groups.get(key) or self._make(key)
        task.group = group
        since = task.since
        group.oldest = min(group.oldest, since)
        if waits and not group.is_plain:
            level = self.levels[priority]
            level.oldest = min(level.oldest, since)
        (group.tasks.appendleft if first else group.tasks.append)(task)
        self._count += 1

    def _make(self, key: _Key) -> Group:
        group = self.groups[key] = Group(key, self._made)
        self._made += 1
        level = self.levels.get(group.priority)
        if level is None:
            level = self.levels[group.priority] = Level()
        level.add(group)
        if not group.is_plain:
            self._new.append(group)
        return group

    def settle(self, workers: Collection[str], version: int) -> list[Group]:
        """Take note of which workers are there. Returns groups that none of them may have, unless they were before.

        Args:
            workers: all that are there.
            version: changes when they do.
        """
        if version == self._version:
            if not self._new:
                return []
            groups = [group for group in self._new if self.groups.get(group.key) is group]
        else:
            groups = list(self.groups.values())
            self._version = version
        self._new = []
        forbidden = []
        for group in groups:
            if not group.is_plain:
                self.levels[group.priority].settle(group, workers)
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
        for group in list(self.groups.values()):
            kept = deque(task for task in group.tasks if task.state is State.READY)
            gone = len(group.tasks) - len(kept)
            if gone:
                for task in group.tasks:
                    if task.state is not State.READY:
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
        self._new.clear()
        self._count = 0
        return tasks

    def __iter__(self) -> Iterator[TaskState]:
        for group in self.groups.values():
            yield from group.tasks

    def __len__(self) -> int:
        return self._count
