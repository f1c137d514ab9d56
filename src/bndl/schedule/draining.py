"""Workers that leave in order: nothing more is launched there, and what others need of them is moved first.

::

    WorkerDraining -> TakeBack of what is queued, Move of kept results that tasks still wait for
    ResultsMoved   -> the results are at another worker from now on
    nothing left that anybody waits for -> Dismiss

Results that nobody waits for any more are left behind. If one is needed again after all, it is made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bndl.schedule import events, recovery
from bndl.schedule.instructions import Dismiss, Move, Release, TakeBack
from bndl.schedule.state import TaskState, WorkerState
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.launching import Launcher
    from bndl.schedule.scheduler import Scheduler

__all__ = ["Drains"]


class _Drain:
    """A worker that leaves."""

    __slots__ = ("asked", "is_dismissed", "left", "moving", "readers", "worker")

    def __init__(self, worker: WorkerState) -> None:
        self.worker = worker
        #: Attempts that it was asked to give back, as (task, number). Those that it did not had begun.
        self.asked: dict[tuple[int, int], None] = {}
        #: Results that are on their way to another worker.
        self.moving: dict[int, None] = {}
        #: Results that could not be moved. They are made again when it has gone.
        self.left: dict[int, None] = {}
        #: Attempts, as (task, number), that may be fetching from it what has been moved meanwhile.
        self.readers: dict[tuple[int, int], TaskState] = {}
        self.is_dismissed = False


class Drains:
    """The workers of a scheduler that leave.

    Args:
        scheduler: whose workers they are.
        launcher: must not launch anything there any more.
    """

    def __init__(self, scheduler: Scheduler, launcher: Launcher) -> None:
        self._scheduler = scheduler
        self._launcher = launcher
        self._drains: dict[str, _Drain] = {}

    def begin(self, event: events.WorkerDraining) -> None:
        """A worker wants to leave."""
        worker = self._scheduler.workers.get(event.worker)
        if worker is None:
            return
        worker.is_ending = worker.is_ending or event.is_ending
        if event.worker not in self._drains:
            worker.is_draining = True
            self._drains[event.worker] = _Drain(worker)
            self._launcher.remove(worker)

    def lose(self, worker: str) -> None:
        """A worker is gone."""
        self._drains.pop(worker, None)

    def moved(self, event: events.ResultsMoved) -> None:
        """Results were copied to another worker, as far as that was possible."""
        drain = self._drains.get(event.source)
        target = self._scheduler.workers.get(event.target)
        adopted = dict.fromkeys(event.moved)
        stray = []
        for number in event.tasks:
            if drain is not None:
                drain.moving.pop(number, None)
            if target is None:
                continue
            if number not in adopted:
                if drain is not None:
                    drain.left[number] = None
            elif drain is not None and recovery.is_at(self._scheduler, number, event.source):
                task = self._scheduler.tasks[number]
                self._note_readers(drain, task)
                del drain.worker.kept[number]
                task.worker = target
                target.kept[number] = task
            elif number not in target.kept:
                stray.append(number)
        if stray and target is not None:
            self._scheduler.out.append(Release(target.name, tuple(stray)))

    def go_on(self) -> None:
        """Do what is to be done, after every event."""
        for drain in self._drains.values():
            if drain.is_dismissed:
                continue
            self._take_back(drain)
            waits = self._move(drain)
            drain.readers = {
                key: task
                for key, task in drain.readers.items()
                if task.state is State.PENDING and task.number == key[1]
            }
            if not (waits or drain.moving or drain.readers or drain.worker.running):
                drain.is_dismissed = True
                self._scheduler.out.append(Dismiss(drain.worker.name))

    def _take_back(self, drain: _Drain) -> None:
        """Ask for what is queued, once."""
        worker = drain.worker
        if worker.taking_back or worker.free >= 0:
            return
        queued = list(worker.running.values())[max(worker.concurrency - len(worker.zombies), 0) :]
        attempts = [(task.id, task.number) for task in queued if task.worker is worker]
        attempts = [attempt for attempt in attempts if attempt not in drain.asked]
        if attempts:
            worker.taking_back = True
            drain.asked.update(dict.fromkeys(attempts))
            self._scheduler.out.append(TakeBack(worker.name, tuple(attempts)))

    def _move(self, drain: _Drain) -> bool:
        """Have results moved that are needed. Returns whether there are others that have to be waited for."""
        waits = False
        needed: dict[int, bool] = {}
        results = []
        for number, task in drain.worker.kept.items():
            if not task.stage.spec.kept:  # the driver is fetching it
                waits = True
            elif number not in drain.moving and number not in drain.left and _is_needed(task, needed):
                results.append(task)
        targets = self._launcher.open_workers
        if not results:
            return waits
        if not targets:
            return True  # a worker may join, before this one has lost its patience
        shares: dict[str, list[int]] = {}
        sizes = dict.fromkeys(targets, 0)
        for task in results:
            target = min(sizes, key=sizes.__getitem__)
            sizes[target] += max(task.size, 1)
            shares.setdefault(target, []).append(task.id)
            drain.moving[task.id] = None
        for target, numbers in shares.items():
            self._scheduler.out.append(Move(drain.worker.name, target, tuple(numbers)))
        return waits

    def _note_readers(self, drain: _Drain, task: TaskState) -> None:
        for gate in task.feeds or ():
            for consumer in gate.consumers:
                if consumer.state is State.PENDING:
                    drain.readers[(consumer.id, consumer.number)] = consumer


def _is_needed(task: TaskState, known: dict[int, bool]) -> bool:
    """Whether a task that is not done waits for the result of this one. ``known`` is for gates that others share."""
    for gate in task.feeds or ():
        if gate.is_order:
            continue
        found = known.get(id(gate))
        if found is None:
            found = known[id(gate)] = any(consumer.state is not State.DONE for consumer in gate.consumers)
        if found:
            return True
    return False
