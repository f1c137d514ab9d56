"""How many tasks of a stage each worker is given.

Free slots are filled first, evenly. Then workers may be given tasks in advance, to have the next one at hand while the
result of the last one travels: as many as the worker gets through in ``LOOKAHEAD`` seconds, but never more than its
share of what is left, halved: guided self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers C-36,
1987, p. 1425). So long tasks are never queued, and short ones less and less as the stage comes to its end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from bndl.schedule.state import StageState, WorkerState

__all__ = ["LOOKAHEAD", "MOST_AHEAD", "NOTABLE_BYTES", "allot", "has_room", "preferred_by_inputs", "tasks_ahead"]

#: How much work, in seconds, a slot may have waiting.
LOOKAHEAD = 0.02
#: How many tasks a slot may have waiting at most.
MOST_AHEAD = 1000
#: How many bytes less there must be to fetch on a worker for it to be worth waiting for.
NOTABLE_BYTES = 256 << 10
#: Which part of the bytes a worker must have to be preferred, if it is not worth waiting for.
_MOST_OF_THEM = 0.75


def preferred_by_inputs(weights: Mapping[str, int]) -> tuple[Mapping[str, int], bool]:
    """Which worker a task prefers, given how many bytes of its inputs each worker keeps.

    The one that has most of them, if it is worth it.

    Returns:
        The scores of workers, and whether it is also worth waiting for.
    """
    if not any(weights.values()):
        return {}, False
    most = max(weights, key=weights.__getitem__)
    weight = weights[most]
    second = max((each for name, each in weights.items() if name != most), default=0)
    if weight - second >= NOTABLE_BYTES:
        return {most: 1}, True
    return ({most: 1} if weight >= _MOST_OF_THEM * sum(weights.values()) else {}), False


def tasks_ahead(stage: StageState, slots: int) -> int:
    """How many tasks of the stage a slot may have waiting, with ``slots`` of them in the cluster."""
    if stage.mean_seconds is None:
        return 0
    by_time = int(LOOKAHEAD / max(stage.mean_seconds, LOOKAHEAD / MOST_AHEAD))
    by_share = len(stage.ready) // (2 * slots)
    return min(by_time, by_share)


def has_room(worker: WorkerState, ahead: int) -> bool:
    """Whether a worker may be given tasks, of which a slot may have ``ahead`` waiting.

    One that has plenty is not topped up task by task: that would make many small messages.
    """
    if worker.free > 0:
        return True
    return bool(ahead) and worker.reserved_for is None and 2 * worker.load <= worker.concurrency * (1 + ahead)


def allot(workers: Iterable[WorkerState], tasks: int, ahead: int) -> Sequence[tuple[WorkerState, int]]:
    """Divide at most ``tasks`` tasks over workers.

    Args:
        workers: those that may have room, in order of preference.
        tasks: how many there are to divide.
        ahead: how many a slot may have waiting.

    Returns:
        Each worker that is given any, with how many.
    """
    workers = list(workers)
    free = [(worker, worker.free) for worker in workers if worker.free > 0]
    total = sum(count for _, count in free)
    given = dict(free) if total <= tasks else _spread(free, tasks)
    left = tasks - sum(given.values())
    if left and ahead:
        for worker in workers:
            if worker.reserved_for is not None:
                continue
            if worker not in given and not has_room(worker, ahead):
                continue
            room = worker.concurrency * (1 + ahead) - worker.load - given.get(worker, 0)
            count = min(room, left)
            if count > 0:
                given[worker] = given.get(worker, 0) + count
                left -= count
    return list(given.items())


def _spread(free: list[tuple[WorkerState, int]], tasks: int) -> dict[WorkerState, int]:
    """Fewer tasks than free slots: one at a time to the worker with the least load for its size."""
    heap = [(worker.load / worker.concurrency, index) for index, (worker, _) in enumerate(free)]
    heapq.heapify(heap)
    given: dict[WorkerState, int] = {}
    for _ in range(tasks):
        load, index = heap[0]
        worker = free[index][0]
        given[worker] = given.get(worker, 0) + 1
        heapq.heapreplace(heap, (load + 1 / worker.concurrency, index))
    return given
