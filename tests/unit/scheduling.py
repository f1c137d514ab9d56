"""A scheduler under test: events and instructions in short. The invariants are checked after every event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import msgspec

from bndl.schedule import Scheduler, events, invariants
from bndl.schedule.events import JobSpec, Kind, Outcome, RetryRule, StageSpec
from bndl.schedule.instructions import (
    Abandon,
    Attempt,
    End,
    FinishJob,
    Instruction,
    Launch,
    NoteAttempt,
    Release,
    Settle,
    TakeBack,
    TaskOutcome,
)
from bndl.schedule.transitions import State

__all__ = [
    "Ended",
    "Scheduling",
    "abandon",
    "attempt",
    "cancelled",
    "fail",
    "failed",
    "finish",
    "gave_up",
    "launch",
    "missed",
    "note",
    "release",
    "settle",
    "succeeded",
    "take_back",
]


class StageOptions(TypedDict, total=False):
    """See ``StageSpec``."""

    attempts: int
    task_attempts: Mapping[int, int]
    losses: int
    concurrency: int
    kept: bool
    growing: bool
    after: tuple[int, ...] | None
    order: Mapping[int, tuple[range, ...]]
    retry: RetryRule
    task_retries: Mapping[int, RetryRule]
    task_losses: Mapping[int, int]
    priority: int
    task_priorities: Mapping[int, int]
    timeout: float
    task_timeouts: Mapping[int, float]
    scores: Mapping[str, int]
    task_scores: Mapping[int, Mapping[str, int]]
    max_failures: int
    speculate: bool


class Scheduling:
    """Numbers stages, jobs and tasks from 1, and hands events to a scheduler.

    Attributes:
        scheduler: the scheduler.
        now: what time the next event is at.
    """

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.now = 0.0
        self._stages = 0
        self._tasks = 0
        self._jobs = 0

    def handle(self, event: events.Event) -> list[Instruction]:
        instructions = self.scheduler.handle(event, self.now)
        invariants.check(self.scheduler)
        return list(instructions)

    def stage(
        self, tasks: int, inputs: Mapping[int, Sequence[range]] | None = None, **options: Unpack[StageOptions]
    ) -> StageSpec:
        """The next stage, with the next tasks."""
        needs = {task: tuple(ranges) for task, ranges in (inputs or {}).items()}
        return StageSpec(self._next_stage(), self.numbers(tasks), needs, **options)

    def numbers(self, tasks: int) -> range:
        """The numbers of the next tasks."""
        self._tasks += tasks
        return range(self._tasks - tasks + 1, self._tasks + 1)

    def _next_stage(self) -> int:
        self._stages += 1
        return self._stages

    def submit(self, *stages: StageSpec, concurrency: int = 0, independent: bool = False) -> list[Instruction]:
        """The next job."""
        self._jobs += 1
        job = JobSpec(self._jobs, stages, concurrency=concurrency, independent=independent)
        return self.handle(events.JobSubmitted(job))

    def add(self, stage: int, tasks: int) -> list[Instruction]:
        return self.handle(events.TasksAdded(stage, self.numbers(tasks)))

    def close(self, stage: int) -> list[Instruction]:
        return self.handle(events.StageClosed(stage))

    def cancel(self, job: int) -> list[Instruction]:
        return self.handle(events.JobCancelled(job, "not wanted"))

    def cancel_tasks(self, *tasks: int) -> list[Instruction]:
        return self.handle(events.TasksCancelled(tasks, "not wanted"))

    def join(self, worker: str, concurrency: int = 1) -> list[Instruction]:
        return self.handle(events.WorkerJoined(worker, concurrency))

    def drain(self, worker: str, *, is_ending: bool = False) -> list[Instruction]:
        return self.handle(events.WorkerDraining(worker, is_ending=is_ending))

    def lose(self, worker: str, *executing: tuple[int, int]) -> list[Instruction]:
        """With what was executing, if that is known."""
        return self.handle(events.WorkerLost(worker, "gone", executing or None))

    def finish(self, worker: str, *outcomes: Outcome) -> list[Instruction]:
        return self.handle(events.AttemptsFinished(worker, outcomes))

    def give_back(self, worker: str, *attempts: tuple[int, int]) -> list[Instruction]:
        return self.handle(events.AttemptsReturned(worker, attempts))

    def deliver(self, *tasks: int) -> list[Instruction]:
        return self.handle(events.ResultsDelivered(tasks))

    def forget(self, worker: str, *tasks: int) -> list[Instruction]:
        return self.handle(events.ResultsLost(worker, tasks))

    def wake(self) -> list[Instruction]:
        return self.handle(events.TimeReached())

    def states(self, *tasks: int) -> list[State | None]:
        return [self.scheduler.tasks[task].state for task in tasks]


# How attempts ended


class Ended(msgspec.Struct, frozen=True):
    """An ``Outcome``. A second is long, so that nothing is launched in advance unless a test wants it."""

    task: int
    number: int = 1
    kind: int = Kind.SUCCEEDED
    seconds: float = 1.0
    stored: bool = False
    missing: Sequence[tuple[int, str]] = ()
    size: int = 0


def succeeded(task: int, number: int = 1, *, stored: bool = False, seconds: float = 1.0) -> Ended:
    return Ended(task, number, stored=stored, seconds=seconds)


def failed(task: int, number: int = 1, *, seconds: float = 1.0) -> Ended:
    return Ended(task, number, Kind.FAILED, seconds=seconds)


def missed(task: int, number: int, *missing: tuple[int, str]) -> Ended:
    return Ended(task, number, Kind.INPUTS_MISSING, missing=missing)


def gave_up(task: int, number: int = 1) -> Ended:
    return Ended(task, number, Kind.ABANDONED)


# Instructions


def attempt(task: int, number: int = 1, /, **sources: list[int]) -> Attempt:
    return Attempt(task, number, tuple((worker, tuple(tasks)) for worker, tasks in sources.items()))


def launch(worker: str, stage: int, *attempts: int | tuple[int, int] | Attempt) -> Launch:
    """A bare number is a task's first attempt."""
    return Launch(worker, stage, tuple(each if isinstance(each, Attempt) else _attempt(each) for each in attempts))


def _attempt(each: int | tuple[int, int]) -> Attempt:
    return Attempt(each, 1) if isinstance(each, int) else Attempt(*each)


def settle(worker: str, stage: int, *tasks: int | tuple[int, int], stored: bool = False) -> Settle:
    return Settle(stage, TaskOutcome.SUCCEEDED, worker, _pairs(tasks), stored)


def fail(stage: int, task: int, number: int = 1) -> Settle:
    return Settle(stage, TaskOutcome.FAILED, "", ((task, number),))


def cancelled(stage: int, *tasks: int | tuple[int, int]) -> Settle:
    """A bare number is a task that was never launched."""
    return Settle(stage, TaskOutcome.CANCELLED, "", _pairs(tasks, number=0))


def _pairs(tasks: Sequence[int | tuple[int, int]], number: int = 1) -> tuple[tuple[int, int], ...]:
    return tuple((each, number) if isinstance(each, int) else each for each in tasks)


def finish(job: int, outcome: TaskOutcome = TaskOutcome.SUCCEEDED, *, task: int = -1, reason: str = "") -> FinishJob:
    return FinishJob(job, outcome, task, reason)


def note(worker: str, task: int, number: int, end: End, reason: str) -> NoteAttempt:
    return NoteAttempt(task, number, worker, end, reason)


def take_back(worker: str, *attempts: tuple[int, int]) -> TakeBack:
    return TakeBack(worker, attempts)


def abandon(worker: str, *attempts: tuple[int, int]) -> Abandon:
    return Abandon(worker, attempts)


def release(worker: str, *tasks: int) -> Release:
    return Release(worker, tasks)
