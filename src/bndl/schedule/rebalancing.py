"""Slots are idle while attempts are queued elsewhere: those are taken back from workers that have been silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bndl.schedule.instructions import TakeBack
from bndl.schedule.placement import LOOKAHEAD
from bndl.schedule.state import WorkerState

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["PATIENCE", "Rebalancer"]

#: For how many seconds a worker may be silent before its queued attempts are taken back for idle workers.
PATIENCE = 2 * LOOKAHEAD


class Rebalancer:
    """Takes attempts back from workers of a scheduler.

    Args:
        scheduler: whose workers they are.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        #: The workers that have, or had, attempts queued.
        self._queued: dict[str, WorkerState] = {}

    def watch(self, worker: WorkerState) -> None:
        """A worker has attempts queued."""
        self._queued[worker.name] = worker

    def remove(self, worker: WorkerState) -> None:
        """A worker is gone."""
        self._queued.pop(worker.name, None)

    def take_back(self) -> float | None:
        """Slots are idle: take back what is queued on silent workers. Returns when to look again, if at all."""
        earliest = None
        now = self._scheduler.now
        for name, worker in list(self._queued.items()):
            if worker.free >= 0:
                del self._queued[name]
                continue
            if worker.taking_back:
                continue
            due = worker.heard + PATIENCE
            if due <= now:
                slots = max(worker.concurrency - len(worker.zombies), 0)
                queued = list(worker.running.values())[slots:]
                if queued:
                    worker.taking_back = True
                    attempts = tuple((task.id, task.number) for task in queued if task.worker is worker)
                    self._scheduler.out.append(TakeBack(worker.name, attempts))
            elif earliest is None or due < earliest:
                earliest = due
        return earliest
