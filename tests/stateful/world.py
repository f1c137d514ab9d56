"""The facts of the model together, what is so of them at any time, and how tasks and jobs end."""

from __future__ import annotations

import math

from bndl.schedule.instructions import TaskOutcome
from bndl.schedule.placement import NOTABLE_BYTES
from bndl.schedule.transitions import State
from tests.stateful.facts import Foreseen, Job, Phase, Stage, Task, Worker

__all__ = ["World"]


class World:
    """What there is, by name or number, and what is foreseen to come of the event that is looked at.

    Args:
        concurrency: how many attempts may be under way, of all jobs together; 0 for no limit.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.workers: dict[str, Worker] = {}
        self.jobs: dict[int, Job] = {}
        self.stages: dict[int, Stage] = {}
        self.tasks: dict[int, Task] = {}
        self.now = 0.0
        self.foreseen = Foreseen()

    # What is so at any time

    def state_of(self, task: Task) -> State:
        """What the state of a task must be."""
        if task.phase is Phase.RUNNING:
            return State.PENDING
        if task.phase is not Phase.WAITING:
            return State.DONE
        waits = (
            not task.stage.is_open
            or task.not_before > self.now
            or any(self.is_missing(each) for each in task.inputs)
            or not all(self.has_succeeded(each) for each in task.order)
        )
        return State.BLOCKED if waits else State.READY

    def is_missing(self, number: int) -> bool:
        """Whether an input is not there, and will be."""
        source = self.tasks[number]
        return source.place is None and source.phase is not Phase.WITHOUT_RESULT

    def has_succeeded(self, number: int) -> bool:
        """Whether a task was done once."""
        return self.tasks[number].has_succeeded

    def is_at(self, number: int, worker: str) -> bool:
        """Whether the result of a task is on a worker."""
        return number in self.tasks and self.tasks[number].place == worker

    def sources_of(self, task: Task) -> dict[str, set[int]]:
        """Where the inputs of a task are; under an empty name those that have no result and will have none."""
        sources: dict[str, set[int]] = {}
        for number in task.inputs:
            sources.setdefault(self.tasks[number].place or "", set()).add(number)
        return sources

    def room(self, stage: Stage) -> float:
        """How many more attempts of a stage may be under way; below 0 if there are too many."""
        limits = [math.inf]
        if stage.spec.concurrency:
            limits.append(stage.spec.concurrency - stage.pending)
        if stage.job.spec.concurrency:
            limits.append(stage.job.spec.concurrency - stage.job.pending)
        if self.concurrency:
            limits.append(self.concurrency - sum(job.pending for job in self.jobs.values()))
        return min(limits)

    def rank(self, task: Task, worker: str) -> tuple[bool, int]:
        """How much a task would have a worker."""
        return worker not in task.avoids, self.preference(task)[0].get(worker, 0)

    def preference(self, task: Task) -> tuple[dict[str, int], bool]:
        """The scores of workers for a task, and whether it waits for a better one."""
        if task.scores or not task.inputs:
            return dict(task.scores), True
        weights: dict[str, int] = dict.fromkeys(self.workers, 0)
        for number in task.inputs:
            source = self.tasks[number]
            if source.place is not None:
                weights[source.place] += source.size
        most = max(weights, key=weights.__getitem__, default="")
        others = sorted(weights.values())
        if not most or not weights[most]:
            return {}, True
        if weights[most] - ([0, *others][-2]) >= NOTABLE_BYTES:
            return {most: 1}, True
        return ({most: 1} if weights[most] >= 0.75 * sum(others) else {}), bool(task.avoids)

    # What follows from the facts

    def go_on(self) -> None:
        """Results that a waiting task needs are made again; barriers open; jobs end."""
        for job in list(self.jobs.values()):
            waiting = [task for stage in job.stages for task in stage.tasks.values() if task.phase is Phase.WAITING]
            while waiting:
                for number in waiting.pop().inputs:
                    source = self.tasks[number]
                    if source.phase is Phase.SUCCEEDED and source.place is None:
                        source.phase = Phase.WAITING
                        waiting.append(source)
            for stage in job.stages:
                stage.has_passed = stage.has_passed or (stage.is_open and stage.is_finished)
            if all(stage.is_finished for stage in job.stages):
                self.end(job, TaskOutcome.SUCCEEDED)

    def end(self, job: Job, outcome: TaskOutcome, failed: int = -1) -> None:
        """A job is over."""
        for stage in job.stages:
            for task in stage.tasks.values():
                if task.phase in {Phase.WAITING, Phase.RUNNING}:
                    self.abandon(task)
                    self.settle(task, TaskOutcome.CANCELLED)
                del self.tasks[task.number]
            del self.stages[stage.spec.stage]
        del self.jobs[job.spec.job]
        self.foreseen.finished[job.spec.job, outcome, failed] += 1

    def settle(self, task: Task, outcome: TaskOutcome, worker: str = "", *, fetch: bool = False) -> None:
        """The user is told."""
        self.foreseen.settled[task.number, task.attempt, outcome, worker, fetch] += 1

    def abandon(self, task: Task) -> None:
        """Nobody waits for the attempts of a task."""
        for number, name in task.running.items():
            task.attempt = number
            if name in self.workers:
                self.workers[name].held[task.number, number].is_abandoned = True
                self.foreseen.abandoned[name, task.number, number] += 1
        task.running.clear()

    def forget(self, task: Task) -> None:
        """A task of a growing stage is over."""
        if task.stage.is_growing:
            del self.tasks[task.number]
            del task.stage.tasks[task.number]

    def fail(self, task: Task) -> None:
        """A budget is used up, or no worker may have it."""
        stage = task.stage
        stage.failed += 1
        self._be_without(task, TaskOutcome.FAILED)
        if stage.job.spec.independent or stage.failed <= stage.spec.max_failures:
            self._go_on_without(task)
        else:
            self.end(stage.job, TaskOutcome.FAILED, task.number)

    def cancel(self, task: Task) -> None:
        """The result of a single task is not wanted."""
        if task.phase in {Phase.WAITING, Phase.RUNNING}:
            self._be_without(task, TaskOutcome.CANCELLED)
            self._go_on_without(task)

    def _be_without(self, task: Task, outcome: TaskOutcome) -> None:
        self.abandon(task)
        task.phase = Phase.WITHOUT_RESULT
        self.settle(task, outcome)

    def _go_on_without(self, task: Task) -> None:
        """What was to come after it, and not only needs its result, does not come at all."""
        if not task.has_succeeded:
            for stage in task.stage.job.stages:
                for other in list(stage.tasks.values()):
                    if task.number in other.order:
                        self.cancel(other)
        self.forget(task)
