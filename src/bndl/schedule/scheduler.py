"""The scheduler: events in, instructions out.

Every event has one handler. A handler changes the state by ``move`` and by counters, and appends instructions; after it
ready tasks are launched wherever there is room (``launching``). Nothing here acts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bndl.errors import ForbiddenTransition
from bndl.schedule import events, gates, instructions, recovery
from bndl.schedule.attempts import Attempts
from bndl.schedule.draining import Drains
from bndl.schedule.groups import Scores, intern
from bndl.schedule.instructions import Instruction, TaskOutcome
from bndl.schedule.launching import Launcher
from bndl.schedule.placement import preferred_by_inputs
from bndl.schedule.retrying import Delays
from bndl.schedule.state import JobState, StageState, TaskState, WorkerState
from bndl.schedule.story import Story
from bndl.schedule.transitions import TRANSITIONS, Cause, State

__all__ = ["Scheduler"]

#: More tasks than this are taken out of the queues together.
_FEW = 10


class Scheduler:
    """Decides what runs where. Not thread-safe: one caller at a time.

    Args:
        concurrency: how many attempts of all jobs together may be under way; 0 for no limit.

    Attributes:
        tasks: all tasks that are known, by number.
        stages: all stages of jobs that are not over, by number.
        jobs: all jobs that are not over, by number, in the order in which they were submitted.
        workers: all workers that are there, by name, in the order in which they joined.
        attempts: what is under way.
        delays: the tasks that wait for the time of their next attempt.
        pending: how many attempts are under way that are waited for.
        stories: where the stories of jobs that are yet to be submitted are to be written, for who wants to read them.
        now: the time of the event that is handled.
        out: the instructions that it leads to.
    """

    def __init__(self, *, concurrency: int = 0) -> None:
        self.concurrency = concurrency
        self.tasks: dict[int, TaskState] = {}
        self.stages: dict[int, StageState] = {}
        self.jobs: dict[int, JobState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.attempts = Attempts(self)
        self.pending = 0
        self.stories: dict[int, Story] = {}
        self.now = 0.0
        self.out: list[Instruction] = []
        self._submitted = 0
        self.delays = Delays()
        self._launcher = Launcher(self)
        self._drains = Drains(self, self._launcher)
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
            events.ResultsMoved: self._drains.moved,
            events.StageClosed: self._on_stage_closed,
            events.TasksAdded: self._on_tasks_added,
            events.TasksCancelled: self._on_tasks_cancelled,
            events.TimeReached: self._on_time_reached,
            events.WorkerDraining: self._drains.begin,
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
        self.now = now
        out: list[Instruction] = []
        self.out = out
        self._handlers[type(event)](event)
        for task in self.delays.release(now):
            task.missing -= 1
            self.unblock(task)
        self._launcher.assign(self.delays.next)
        self._drains.go_on()
        return out

    # Workers

    def _on_worker_joined(self, event: events.WorkerJoined) -> None:
        if event.worker in self.workers:
            self._on_worker_lost(events.WorkerLost(event.worker, "it joined anew"))
        worker = WorkerState(event.worker, event.concurrency, self.now)
        self.workers[event.worker] = worker
        self._launcher.add(worker)

    def _on_worker_lost(self, event: events.WorkerLost) -> None:
        worker = self.workers.pop(event.worker, None)
        if worker is not None:
            self._launcher.remove(worker)
            self._drains.lose(worker.name)
            self.attempts.lose(worker, event)

    def _on_attempts_finished(self, event: events.AttemptsFinished) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.heard = self.now
            self._launcher.consider(worker)
            self.attempts.finish(worker, event)

    def _on_attempts_returned(self, event: events.AttemptsReturned) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.taking_back = False
            worker.heard = self.now
            self._launcher.consider(worker)
            self.attempts.take_back(worker, event.attempts)

    def _on_time_reached(self, _: events.TimeReached) -> None:
        """What is due is done after every event; but nothing is asked for any more."""
        self._launcher.wake()

    # Jobs

    def _on_job_submitted(self, event: events.JobSubmitted) -> None:
        self._submitted += 1
        story = self.stories.pop(event.job.job, None)
        job = JobState(event.job, self._submitted, Story() if story is None else story)
        self.jobs[event.job.job] = job
        for position, stage in enumerate(job.stages):
            spec = stage.spec
            self.stages[spec.stage] = stage
            before = job.stages[:position] if spec.after is None else [self.stages[number] for number in spec.after]
            stage.waits = len(before)
            for each in before:
                each.followers.append(stage)
            for number in spec.tasks:
                self.tasks[number] = stage.tasks[number] = TaskState(number, stage)
        for stage in job.stages:
            if stage.spec.inputs or stage.spec.order:
                gates.set_up(self, stage)
            stage.is_open = not stage.waits
            self._add(stage, stage.tasks.values())
        for stage in job.stages:
            if stage.is_open:
                self.advance(stage)
        if not job.stages:
            self._end(job, TaskOutcome.SUCCEEDED)

    def _add(self, stage: StageState, tasks: Iterable[TaskState]) -> None:
        count = 0
        for task in tasks:
            count += 1
            task.missing = gates.count_missing(task) if task.gates else 0
            if stage.is_open and not task.missing:
                self.move(task, Cause.ADDED)
                self.queue(task)
            else:
                self.move(task, Cause.ADDED_BLOCKED)
        stage.unfinished += count
        stage.job.unfinished += count

    def _on_tasks_added(self, event: events.TasksAdded) -> None:
        stage = self.stages.get(event.stage)
        if stage is not None:
            tasks = [TaskState(number, stage) for number in event.tasks]
            for task in tasks:
                self.tasks[task.id] = stage.tasks[task.id] = task
            self._add(stage, tasks)

    def _on_stage_closed(self, event: events.StageClosed) -> None:
        stage = self.stages.get(event.stage)
        if stage is not None:
            stage.growing = False
            self.advance(stage)

    def _on_job_paused(self, event: events.JobPaused) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            job.is_paused = True

    def _on_job_resumed(self, event: events.JobResumed) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            job.is_paused = False

    def _on_job_cancelled(self, event: events.JobCancelled) -> None:
        job = self.jobs.get(event.job)
        if job is not None:
            self._end(job, TaskOutcome.CANCELLED, reason=event.reason)

    def advance(self, stage: StageState) -> None:
        """If a stage is finished, open the stages that waited for it, and finish the job if it was the last one.

        A barrier is a counter of stages, and a stage a counter of tasks.
        """
        job = stage.job
        if not stage.is_finished or job.spec.job not in self.jobs:
            return
        finished = [stage]
        while finished:
            each = finished.pop()
            if each.has_passed or not each.is_open or not each.is_finished:
                continue
            each.has_passed = True
            for follower in each.followers:
                follower.waits -= 1
                if not follower.waits:
                    follower.is_open = True
                    finished.append(follower)
                    for task in follower.tasks.values():
                        self.unblock(task)
        if not job.unfinished and all(each.is_finished for each in job.stages):
            self._end(job, TaskOutcome.SUCCEEDED)

    def _end(self, job: JobState, outcome: TaskOutcome, *, failed: int = -1, reason: str = "") -> None:
        """The job is over: nothing of it runs, waits or is kept any more."""
        abandoned: dict[str, list[tuple[int, int]]] = {}
        for stage in job.stages:
            cancelled = []
            for task in stage.tasks.values():
                while task.state is State.PENDING and (worker := task.worker) is not None:
                    number = task.number
                    self.attempts.leave(task, worker)
                    worker.zombies[(task.id, number)] = None
                    abandoned.setdefault(worker.name, []).append((task.id, number))
                if task.state is not State.DONE:
                    self.move(task, Cause.CANCELLED)
                    task.delayed = False
                    cancelled.append((task.id, task.number))
                elif task.available and task.worker is not None:
                    del task.worker.kept[task.id]
                del self.tasks[task.id]
            if cancelled:
                self.out.append(instructions.Settle(stage.spec.stage, TaskOutcome.CANCELLED, "", tuple(cancelled)))
            self._launcher.forget(stage)
            del self.stages[stage.spec.stage]
        for name, attempts in abandoned.items():
            self.out.append(instructions.Abandon(name, tuple(attempts)))
        del self.jobs[job.spec.job]
        self.out.append(instructions.FinishJob(job.spec.job, outcome, failed, reason))

    # Tasks that end without a result

    def fail(self, task: TaskState, cause: Cause, reason: str = "") -> None:
        """A task has failed for good, and its job with it if that is more than is tolerated."""
        self.move(task, cause)
        stage = task.stage
        stage.unfinished -= 1
        stage.job.unfinished -= 1
        stage.failed += 1
        tasks = ((task.id, task.number),)
        self.out.append(instructions.Settle(stage.spec.stage, TaskOutcome.FAILED, "", tasks, reason=reason))
        if stage.job.spec.independent or stage.failed <= stage.spec.max_failures:
            self._go_on_without([task])
        else:
            self._end(stage.job, TaskOutcome.FAILED, failed=task.id)

    def _on_tasks_cancelled(self, event: events.TasksCancelled) -> None:
        tasks = [self.tasks[number] for number in dict.fromkeys(event.tasks) if number in self.tasks]
        self._cancel([task for task in tasks if task.state is not State.DONE], event.reason)

    def _cancel(self, tasks: Iterable[TaskState], reason: str) -> None:
        cancelled = [task for task in tasks if task.state is not State.DONE]
        if len(cancelled) > _FEW:
            for stage in {task.stage.spec.stage: task.stage for task in cancelled}.values():
                stage.ready.remove_all(cancelled)
        for task in cancelled:
            self._cancel_one(task, reason)
        self._go_on_without(cancelled)

    def _cancel_one(self, task: TaskState, reason: str) -> None:
        if task.state is State.PENDING:
            self.attempts.abandon(task)
        elif task.state is State.READY:
            task.stage.ready.remove(task)
        self.move(task, Cause.CANCELLED)
        task.delayed = False
        stage = task.stage
        stage.unfinished -= 1
        stage.job.unfinished -= 1
        tasks = ((task.id, task.number),)
        self.out.append(instructions.Settle(stage.spec.stage, TaskOutcome.CANCELLED, "", tasks, reason=reason))

    def _go_on_without(self, tasks: Iterable[TaskState]) -> None:
        """These tasks have no result and will have none. Tasks that were to come after them are cancelled too."""
        gone = deque(tasks)
        freed: list[TaskState] = []
        stages: dict[int, StageState] = {}
        while gone:
            task = gone.popleft()
            task.absent = True
            stages[task.stage.spec.stage] = task.stage
            doomed = [each for gate in task.feeds if gate.is_order for each in gate.consumers]
            freed += gates.open_for(task)
            if task.stage.growing:
                self.forget(task)
            for each in doomed:
                if each.state is not State.DONE:
                    self._cancel_one(each, "a task that it was to come after did not succeed")
                    gone.append(each)
        for task in freed:
            self.unblock(task)
        for stage in stages.values():
            self.advance(stage)

    # Results

    def _on_results_delivered(self, event: events.ResultsDelivered) -> None:
        recovery.note_delivered(self, event.tasks)

    def _on_results_lost(self, event: events.ResultsLost) -> None:
        recovery.lose_results(
            self, [self.tasks[number] for number in event.tasks if recovery.is_at(self, number, event.worker)]
        )

    # Places

    def _on_places_scored(self, event: events.PlacesScored) -> None:
        stage = self.stages.get(event.stage)
        if stage is not None:
            stage.scores = Scores(event.scores)
            stage.task_scores = intern(event.task_scores)
            for task in stage.ready.clear():
                self._push(task)

    def queue(self, task: TaskState, *, first: bool = False) -> None:
        """A task is ready: queue it by how urgent it is and where it wants to run."""
        self._push(task, first=first)
        self._launcher.note(task.stage)

    def _push(self, task: TaskState, *, first: bool = False) -> None:
        stage = task.stage
        spec = stage.spec
        scores: Mapping[str, int] = stage.task_scores.get(task.id, stage.scores) if stage.task_scores else stage.scores
        waits = True
        if not scores and task.gates:
            scores, waits = preferred_by_inputs(gates.weigh_inputs(self, task))
        priority = spec.task_priorities.get(task.id, spec.priority) if spec.task_priorities else spec.priority
        stage.ready.push(task, priority, scores, waits=waits or not scores or bool(task.avoid), first=first)

    # Transitions

    def move(self, task: TaskState, cause: Cause) -> None:
        """Take a task to the state that the table says, and write it into the story.

        Raises:
            ForbiddenTransition: the table does not allow it.
        """
        before = task.state
        after = TRANSITIONS.get((before, cause))
        story = task.stage.job.story
        if after is None:
            told = [str(chapter) for chapter in story.of(task.id)]
            text = (
                f"task {task.id} is {before or 'new'}: {cause!r} is forbidden. This is a bug in bndl, please report it."
            )
            raise ForbiddenTransition("\n  ".join([text, *told]), story=told)
        worker = task.worker
        name = "" if worker is None else worker.name
        story.log.append((self.now, task.id, before, after, cause, task.number, name))
        task.state = after
        task.since = self.now

    def unblock(self, task: TaskState) -> None:
        """Let a task be launched if there is nothing any more that it waits for."""
        if task.state is State.BLOCKED and not task.missing and task.stage.is_open:
            self.move(task, Cause.UNBLOCKED)
            self.queue(task)

    def delay(self, task: TaskState, seconds: float) -> None:
        """Let a blocked task wait for the time of its next attempt, besides what it misses."""
        task.missing = gates.count_missing(task) + 1
        self.delays.add(self.now + seconds, task)

    def forget(self, task: TaskState) -> None:
        """A task of a growing stage is done."""
        del task.stage.tasks[task.id]
        del self.tasks[task.id]
