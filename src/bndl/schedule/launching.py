"""Ready tasks go to workers that have room, and come back from workers that are stuck while others are idle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bndl.schedule import recovery
from bndl.schedule.instructions import Attempt, Instruction, Launch, TakeBack, WakeAt
from bndl.schedule.placement import LOOKAHEAD, allot, tasks_ahead
from bndl.schedule.state import StageState, WorkerState
from bndl.schedule.transitions import Cause

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["PATIENCE", "Launcher"]

#: For how many seconds a worker may be silent before its queued attempts are taken back for idle workers.
PATIENCE = 2 * LOOKAHEAD


class Launcher:
    """Launches ready tasks of a scheduler.

    Args:
        scheduler: whose tasks and workers they are.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._slots = 0
        #: Workers to look at for room: those with a free slot, and those that the current event concerns.
        self._candidates: dict[str, WorkerState] = {}
        self._out: list[Instruction] = []
        self._now = 0.0

    def add(self, worker: WorkerState) -> None:
        """A worker joined."""
        self._candidates[worker.name] = worker
        self._slots += worker.concurrency

    def remove(self, worker: WorkerState) -> None:
        """A worker is gone."""
        self._candidates.pop(worker.name, None)
        self._slots -= worker.concurrency

    def consider(self, worker: WorkerState) -> None:
        """A worker may have more room than before."""
        self._candidates[worker.name] = worker

    def assign(self, now: float, out: list[Instruction]) -> None:
        """Launch ready tasks wherever there is room; the instructions are appended to ``out``."""
        self._now = now
        self._out = out
        ready = False
        for job in self._scheduler.jobs.values():
            for stage in job.stages:
                if stage.ready:
                    self._fill(stage)
                    ready = ready or bool(stage.ready)
        self._candidates = hungry = {name: worker for name, worker in self._candidates.items() if worker.free > 0}
        if hungry and not ready:
            self._rebalance()

    def _fill(self, stage: StageState) -> None:
        tasks = len(stage.ready)
        if stage.spec.concurrency:
            tasks = min(tasks, stage.spec.concurrency - stage.pending)
        if stage.job.spec.concurrency:
            tasks = min(tasks, stage.job.spec.concurrency - stage.job.pending)
        if tasks > 0 and self._candidates:
            ahead = tasks_ahead(stage, self._slots)
            for worker, count in allot(self._candidates.values(), tasks, ahead):
                self._launch(stage, worker, count)

    def _launch(self, stage: StageState, worker: WorkerState, count: int) -> None:
        scheduler = self._scheduler
        attempts = []
        if not worker.running:
            worker.heard = self._now
        free = worker.free
        for index in range(count):
            task = stage.ready[0]
            task.solo = index < free
            if task.suspect and not task.solo:
                break
            stage.ready.popleft()
            task.number += 1
            task.worker = worker
            scheduler.move(task, Cause.LAUNCHED)
            worker.running[task.id] = task
            attempts.append(
                Attempt(task.id, task.number, recovery.find_sources(scheduler, task) if task.inputs else ())
            )
        if attempts:
            stage.pending += len(attempts)
            stage.job.pending += len(attempts)
            self._out.append(Launch(worker.name, stage.spec.stage, tuple(attempts)))

    def _rebalance(self) -> None:
        """Slots are idle: take attempts back that are queued behind others on workers that have been silent."""
        earliest = None
        for worker in self._scheduler.workers.values():
            if worker.free >= 0 or worker.taking_back:
                continue
            due = worker.heard + PATIENCE
            if due <= self._now:
                queued = list(worker.running.values())[worker.concurrency :]
                if queued:
                    worker.taking_back = True
                    attempts = tuple((task.id, task.number) for task in queued)
                    self._out.append(TakeBack(worker.name, attempts))
            elif earliest is None or due < earliest:
                earliest = due
        if earliest is not None:
            self._out.append(WakeAt(earliest))
