"""The scheduler: events in, instructions out.

Every event has one handler. A handler changes the state by ``move`` and by counters, and appends instructions; after it
ready tasks are launched wherever there is room (``launching``). Nothing here acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bndl.errors import ForbiddenTransition
from bndl.schedule import events, instructions, recovery
from bndl.schedule.events import Kind
from bndl.schedule.instructions import End, Instruction, TaskOutcome
from bndl.schedule.launching import Launcher
from bndl.schedule.state import JobState, StageState, TaskState, WorkerState
from bndl.schedule.story import Story
from bndl.schedule.transitions import TRANSITIONS, Cause, State

__all__ = ["MISSES", "Scheduler"]

#: How often the inputs of a task may turn out to be missing before it fails.
MISSES = 10


class Scheduler:
    """Decides what runs where. Not thread-safe: one caller at a time.

    Attributes:
        tasks: all tasks that are known, by number.
        stages: all stages of jobs that are not over, by number.
        jobs: all jobs that are not over, by number, in the order in which they were submitted.
        workers: all workers that are there, by name, in the order in which they joined.
        story: the last transitions.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, TaskState] = {}
        self.stages: dict[int, StageState] = {}
        self.jobs: dict[int, JobState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.story = Story()
        self._launcher = Launcher(self)
        self._out: list[Instruction] = []
        self._now = 0.0
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

    def handle(self, event: events.Event, now: float) -> Sequence[Instruction]:
        """Take note of what happened and decide what is to be done.

        Args:
            event: what happened.
            now: seconds, never less than at the call before.

        Raises:
            ForbiddenTransition: the event cannot have happened in this state.
        """
        self._now = now
        self._out = []
        self._handlers[type(event)](event)
        self._launcher.assign(now, self._out)
        return self._out

    # Workers

    def _on_worker_joined(self, event: events.WorkerJoined) -> None:
        if event.worker in self.workers:
            self._on_worker_lost(events.WorkerLost(event.worker, "it joined anew"))
        worker = WorkerState(event.worker, event.concurrency, self._now)
        self.workers[event.worker] = worker
        self._launcher.add(worker)

    def _on_worker_lost(self, event: events.WorkerLost) -> None:
        worker = self.workers.pop(event.worker, None)
        if worker is None:
            return
        self._launcher.remove(worker)
        queued = len(worker.running) > worker.concurrency
        running = list(worker.running.values())
        for task in running:
            self._leave(task, worker)
        recovery.lose_results(self, list(worker.kept.values()))
        for task in reversed(running):
            if task.state is State.PENDING:
                self._lose_attempt(task, worker, exact=task.solo and (task.suspect or not queued), reason=event.reason)

    def _lose_attempt(self, task: TaskState, worker: WorkerState, *, exact: bool, reason: str) -> None:
        """``exact`` says whether the task certainly was executing, so that it may be what ended the worker."""
        self._note(task, worker, End.LOST, reason)
        task.losses += exact
        task.suspect = True
        if task.losses >= task.stage.spec.losses:
            self._fail(task)
        else:
            self._requeue(task, Cause.WORKER_LOST)

    # Jobs

    def _on_job_submitted(self, event: events.JobSubmitted) -> None:
        job = JobState(event.job)
        self.jobs[event.job.job] = job
        for stage in job.stages:
            self.stages[stage.spec.stage] = stage
            self._add(stage, stage.spec.tasks)
        self._advance(job)

    def _on_tasks_added(self, event: events.TasksAdded) -> None:
        stage = self.stages.get(event.stage)
        if stage is not None:
            self._add(stage, event.tasks)

    def _on_stage_closed(self, event: events.StageClosed) -> None:
        stage = self.stages.get(event.stage)
        if stage is not None:
            stage.growing = False
            self._advance(stage.job)

    def _on_job_cancelled(self, event: events.JobCancelled) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            self._end(job, TaskOutcome.CANCELLED, reason=event.reason)

    def _add(self, stage: StageState, numbers: range) -> None:
        inputs = stage.spec.inputs
        cause = Cause.ADDED if stage.is_open else Cause.ADDED_BLOCKED
        for number in numbers:
            task = TaskState(number, stage, inputs.get(number, ()))
            self.tasks[number] = stage.tasks[number] = task
            self.move(task, cause)
            if stage.is_open:
                stage.ready.append(task)
        stage.unfinished += len(numbers)

    def _advance(self, job: JobState) -> None:
        """Open the next stage, or finish the job, if all before is done. A barrier is this one comparison."""
        while all(stage.is_finished for stage in job.stages[: job.current + 1]):
            job.current += 1
            if job.current == len(job.stages):
                self._end(job, TaskOutcome.SUCCEEDED)
                return
            stage = job.stages[job.current]
            stage.is_open = True
            for task in stage.tasks.values():
                if not task.missing:
                    self._unblock(task)

    def _end(self, job: JobState, outcome: TaskOutcome, *, failed: int = -1, reason: str = "") -> None:
        """The job is over: nothing of it runs, waits or is kept any more."""
        abandoned: dict[str, list[tuple[int, int]]] = {}
        for stage in job.stages:
            cancelled = []
            for task in stage.tasks.values():
                worker = task.worker
                if task.state is State.PENDING and worker is not None:
                    del worker.running[task.id]
                    worker.zombies[(task.id, task.number)] = None
                    abandoned.setdefault(worker.name, []).append((task.id, task.number))
                if task.state is not State.DONE:
                    self.move(task, Cause.CANCELLED)
                    cancelled.append((task.id, task.number))
                elif task.available and worker is not None:
                    del worker.kept[task.id]
                del self.tasks[task.id]
            if cancelled:
                self._out.append(
                    instructions.Settle(stage.spec.stage, TaskOutcome.CANCELLED, "", tuple(cancelled)),
                )
            del self.stages[stage.spec.stage]
        for name, attempts in abandoned.items():
            self._out.append(instructions.Abandon(name, tuple(attempts)))
        del self.jobs[job.spec.job]
        self._out.append(instructions.FinishJob(job.spec.job, outcome, failed, reason))

    # Attempts

    def _on_attempts_finished(self, event: events.AttemptsFinished) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.heard = self._now
        self._launcher.consider(worker)
        succeeded: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        seconds: dict[int, list[float]] = {}
        for outcome in event.outcomes:
            task = worker.running.get(outcome.task)
            if task is None or task.number != outcome.number:
                self._ignore(worker, outcome)
                continue
            if outcome.kind == Kind.SUCCEEDED:
                stage = task.stage
                self._succeed(task, worker, stored=outcome.stored)
                number = stage.spec.stage
                succeeded.setdefault((number, outcome.stored), []).append((task.id, task.number))
                seconds.setdefault(number, []).append(outcome.seconds)
            else:
                self._end_attempt(task, worker, outcome)
        self._note_seconds(seconds)
        for (number, stored), tasks in succeeded.items():
            if number in self.stages:
                self._settle(self.stages[number], worker.name, tasks, stored=stored)

    def _end_attempt(self, task: TaskState, worker: WorkerState, outcome: events.Outcome) -> None:
        """An attempt ended without success."""
        if outcome.kind == Kind.FAILED:
            self._fail_attempt(task, worker)
        elif outcome.kind == Kind.INPUTS_MISSING:
            self._miss_inputs(task, worker, outcome.missing)
        else:
            self._note(task, worker, End.ABANDONED, "the worker gave it up")
            self._leave(task, worker)
            self._requeue(task, Cause.RETURNED)

    def _note_seconds(self, seconds: dict[int, list[float]]) -> None:
        for number, times in seconds.items():
            if number in self.stages:
                self.stages[number].note_seconds(sum(times) / len(times), len(times))

    def _ignore(self, worker: WorkerState, outcome: events.Outcome) -> None:
        """An attempt that was abandoned: it is of no interest but for the room that it took and the result it left."""
        worker.zombies.pop((outcome.task, outcome.number), None)
        if outcome.stored and outcome.task not in worker.kept and outcome.task not in worker.running:
            self._out.append(instructions.Release(worker.name, (outcome.task,)))

    def _succeed(self, task: TaskState, worker: WorkerState, *, stored: bool) -> None:
        self.move(task, Cause.SUCCEEDED)
        stage = task.stage
        self._leave(task, worker)
        if stored:
            task.worker = worker
            task.available = True
            worker.kept[task.id] = task
        if stage.spec.kept or not stored:
            stage.unfinished -= 1
        waiters, task.waiters = task.waiters, None
        for waiter in waiters or ():
            waiter.missing -= 1
            if not waiter.missing and waiter.stage.is_open and waiter.state is State.BLOCKED:
                self._unblock(waiter)
        if stage.growing and not stored:
            del stage.tasks[task.id]
            del self.tasks[task.id]

    def _settle(self, stage: StageState, worker: str, tasks: list[tuple[int, int]], *, stored: bool) -> None:
        fetch = stored and not stage.spec.kept
        settle = instructions.Settle(stage.spec.stage, TaskOutcome.SUCCEEDED, worker, tuple(tasks), fetch)
        self._out.append(settle)
        if stage.is_finished:
            self._advance(stage.job)

    def _fail_attempt(self, task: TaskState, worker: WorkerState) -> None:
        self._note(task, worker, End.FAILED, "the task raised")
        task.failures += 1
        self._leave(task, worker)
        if task.failures >= task.stage.spec.task_attempts.get(task.id, task.stage.spec.attempts):
            self._fail(task)
        else:
            self._requeue(task, Cause.RETRIED)

    def _miss_inputs(self, task: TaskState, worker: WorkerState, missing: Sequence[tuple[int, str]]) -> None:
        self._note(task, worker, End.INPUTS_MISSING, f"{len(missing)} inputs were not found")
        task.misses += 1
        self._leave(task, worker)
        if task.misses >= MISSES:
            self._fail(task)
            return
        lost = [self.tasks[number] for number, source in missing if recovery.is_at(self, number, source)]
        recovery.lose_results(self, lost)
        needed = recovery.find_missing(self, task)
        if needed:
            self.move(task, Cause.INPUTS_LOST)
            recovery.wait_for(self, task, needed)
        else:
            self._requeue(task, Cause.RETRIED)

    def _on_attempts_returned(self, event: events.AttemptsReturned) -> None:
        worker = self.workers.get(event.worker)
        if worker is None:
            return
        worker.taking_back = False
        self._launcher.consider(worker)
        for number, attempt in reversed(event.attempts):
            task = worker.running.get(number)
            if task is None or task.number != attempt:
                worker.zombies.pop((number, attempt), None)
                continue
            self._leave(task, worker)
            self._requeue(task, Cause.RETURNED)

    def _leave(self, task: TaskState, worker: WorkerState) -> None:
        """The current attempt of a task is over."""
        del worker.running[task.id]
        task.worker = None
        task.stage.pending -= 1
        task.stage.job.pending -= 1

    def _requeue(self, task: TaskState, cause: Cause) -> None:
        self.move(task, cause)
        missing = recovery.find_missing(self, task)
        if missing:
            self.move(task, Cause.INPUTS_LOST)
            recovery.wait_for(self, task, missing)
        else:
            task.stage.ready.appendleft(task)

    def _fail(self, task: TaskState) -> None:
        self.move(task, Cause.FAILED)
        stage = task.stage
        tasks = ((task.id, task.number),)
        stage.unfinished -= 1
        self._out.append(instructions.Settle(stage.spec.stage, TaskOutcome.FAILED, "", tasks))
        if not stage.job.spec.independent:
            self._end(stage.job, TaskOutcome.FAILED, failed=task.id)
            return
        if stage.growing:
            del stage.tasks[task.id]
            del self.tasks[task.id]
        if stage.is_finished:
            self._advance(stage.job)

    def _note(self, task: TaskState, worker: WorkerState, end: End, reason: str) -> None:
        self._out.append(instructions.NoteAttempt(task.id, task.number, worker.name, end, reason))

    # Results

    def _on_results_delivered(self, event: events.ResultsDelivered) -> None:
        released: dict[str, list[int]] = {}
        for number in event.tasks:
            task = self.tasks.get(number)
            if task is None or not task.available or task.worker is None:
                continue
            released.setdefault(task.worker.name, []).append(number)
            del task.worker.kept[number]
            task.available = False
            task.worker = None
            stage = task.stage
            stage.unfinished -= 1
            if stage.growing:
                del stage.tasks[number]
                del self.tasks[number]
            if stage.is_finished:
                self._advance(stage.job)
        for name, tasks in released.items():
            self._out.append(instructions.Release(name, tuple(tasks)))

    def _on_results_lost(self, event: events.ResultsLost) -> None:
        recovery.lose_results(
            self, [self.tasks[number] for number in event.tasks if recovery.is_at(self, number, event.worker)]
        )

    def _on_time_reached(self, _: events.TimeReached) -> None:
        """The launcher does what there is to do, as after every event."""

    # Transitions

    def move(self, task: TaskState, cause: Cause) -> None:
        """Take a task to the state that the table says, and write it into the story.

        Raises:
            ForbiddenTransition: the table does not allow it.
        """
        before = task.state
        after = TRANSITIONS.get((before, cause))
        if after is None:
            story = [str(chapter) for chapter in self.story.of(task.id)]
            text = (
                f"task {task.id} is {before or 'new'}: {cause!r} is forbidden. This is a bug in bndl, please report it."
            )
            raise ForbiddenTransition("\n  ".join([text, *story]), story=story)
        worker = task.worker
        name = "" if worker is None else worker.name
        self.story.log.append((self._now, task.id, before, after, cause, task.number, name))
        task.state = after

    def _unblock(self, task: TaskState) -> None:
        self.move(task, Cause.UNBLOCKED)
        task.stage.ready.append(task)
