"""Ready tasks that are equally urgent and would all have the same workers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bndl.schedule.state import TaskState

__all__ = ["Group", "Key", "Scores", "intern", "shared"]


class Scores(dict[str, int]):
    """How much workers are wanted. Told apart by identity, so that very many need not be compared for each task."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


def intern(scores: Mapping[int, Mapping[str, int]]) -> Mapping[int, Scores]:
    """The scores of tasks: what is equal is one and the same."""
    known: dict[tuple[tuple[str, int], ...], Scores] = {}
    found = {}
    for task, each in scores.items():
        key = tuple(sorted(each.items()))
        found[task] = known.get(key) or known.setdefault(key, Scores(each))
    return found


#: Priority, scores, whether they wait, workers to avoid, and whether each gets a worker for itself.
Key = tuple[int, Scores | tuple[tuple[str, int], ...], bool, tuple[str, ...], bool]


class AllBut(Collection[str]):
    """All workers but a few.

    Args:
        workers: all of them.
        few: those of them that are not in it.
    """

    def __init__(self, workers: Mapping[str, object], few: AbstractSet[str]) -> None:
        self._workers = workers
        self._few = few

    def __contains__(self, worker: object) -> bool:
        return worker in self._workers and worker not in self._few

    def __iter__(self) -> Iterator[str]:
        return (worker for worker in self._workers if worker not in self._few)

    def __len__(self) -> int:
        return len(self._workers) - len(self._few)


class Group:
    """Ready tasks that are equally urgent and would all have the same workers.

    Attributes:
        priority: the higher, the sooner.
        scores: how much each worker is wanted; 0 for those that are not in it, below 0 for those that are forbidden.
        waits: whether they wait for a better worker, rather than take what there is.
        avoid: workers that rank below all others that are allowed.
        tasks: in the order in which they are to be launched.
        wishes: the workers that are wanted more than any that is not in it.
        forbidden: the workers that they must not have.
        oldest: since when one of its tasks has been waiting at the longest, or earlier.
        number: how many groups there were before it.
        is_plain: whether any worker will do.
        is_isolated: whether each of them gets a worker for itself.
    """

    __slots__ = (
        "_best",
        "_version",
        "avoid",
        "forbidden",
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

    def __init__(self, key: Key, number: int) -> None:
        self.key = key
        self.number = number
        self.priority, scores, self.waits, self.avoid, self.is_isolated = key
        self.scores: Mapping[str, int] = scores if isinstance(scores, Scores) else dict(scores)
        self.is_plain = not scores and not self.avoid
        self.wishes = tuple(worker for worker, score in self.scores.items() if score > 0 and worker not in self.avoid)
        self.forbidden = tuple(worker for worker, score in self.scores.items() if score < 0)
        self.tasks: deque[TaskState] = deque()
        self.oldest = math.inf
        self._best: Collection[str] = ()
        self._version = -1

    def allows(self, worker: str) -> bool:
        """Whether a worker is not forbidden."""
        return self.scores.get(worker, 0) >= 0

    def best(self, workers: Mapping[str, object], version: int) -> Collection[str]:
        """The workers that no other one is preferred to; none if all are forbidden.

        Args:
            workers: all that are there, by name. They are looked at again when they are asked for.
            version: changes when they do.
        """
        if version != self._version:
            self._best = self._find_best(workers)
            self._version = version
        return self._best

    def _find_best(self, workers: Mapping[str, object]) -> Collection[str]:
        if liked := [worker for worker in self.wishes if worker in workers]:
            highest = max(self.scores[worker] for worker in liked)
            return {worker: None for worker in liked if self.scores[worker] == highest}
        unwanted = {worker for worker in (*self.avoid, *self.forbidden) if worker in workers}
        if len(unwanted) < len(workers):
            return AllBut(workers, unwanted)
        allowed = [worker for worker in workers if self.allows(worker)]
        highest_rank = max(map(self.rank, allowed), default=(False, 0))
        return {worker: None for worker in allowed if self.rank(worker) == highest_rank}

    def is_avoiding(self, workers: Mapping[str, object], version: int) -> bool:
        """Whether its tasks failed on some workers, and there is one that they may have and did not fail on."""
        return bool(self.avoid) and next(iter(self.best(workers, version)), self.avoid[0]) not in self.avoid

    def count_others(self, workers: Mapping[str, object], version: int) -> int:
        """How many workers there are that are allowed, and not the best."""
        forbidden = sum(worker in workers for worker in self.forbidden)
        return len(workers) - forbidden - len(self.best(workers, version))

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


def shared(one: Collection[str], other: Collection[str]) -> Iterator[str]:
    """What is in both, in the order of the smaller one. Each finds a name quickly."""
    small, large = (one, other) if len(one) < len(other) else (other, one)
    return (name for name in small if name in large)
