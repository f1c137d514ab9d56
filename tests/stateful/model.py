"""What has to come of events, by the words of docs/explanation/execution.md: slow, simple, from scratch each time.

The model knows the facts: which workers are there and which attempts each of them has, which tasks wait, run or are
done, and where results are. It decides nothing. Where a decision is the scheduler's, which is what is launched where,
the model is told (``checks``). All else it foresees: ``Foreseen`` has what must be among the instructions, and
``World.state_of`` what must be the state of a task.

========  =====================================================
facts     workers, jobs, stages, tasks
world     all of them; what follows from what is so
model     what comes of events
checks    the scheduler's instructions and state against it
========  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from bndl.schedule import events
from bndl.schedule.attempts import MISSES
from bndl.schedule.events import Kind, Outcome
from bndl.schedule.instructions import End, TaskOutcome
from bndl.schedule.retrying import delay_of
from bndl.schedule.transitions import State
from tests.stateful.facts import Foreseen, Held, Job, Phase, Task, Worker
from tests.stateful.world import World

__all__ = ["Model"]


class Model:
    """What comes of events.

    Args:
        world: the facts.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.AttemptsFinished: self._on_attempts_finished,
            events.AttemptsReturned: self._on_attempts_returned,
            events.JobCancelled: self._on_job_cancelled,
            events.JobPaused: self._on_job_paused,
            events.JobResumed: self._on_job_resumed,
            events.JobSubmitted: self._on_job_submitted,
            events.PlacesScored: self._on_places_scored,
            events.ResultsDelivered: self._on_results_delivered,
            events.ResultsLost: self._on_results_lost,
            events.StageClosed: self._on_stage_closed,
            events.TasksAdded: self._on_tasks_added,
            events.TasksCancelled: self._on_tasks_cancelled,
            events.TimeReached: self._on_time_reached,
            events.WorkerJoined: self._on_worker_joined,
            events.WorkerLost: self._on_worker_lost,
        }

    def foresee(self, event: events.Event, now: float) -> Foreseen:
        """Take note of an event."""
        world = self.world
        world.now = now
        world.foreseen = Foreseen()
        self._handlers[type(event)](event)
        world.go_on()
        while world.workers and (forbidden := next(self._forbidden(), None)) is not None:
            world.fail(forbidden)
            world.go_on()
        return world.foreseen

    def _forbidden(self) -> Iterator[Task]:
        """Tasks that none of the workers may have."""
        for task in self.world.tasks.values():
            is_forbidden = all(task.scores.get(name, 0) < 0 for name in self.world.workers)
            if is_forbidden and self.world.state_of(task) is State.READY:
                yield task

    def _on_time_reached(self, _: events.TimeReached) -> None:
        """Time alone changes none of the facts."""

    # Jobs

    def _on_job_submitted(self, event: events.JobSubmitted) -> None:
        job = self.world.jobs[event.job.job] = Job(event.job)
        for stage in job.stages:
            self.world.stages[stage.spec.stage] = stage
            self.world.tasks.update(stage.tasks)

    def _on_tasks_added(self, event: events.TasksAdded) -> None:
        stage = self.world.stages[event.stage]
        stage.size += len(event.tasks)
        for number in event.tasks:
            self.world.tasks[number] = stage.tasks[number] = Task(number, stage)

    def _on_stage_closed(self, event: events.StageClosed) -> None:
        self.world.stages[event.stage].is_growing = False

    def _on_job_cancelled(self, event: events.JobCancelled) -> None:
        self.world.end(self.world.jobs[event.job], TaskOutcome.CANCELLED)

    def _on_tasks_cancelled(self, event: events.TasksCancelled) -> None:
        for number in event.tasks:
            if number in self.world.tasks:
                self.world.cancel(self.world.tasks[number])

    def _on_job_paused(self, event: events.JobPaused) -> None:
        self.world.jobs[event.job].is_paused = True

    def _on_job_resumed(self, event: events.JobResumed) -> None:
        self.world.jobs[event.job].is_paused = False

    def _on_places_scored(self, event: events.PlacesScored) -> None:
        stage = self.world.stages[event.stage]
        stage.scores = event.scores
        stage.task_scores = event.task_scores

    # Attempts

    def _find(self, worker: Worker, task: int, number: int) -> Task | None:
        """The task of an attempt, if it counts."""
        held = worker.held.get((task, number))
        return None if held is None or held.is_abandoned else self.world.tasks.get(task)

    def _take_off(self, worker: Worker, task: Task, number: int) -> Held:
        """An attempt of a task is over."""
        del task.running[number]
        task.attempt = next(iter(task.running), task.attempt)
        if not task.running:
            task.phase = Phase.WAITING
        return worker.held.pop((task.number, number))

    def _note(self, task: Task, worker: str, number: int, end: End) -> None:
        self.world.foreseen.noted[task.number, number, worker, end] += 1

    def _on_attempts_finished(self, event: events.AttemptsFinished) -> None:
        """What succeeded counts first, however the message is ordered."""
        worker = self.world.workers.get(event.worker)
        if worker is None:
            return
        worker.heard = self.world.now
        for outcome in sorted(event.outcomes, key=lambda outcome: outcome.kind != Kind.SUCCEEDED):
            if outcome.kind != Kind.SUCCEEDED:
                self.world.go_on()
            task = self._find(worker, outcome.task, outcome.number)
            if task is None:
                self._ignore(worker, outcome)
            elif outcome.kind == Kind.SUCCEEDED:
                self._succeed(worker, task, outcome)
            else:
                self._take_off(worker, task, outcome.number)
                if outcome.kind == Kind.FAILED:
                    task.stage.measure(outcome.seconds)
                    self._note(task, worker.name, outcome.number, End.FAILED)
                    self._fail_attempt(task, worker, is_hopeless=task.number in event.hopeless)
                else:
                    self._miss(task, worker, outcome)

    def _ignore(self, worker: Worker, outcome: Outcome) -> None:
        """An attempt that does not count. Its result goes, unless one that counts is, or will be, in its place."""
        worker.held.pop((outcome.task, outcome.number), None)
        task = self.world.tasks.get(outcome.task)
        counts = task is not None and worker.name in {task.place, *task.running.values()}
        if outcome.stored and not counts:
            self.world.foreseen.released[worker.name, outcome.task] += 1

    def _succeed(self, worker: Worker, task: Task, outcome: Outcome) -> None:
        self._take_off(worker, task, outcome.number)
        for number, name in task.running.items():
            self._note(task, name, number, End.ABANDONED)
        self.world.abandon(task)
        task.attempt = outcome.number
        task.phase = Phase.SUCCEEDED
        task.has_succeeded = True
        task.stage.measure(outcome.seconds)
        fetch = outcome.stored and not task.stage.spec.kept
        self.world.settle(task, TaskOutcome.SUCCEEDED, worker.name, fetch=fetch)
        if outcome.stored:
            task.place = worker.name
            task.size = outcome.size
        else:
            self.world.forget(task)

    def _fail_attempt(self, task: Task, worker: Worker, *, is_hopeless: bool = False) -> None:
        """It counts against the task. If another attempt is under way, that goes on and may succeed."""
        task.failures += 1
        if task.retry.elsewhere:
            task.avoids.add(worker.name)
        if task.running:
            return
        if is_hopeless or task.failures >= task.attempts:
            self.world.fail(task)
            return
        task.not_before = self.world.now + delay_of(task.retry, task.number, task.failures)

    def _miss(self, task: Task, worker: Worker, outcome: Outcome) -> None:
        """It did not begin: inputs were missing, or the worker gave it up."""
        is_given_up = outcome.kind == Kind.ABANDONED
        self._note(task, worker.name, outcome.number, End.ABANDONED if is_given_up else End.INPUTS_MISSING)
        task.misses += 1
        if task.misses >= MISSES:
            self.world.fail(task)
        elif is_given_up:
            task.avoids.add(worker.name)
        for number, place in outcome.missing if task.misses < MISSES else ():
            if self.world.is_at(number, place):  # it may be cut off, so the two meet elsewhere
                task.avoids.add(place)
                self.world.tasks[number].avoids.add(place)
                self._lose_result(self.world.tasks[number])

    def _on_attempts_returned(self, event: events.AttemptsReturned) -> None:
        worker = self.world.workers.get(event.worker)
        if worker is None:
            return
        worker.asked = None
        worker.heard = self.world.now
        for number, attempt in event.attempts:
            task = self._find(worker, number, attempt)
            if task is None:
                worker.held.pop((number, attempt), None)
            else:
                self._take_off(worker, task, attempt)

    # Losses

    def _on_worker_joined(self, event: events.WorkerJoined) -> None:
        self._lose_worker(event.worker, None)
        self.world.workers[event.worker] = Worker(event.worker, event.concurrency, self.world.now)

    def _on_worker_lost(self, event: events.WorkerLost) -> None:
        self._lose_worker(event.worker, event.executing)

    def _lose_worker(self, name: str, executing: Sequence[tuple[int, int]] | None) -> None:
        worker = self.world.workers.pop(name, None)
        if worker is None:
            return
        suspects, is_certain = self._find_suspects(worker, executing)
        for task in self.world.tasks.values():
            if task.place == name:
                self._lose_result(task)
        self.world.go_on()
        for number, attempt in reversed(list(worker.held)):
            lost = self._find(worker, number, attempt)
            if lost is not None and attempt in lost.running:  # or its job ended just now with another one
                self._take_off(worker, lost, attempt)
                self._lose_attempt(lost, worker, attempt, is_suspect=lost in suspects, is_certain=is_certain)
                self.world.go_on()

    def _lose_attempt(self, task: Task, worker: Worker, number: int, *, is_suspect: bool, is_certain: bool) -> None:
        timeout = task.stage.spec.timeout
        if is_suspect and timeout and self.world.now - task.launched >= timeout:
            self._note(task, worker.name, number, End.TIMED_OUT)
            self._fail_attempt(task, worker)
            return
        self._note(task, worker.name, number, End.LOST)
        if is_suspect:
            # If it was certainly its doing, so it was the times before.
            task.losses += 1 + task.doubts if is_certain else 0
            task.doubts = 0 if is_certain else task.doubts + 1
            if task.losses >= task.stage.spec.losses:
                self.world.fail(task)

    def _find_suspects(
        self, worker: Worker, executing: Sequence[tuple[int, int]] | None
    ) -> tuple[Collection[Task], bool]:
        """What may have ended a worker, and whether it is certain that it did."""
        held = {task: key for key in worker.held if (task := self._find(worker, *key)) is not None}
        if not executing:
            return held, len(worker.held) == len(held) == 1 and worker.held[next(iter(held.values()))].into_free_slot
        began = [task for task, key in held.items() if key in executing]
        # Inputs may be what was too much for it, before the task began.
        suspects = [task for task in held if task in began or task.inputs]
        return suspects, len(executing) == len(began) == len(suspects) == 1

    def _on_results_lost(self, event: events.ResultsLost) -> None:
        for number in event.tasks:
            if self.world.is_at(number, event.worker):
                self._lose_result(self.world.tasks[number])

    def _lose_result(self, task: Task) -> None:
        """What the driver was to have is made again at once; what others need when they wait for it."""
        task.place = None
        if not task.stage.spec.kept:
            task.phase = Phase.WAITING

    def _on_results_delivered(self, event: events.ResultsDelivered) -> None:
        for number in event.tasks:
            task = self.world.tasks.get(number)
            if task is not None and task.place is not None:
                self.world.foreseen.released[task.place, number] += 1
                task.place = None
                self.world.forget(task)
