"""What has to come of events, by the words of docs/explanation/execution.md: slow, simple, from scratch each time.

The model knows the facts: which workers are there and which attempts each of them has, which tasks wait, run or are
done, and where results are. It decides nothing. Where a decision is the scheduler's, which is what is launched where,
the model is told (``checks``). All else it foresees: ``Foreseen`` has what must be among the instructions, and
``state_of`` what must be the state of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from bndl.schedule import events
from bndl.schedule.attempts import MISSES
from bndl.schedule.events import Kind, Outcome
from bndl.schedule.instructions import End, TaskOutcome
from bndl.schedule.transitions import State
from tests.stateful.facts import Foreseen, Held, Job, Phase, Stage, Task, Worker

__all__ = ["Model"]


class Model:
    """All that is known, and what comes of events."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.jobs: dict[int, Job] = {}
        self.stages: dict[int, Stage] = {}
        self.tasks: dict[int, Task] = {}
        self.foreseen = Foreseen()
        self.now = 0.0

        self._handlers: dict[type, Callable[[Any], None]] = {
            events.AttemptsFinished: self._on_attempts_finished,
            events.AttemptsReturned: self._on_attempts_returned,
            events.JobCancelled: self._on_job_cancelled,
            events.JobSubmitted: self._on_job_submitted,
            events.ResultsDelivered: self._on_results_delivered,
            events.ResultsLost: self._on_results_lost,
            events.StageClosed: self._on_stage_closed,
            events.TasksAdded: self._on_tasks_added,
            events.TimeReached: self._on_time_reached,
            events.WorkerJoined: self._on_worker_joined,
            events.WorkerLost: self._on_worker_lost,
        }

    def foresee(self, event: events.Event, now: float) -> Foreseen:
        """Take note of an event."""
        self.now = now
        self.foreseen = Foreseen()
        self._handlers[type(event)](event)
        return self.foreseen

    def state_of(self, task: Task) -> State:
        """What the state of a task must be."""
        if task.phase is Phase.RUNNING:
            return State.PENDING
        if task.phase is not Phase.WAITING:
            return State.DONE
        return (
            State.READY
            if task.stage.is_open and not any(self.is_missing(each) for each in task.inputs)
            else State.BLOCKED
        )

    def is_missing(self, number: int) -> bool:
        """Whether an input is not there, and will be."""
        source = self.tasks[number]
        return source.place is None and source.phase is not Phase.WITHOUT_RESULT

    def sources_of(self, task: Task) -> dict[str, set[int]]:
        """Where the inputs of a task are; under an empty name those that have no result and will have none."""
        sources: dict[str, set[int]] = {}
        for number in task.inputs:
            sources.setdefault(self.tasks[number].place or "", set()).add(number)
        return sources

    def _is_at(self, number: int, worker: str) -> bool:
        return number in self.tasks and self.tasks[number].place == worker

    # What is so at any time

    def _go_on(self) -> None:
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
                self._end(job, TaskOutcome.SUCCEEDED)

    def _end(self, job: Job, outcome: TaskOutcome, failed: int = -1) -> None:
        for stage in job.stages:
            for task in stage.tasks.values():
                if task.phase in {Phase.WAITING, Phase.RUNNING}:
                    self._abandon(task)
                    self._settle(task, TaskOutcome.CANCELLED)
                del self.tasks[task.number]
            del self.stages[stage.spec.stage]
        del self.jobs[job.spec.job]
        self.foreseen.finished[job.spec.job, outcome, failed] += 1

    def _settle(self, task: Task, outcome: TaskOutcome, worker: str = "", *, fetch: bool = False) -> None:
        self.foreseen.settled[task.number, task.attempt, outcome, worker, fetch] += 1

    def _abandon(self, task: Task) -> None:
        if task.phase is Phase.RUNNING and task.worker in self.workers:
            self.workers[task.worker].held[task.number, task.attempt].is_abandoned = True
            self.foreseen.abandoned[task.worker, task.number, task.attempt] += 1
        task.worker = None

    def _forget(self, task: Task) -> None:
        """A task of a growing stage is over."""
        if task.stage.is_growing:
            del self.tasks[task.number]
            del task.stage.tasks[task.number]

    def _on_time_reached(self, _: events.TimeReached) -> None:
        """Time alone changes none of the facts."""

    # Jobs

    def _on_job_submitted(self, event: events.JobSubmitted) -> None:
        job = self.jobs[event.job.job] = Job(event.job)
        for stage in job.stages:
            self.stages[stage.spec.stage] = stage
            self.tasks.update(stage.tasks)
        self._go_on()

    def _on_tasks_added(self, event: events.TasksAdded) -> None:
        stage = self.stages[event.stage]
        stage.size += len(event.tasks)
        for number in event.tasks:
            self.tasks[number] = stage.tasks[number] = Task(number, stage)

    def _on_stage_closed(self, event: events.StageClosed) -> None:
        self.stages[event.stage].is_growing = False
        self._go_on()

    def _on_job_cancelled(self, event: events.JobCancelled) -> None:
        self._end(self.jobs[event.job], TaskOutcome.CANCELLED)

    def _fail(self, task: Task) -> None:
        """A budget is used up."""
        task.phase = Phase.WITHOUT_RESULT
        self._settle(task, TaskOutcome.FAILED)
        if task.stage.job.spec.independent:
            self._forget(task)
        else:
            self._end(task.stage.job, TaskOutcome.FAILED, task.number)

    # Attempts

    def _current(self, worker: Worker, task: int, number: int) -> Task | None:
        """The task of an attempt that counts."""
        held = worker.held.get((task, number))
        return None if held is None or held.is_abandoned else self.tasks.get(task)

    def _take_off(self, worker: Worker, task: Task) -> Held:
        """The attempt of a task is over."""
        task.phase = Phase.WAITING
        task.worker = None
        return worker.held.pop((task.number, task.attempt))

    def _on_attempts_finished(self, event: events.AttemptsFinished) -> None:
        """What succeeded counts first, however the message is ordered."""
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.heard = self.now
        for outcome in sorted(event.outcomes, key=lambda outcome: outcome.kind != Kind.SUCCEEDED):
            task = self._current(worker, outcome.task, outcome.number)
            if outcome.kind != Kind.SUCCEEDED:
                self._go_on()
                task = self._current(worker, outcome.task, outcome.number)
            if task is None:
                self._ignore(worker, outcome)
            elif outcome.kind == Kind.SUCCEEDED:
                self._succeed(worker, task, outcome)
            else:
                self._fail_attempt(worker, task, outcome)
        self._go_on()

    def _ignore(self, worker: Worker, outcome: Outcome) -> None:
        """An attempt that does not count. Its result goes, unless one that counts is, or will be, in its place."""
        worker.held.pop((outcome.task, outcome.number), None)
        task = self.tasks.get(outcome.task)
        counts = task is not None and worker.name in {task.place, task.worker}
        if outcome.stored and not counts:
            self.foreseen.released[worker.name, outcome.task] += 1

    def _succeed(self, worker: Worker, task: Task, outcome: Outcome) -> None:
        self._take_off(worker, task)
        task.phase = Phase.SUCCEEDED
        task.stage.measure(outcome.seconds)
        self._settle(task, TaskOutcome.SUCCEEDED, worker.name, fetch=outcome.stored and not task.stage.spec.kept)
        if outcome.stored:
            task.place = worker.name
        else:
            self._forget(task)

    def _fail_attempt(self, worker: Worker, task: Task, outcome: Outcome) -> None:
        self._take_off(worker, task)
        ends = {Kind.FAILED: End.FAILED, Kind.INPUTS_MISSING: End.INPUTS_MISSING, Kind.ABANDONED: End.ABANDONED}
        self.foreseen.noted[task.number, task.attempt, worker.name, ends[Kind(outcome.kind)]] += 1
        if outcome.kind == Kind.FAILED:
            task.stage.measure(outcome.seconds)
            task.failures += 1
            task.avoids.add(worker.name)
            if task.failures >= task.attempts:
                self._fail(task)
            return
        task.misses += 1
        if task.misses >= MISSES:
            self._fail(task)
        elif outcome.kind == Kind.ABANDONED:
            task.avoids.add(worker.name)
        else:
            for number, place in outcome.missing:
                if self._is_at(number, place):  # it may be cut off, so the two meet elsewhere
                    task.avoids.add(place)
                    self.tasks[number].avoids.add(place)
                    self._lose_result(self.tasks[number])
            self._go_on()

    def _on_attempts_returned(self, event: events.AttemptsReturned) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.asked = None
        worker.heard = self.now
        for number, attempt in event.attempts:
            task = self._current(worker, number, attempt)
            if task is None:
                worker.held.pop((number, attempt), None)
            else:
                self._take_off(worker, task)
        self._go_on()

    # Losses

    def _on_worker_joined(self, event: events.WorkerJoined) -> None:
        self._lose_worker(event.worker, None)
        self.workers[event.worker] = Worker(event.worker, event.concurrency, self.now)

    def _on_worker_lost(self, event: events.WorkerLost) -> None:
        self._lose_worker(event.worker, event.executing)

    def _lose_worker(self, name: str, executing: Sequence[tuple[int, int]] | None) -> None:
        worker = self.workers.pop(name, None)
        if worker is None:
            return
        suspects, is_certain = self._find_suspects(worker, executing)
        for task in self.tasks.values():
            if task.place == name:
                self._lose_result(task)
        self._go_on()
        for number, attempt in reversed(list(worker.held)):
            lost = self._current(worker, number, attempt)
            if lost is None or lost.number not in self.tasks:  # its job ended just now with another one
                continue
            self._take_off(worker, lost)
            self.foreseen.noted[number, attempt, name, End.LOST] += 1
            if lost in suspects:
                # If it was certainly its doing, so it was the times before.
                lost.losses += 1 + lost.doubts if is_certain else 0
                lost.doubts = 0 if is_certain else lost.doubts + 1
                if lost.losses >= lost.stage.spec.losses:
                    self._fail(lost)
            self._go_on()

    def _find_suspects(
        self, worker: Worker, executing: Sequence[tuple[int, int]] | None
    ) -> tuple[Collection[Task], bool]:
        """What may have ended a worker, and whether it is certain that it did."""
        held = {task: key for key in worker.held if (task := self._current(worker, *key)) is not None}
        if not executing:
            return held, len(worker.held) == len(held) == 1 and worker.held[next(iter(held.values()))].into_free_slot
        began = [task for task, key in held.items() if key in executing]
        # Inputs may be what was too much for it, before the task began.
        suspects = [task for task in held if task in began or task.inputs]
        return suspects, len(executing) == len(began) == len(suspects) == 1

    def _on_results_lost(self, event: events.ResultsLost) -> None:
        for number in event.tasks:
            if self._is_at(number, event.worker):
                self._lose_result(self.tasks[number])
        self._go_on()

    def _lose_result(self, task: Task) -> None:
        """What the driver was to have is made again at once; what others need when they wait for it."""
        task.place = None
        if not task.stage.spec.kept:
            task.phase = Phase.WAITING

    def _on_results_delivered(self, event: events.ResultsDelivered) -> None:
        for number in event.tasks:
            task = self.tasks.get(number)
            if task is not None and task.place is not None:
                self.foreseen.released[task.place, number] += 1
                task.place = None
                self._forget(task)
        self._go_on()
