"""A task that was on a worker each time when two were lost gets the third one for itself.

Before that it is only suspect, and runs beside others: most workers are not lost for what they execute. If the third
one is lost too, it is certain whose doing that was, and the others before. So a task that ends every worker that it
meets takes no other one with it.

If no worker is empty one is emptied, by launching nothing else there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bndl.schedule.ready import Group
from bndl.schedule.state import StageState, TaskState, WorkerState
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["Quarantine"]


class Quarantine:
    """The workers that are reserved for single tasks.

    Args:
        scheduler: whose workers they are.

    Attributes:
        reserved: those workers, by name.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.reserved: dict[str, WorkerState] = {}

    def remove(self, worker: WorkerState) -> None:
        """A worker leaves, or is gone."""
        self.reserved.pop(worker.name, None)

    def release(self, may_launch: Callable[[StageState], bool]) -> list[WorkerState]:
        """Give back the workers that no task waits for or has any more; returns which.

        A task that may not be launched now does not wait, nor one that finds an empty worker elsewhere.
        """
        released = []
        for name, worker in list(self.reserved.items()):
            task = worker.reserved_for
            waits = task is not None and task.state is State.READY and may_launch(task.stage)
            if waits and worker.load:
                waits = not any(self._is_free_for(task, other) for other in self._scheduler.workers.values())
            has_it = task is not None and task.state is State.PENDING and worker.running.get(task.id) is task
            if not waits and not has_it:
                worker.reserved_for = None
                del self.reserved[name]
                released.append(worker)
        return released

    def _is_free_for(self, task: TaskState | None, worker: WorkerState) -> bool:
        """Whether a worker is empty, and a task may have it."""
        group = None if task is None else task.group
        return not worker.load and worker.reserved_for is None and group is not None and group.allows(worker.name)

    def find_worker(self, task: TaskState, group: Group, version: int) -> WorkerState | None:
        """An empty worker for a task, which is reserved for it then. If there is none, one is emptied."""
        for worker in self.reserved.values():
            if worker.reserved_for is task:
                return worker if not worker.load else None
        workers = {name: worker for name, worker in self._scheduler.workers.items() if not worker.is_draining}
        best = group.best(workers, version)
        allowed = [worker for name, worker in workers.items() if group.allows(name) and worker.reserved_for is None]
        if not allowed:
            return None
        chosen = min(allowed, key=lambda worker: (worker.load > 0, worker.name not in best, worker.load))
        chosen.reserved_for = task
        self.reserved[chosen.name] = chosen
        return chosen if not chosen.load else None
