"""A task that was on a worker each time when two were lost gets the third one for itself.

Before that it is only suspect, and runs beside others: most workers are not lost for what they execute. If the third
one is lost too, it is certain whose doing that was, and the others before. So a task that ends every worker that it
meets takes no other one with it.

If no worker is empty one is emptied, by launching nothing else there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bndl.schedule.groups import Group
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

    def release(self, may_launch: Callable[[StageState], bool], version: int) -> list[WorkerState]:
        """Give back the workers that no task waits for or has any more; returns which.

        A task that may not be launched now does not wait, nor one that finds a better worker that is empty. What is
        given back may be just that for another task.
        """
        released: list[WorkerState] = []
        if not self.reserved:
            return released
        while given_back := [each for each in self.reserved.values() if not self._is_used(each, may_launch, version)]:
            for worker in given_back:
                worker.reserved_for = None
                del self.reserved[worker.name]
            released += given_back
        return released

    def _is_used(self, worker: WorkerState, may_launch: Callable[[StageState], bool], version: int) -> bool:
        """Whether the task that a worker is reserved for has it, or waits for it."""
        task = worker.reserved_for
        if task is None:
            return False
        if task.group is None or task.state is not State.READY:
            return worker.running.get(task.id) is task
        workers = self._staying()
        is_accepted = self._accepts(task.group, worker.name, workers, version)
        return is_accepted and may_launch(task.stage) and not self._finds_better(task.group, worker, workers, version)

    def _finds_better(
        self, group: Group, worker: WorkerState, workers: Mapping[str, WorkerState], version: int
    ) -> bool:
        """Whether there is an empty worker that tasks would rather have."""
        best = group.best(workers, version)
        if not worker.load and worker.name in best:
            return False
        names = workers if worker.load else best
        empty = [name for name in names if not workers[name].load and workers[name].reserved_for is None]
        return any(self._accepts(group, name, workers, version) for name in empty)

    def _accepts(self, group: Group, name: str, workers: Mapping[str, WorkerState], version: int) -> bool:
        """Whether tasks may have a worker. One on which they failed is no choice as long as there is another one."""
        return group.allows(name) and (name not in group.avoid or not group.is_avoiding(workers, version))

    def _staying(self) -> dict[str, WorkerState]:
        return {name: worker for name, worker in self._scheduler.workers.items() if not worker.is_draining}

    def find_served(self) -> list[TaskState]:
        """The tasks whose workers are empty now."""
        owners = [worker.reserved_for for worker in self.reserved.values() if not worker.load]
        return [task for task in owners if task is not None]

    def find_worker(self, task: TaskState, group: Group, version: int) -> WorkerState | None:
        """An empty worker for a task, which is reserved for it then. If there is none, one is emptied."""
        for worker in self.reserved.values():
            if worker.reserved_for is task:
                return worker if not worker.load else None
        workers = self._staying()
        best = group.best(workers, version)
        allowed = [
            worker
            for name, worker in workers.items()
            if worker.reserved_for is None and self._accepts(group, name, workers, version)
        ]
        if not allowed:
            return None
        chosen = min(allowed, key=lambda worker: (worker.load > 0, worker.name not in best, worker.load))
        chosen.reserved_for = task
        self.reserved[chosen.name] = chosen
        return chosen if not chosen.load else None
