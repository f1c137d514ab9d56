"""Stragglers are started a second time on idle slots, in stages that ask for it; the first result wins.

A straggler is a task that has been under way for much longer than its stage's tasks take on average, while at least
half of them are done and none is left to be launched. (Backup tasks: Dean and Ghemawat, OSDI 2004, p. 140; how to tell
stragglers: Zaharia and others, OSDI 2008, p. 29.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bndl.schedule import gates
from bndl.schedule.instructions import Attempt, Launch
from bndl.schedule.placement import LOOKAHEAD, preferred_by_inputs
from bndl.schedule.state import StageState, TaskState, Twin, WorkerState

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["SLOW", "Speculator", "threshold"]

#: How many times the average a straggler takes, at least.
SLOW = 2.0
#: After which part of that time it is looked for again, if there was no place for it.
_AGAIN = 0.1


def threshold(stage: StageState) -> float | None:
    """After how many seconds an attempt of a stage is a straggler; None as long as too little is known."""
    if not stage.count or 2 * stage.count < len(stage.tasks):
        return None
    average = stage.seconds / stage.count
    return max(SLOW * average, average + LOOKAHEAD)


class Speculator:
    """Launches second attempts for a scheduler.

    Args:
        scheduler: whose tasks and workers they are.

    Attributes:
        next_look: when there can be a straggler at the earliest, if anything more is known of that.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        #: Stages to look at, and when there can be a straggler at the earliest.
        self._stages: dict[int, StageState] = {}
        self._looks: dict[int, float] = {}
        self.next_look: float | None = None

    def watch(self, stage: StageState) -> None:
        """A task of a stage that wants this was launched."""
        self._stages[stage.spec.stage] = stage
        self._looks.pop(stage.spec.stage, None)

    def forget(self, stage: StageState) -> None:
        """A stage is over."""
        self._stages.pop(stage.spec.stage, None)
        self._looks.pop(stage.spec.stage, None)

    def launch(self, idle: Mapping[str, WorkerState]) -> list[WorkerState]:
        """Launch second attempts on idle slots. Returns on which workers."""
        used: list[WorkerState] = []
        earliest = math.inf
        now = self._scheduler.now
        for number, stage in self._stages.items():
            slow = threshold(stage)
            if slow is None or stage.ready or not stage.pending:
                continue
            look = self._looks.get(number, 0.0)
            if look <= now:
                look, is_waiting = self._look(stage, slow, idle, used)
                # A straggler that finds no place is a matter of what happens next; but it is not looked for each time.
                self._looks[number] = min(look, now + slow * _AGAIN) if is_waiting else look
            earliest = min(earliest, look)
        self.next_look = None if math.isinf(earliest) else earliest
        return used

    def _look(
        self, stage: StageState, slow: float, idle: Mapping[str, WorkerState], used: list[WorkerState]
    ) -> tuple[float, bool]:
        """Launch second attempts of what is slow by now.

        Returns:
            When more can be slow at the earliest, and whether there is a straggler that finds no place.
        """
        now = self._scheduler.now
        earliest = math.inf
        is_waiting = False
        for task in self._executing(stage):
            due = task.since + slow
            if due > now:
                earliest = min(earliest, due)
                continue
            place = self._find_place(task, idle) if self._is_allowed(stage) else None
            if place is None:
                is_waiting = True
            else:
                self._launch(task, place)
                used.append(place)
        return earliest, is_waiting

    def _executing(self, stage: StageState) -> Iterator[TaskState]:
        """The tasks of a stage that are certainly executing, and only once, and whose inputs are still there."""
        for worker in self._scheduler.workers.values():
            for position, task in enumerate(list(worker.running.values())):
                if position >= worker.concurrency:
                    break
                if task.stage is stage and self._is_eligible(task):
                    yield task

    def _is_eligible(self, task: TaskState) -> bool:
        # Inputs that were lost since the task was launched are not made again for it: it may have them already.
        twins = self._scheduler.attempts.twins
        return task.id not in twins and not task.is_suspect and not gates.count_missing(task)

    def _is_allowed(self, stage: StageState) -> bool:
        scheduler = self._scheduler
        limits = (
            (stage.spec.concurrency, stage.pending),
            (stage.job.spec.concurrency, stage.job.pending),
            (scheduler.concurrency, scheduler.pending),
        )
        return not stage.job.is_paused and all(not limit or pending < limit for limit, pending in limits)

    def _find_place(self, task: TaskState, idle: Mapping[str, WorkerState]) -> WorkerState | None:
        """An idle worker that is better than the other idle ones, by the user's scores or by the inputs."""
        scores: Mapping[str, int] = task.stage.task_scores.get(task.id, task.stage.scores)
        if not scores and task.gates:
            scores, _ = preferred_by_inputs(gates.weigh_inputs(self._scheduler, task))
        places = [
            worker
            for name, worker in idle.items()
            if worker is not task.worker and worker.free > 0 and name not in task.avoid and scores.get(name, 0) >= 0
        ]
        return max(places, key=lambda worker: scores.get(worker.name, 0), default=None)

    def _launch(self, task: TaskState, worker: WorkerState) -> None:
        scheduler = self._scheduler
        stage = task.stage
        task.given += 1
        scheduler.attempts.twins[task.id] = Twin(worker, task.given)
        if not worker.running:
            worker.heard = scheduler.now
        worker.running[task.id] = task
        stage.pending += 1
        stage.job.pending += 1
        scheduler.pending += 1
        attempt = Attempt(task.id, task.given, gates.find_sources(scheduler, task), twin=True)
        scheduler.out.append(Launch(worker.name, stage.spec.stage, (attempt,)))
