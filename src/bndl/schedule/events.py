"""What happened: the scheduler's only input. Names are past participles.

Tasks, stages and jobs are numbers that the driver gives out, each increasing and never used twice. The tasks of a
stage that are added together have consecutive numbers, so a set of them is a ``range``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

__all__ = [
    "AttemptsFinished",
    "AttemptsReturned",
    "Event",
    "JobCancelled",
    "JobPaused",
    "JobResumed",
    "JobSpec",
    "JobSubmitted",
    "Kind",
    "Outcome",
    "PlacesScored",
    "ResultsDelivered",
    "ResultsLost",
    "ResultsMoved",
    "RetryRule",
    "StageClosed",
    "StageSpec",
    "TasksAdded",
    "TasksCancelled",
    "TimeReached",
    "WorkerDraining",
    "WorkerJoined",
    "WorkerLost",
]


class Kind(IntEnum):
    """How an attempt ended."""

    SUCCEEDED = 0
    FAILED = 1
    #: Inputs could not be fetched; the user's code did not run.
    INPUTS_MISSING = 2
    #: It ended because it was abandoned.
    ABANDONED = 3


class Outcome(Protocol):
    """How one attempt ended. The message that carries it over the network has this shape already."""

    @property
    def task(self) -> int:
        """The task."""

    @property
    def number(self) -> int:
        """Which attempt of it, counted from 1."""

    @property
    def kind(self) -> int:
        """A ``Kind``."""

    @property
    def seconds(self) -> float:
        """How long it took the worker, everything included."""

    @property
    def stored(self) -> bool:
        """Whether the result is in the worker's store, rather than in the message."""

    @property
    def size(self) -> int:
        """Of the pickled result, in bytes."""

    @property
    def missing(self) -> Sequence[tuple[int, str]]:
        """For ``INPUTS_MISSING``: which tasks' results were not found, each with the worker that was asked."""


class RetryRule(msgspec.Struct, frozen=True):
    """When and where a failed task is tried again.

    Attributes:
        backoff: seconds until the second attempt begins to wait for a worker.
        factor: what the time is multiplied with for each attempt after that.
        jitter: by which part of itself the time is varied, up or down, so that tasks do not all come back at once.
        elsewhere: whether a worker where it failed is only used again if no other one will have it.
    """

    backoff: float = 0.0
    factor: float = 2.0
    jitter: float = 0.1
    elsewhere: bool = True


class StageSpec(msgspec.Struct, frozen=True):
    """A stage as the scheduler needs it.

    Attributes:
        stage: its number.
        tasks: the numbers of its tasks.
        inputs: for the tasks that have any, the tasks whose results they need.
        attempts: how often a task may be tried, the user's errors counted.
        task_attempts: the same for single tasks that differ.
        losses: how often a task may lose the worker that was executing it.
        concurrency: how many of its tasks may be pending at the same time; 0 for no limit.
        kept: whether the results stay on the workers for later stages. Otherwise they are delivered to the driver.
        growing: whether tasks are added later. Its tasks are forgotten once they are done.
        after: the stages whose tasks must all be done before any task of this one begins; None for all before it.
        order: for the tasks that have any, the tasks that must have succeeded before, whose results they do not need.
        retry: when and where a failed task is tried again.
        task_retries: the same for single tasks that differ.
        task_losses: how often single tasks that differ may lose the worker that was executing them.
        priority: tasks with a higher one go first, over all jobs.
        task_priorities: the same for single tasks that differ.
        timeout: seconds that an attempt may take; 0 for no limit.
        task_timeouts: the same for single tasks that differ.
        scores: how much each worker is wanted, see ``PlacesScored``.
        task_scores: the same for single tasks that differ.
        max_failures: how many of its tasks may fail before the job does.
        speculate: whether a straggler is started a second time on an idle slot.
    """

    stage: int
    tasks: range
    inputs: Mapping[int, tuple[range, ...]] = {}
    attempts: int = 1
    task_attempts: Mapping[int, int] = {}
    losses: int = 3
    concurrency: int = 0
    kept: bool = False
    growing: bool = False
    after: tuple[int, ...] | None = None
    order: Mapping[int, tuple[range, ...]] = {}
    retry: RetryRule = RetryRule()
    task_retries: Mapping[int, RetryRule] = {}
    task_losses: Mapping[int, int] = {}
    priority: int = 0
    task_priorities: Mapping[int, int] = {}
    timeout: float = 0.0
    task_timeouts: Mapping[int, float] = {}
    scores: Mapping[str, int] = {}
    task_scores: Mapping[int, Mapping[str, int]] = {}
    max_failures: int = 0
    speculate: bool = False


class JobSpec(msgspec.Struct, frozen=True):
    """A job as the scheduler needs it.

    Attributes:
        job: its number.
        stages: each after those whose results it needs.
        concurrency: how many of its tasks may be pending at the same time; 0 for no limit.
        independent: whether its tasks have nothing to do with each other, so that one that fails is no reason to
            stop the others.
    """

    job: int
    stages: tuple[StageSpec, ...]
    concurrency: int = 0
    independent: bool = False


class WorkerJoined(msgspec.Struct, frozen=True):
    """A worker is there, with nothing on it. It has room for ``concurrency`` running tasks."""

    worker: str
    concurrency: int


class WorkerLost(msgspec.Struct, frozen=True):
    """A worker is gone, with all that it ran and kept.

    Attributes:
        worker: the worker.
        reason: what is known of its end, in a line.
        executing: the attempts that it was executing when it ended, as (task, number), and of other drivers as
            (-1, number); None if that is not known.
    """

    worker: str
    reason: str
    executing: tuple[tuple[int, int], ...] | None = None


class JobSubmitted(msgspec.Struct, frozen=True):
    """The user wants a job executed."""

    job: JobSpec


class TasksAdded(msgspec.Struct, frozen=True):
    """More tasks came to a growing stage."""

    stage: int
    tasks: range


class StageClosed(msgspec.Struct, frozen=True):
    """No more tasks come to a growing stage."""

    stage: int


class JobCancelled(msgspec.Struct, frozen=True):
    """The job's results are not wanted any more."""

    job: int
    reason: str


class TasksCancelled(msgspec.Struct, frozen=True):
    """The results of single tasks are not wanted any more. Their job goes on without them."""

    tasks: Sequence[int]
    reason: str


class JobPaused(msgspec.Struct, frozen=True):
    """The user does not keep up with the job's results: nothing more of it is to be launched."""

    job: int


class JobResumed(msgspec.Struct, frozen=True):
    """The user has taken the results of a paused job."""

    job: int


class PlacesScored(msgspec.Struct, frozen=True):
    """The user said where tasks of a stage are to run.

    A score below 0 forbids a worker, 0 is indifferent, and the higher it is, the more it is preferred. A worker
    without a score has 0.

    Attributes:
        stage: the stage.
        scores: for all tasks of the stage without scores of their own.
        task_scores: for single tasks.
    """

    stage: int
    scores: Mapping[str, int]
    task_scores: Mapping[int, Mapping[str, int]] = {}


class AttemptsFinished(msgspec.Struct, frozen=True):
    """A worker reported how attempts ended.

    Attributes:
        worker: the worker.
        outcomes: of the attempts.
        hopeless: the tasks that failed with an error after which they are not to be tried again.
    """

    worker: str
    outcomes: Sequence[Outcome]
    hopeless: Sequence[int] = ()


class AttemptsReturned(msgspec.Struct, frozen=True):
    """A worker gave attempts back, as (task, number), that it had not started."""

    worker: str
    attempts: Sequence[tuple[int, int]]


class ResultsDelivered(msgspec.Struct, frozen=True):
    """The driver has fetched results that were stored on a worker."""

    tasks: Sequence[int]


class ResultsLost(msgspec.Struct, frozen=True):
    """A worker was asked for results that it should have, and does not have them."""

    worker: str
    tasks: Sequence[int]


class WorkerDraining(msgspec.Struct, frozen=True):
    """A worker wants to leave, as soon as nobody needs it any more.

    Attributes:
        worker: the worker.
        is_ending: whether it cannot wait for that: it ends because of an attempt that nothing stops, which is reported
            or abandoned already. So no other attempt is to blame for its loss.
    """

    worker: str
    is_ending: bool = False


class ResultsMoved(msgspec.Struct, frozen=True):
    """What a ``Move`` came to.

    Attributes:
        source: where the results were.
        target: where they were to be kept.
        tasks: whose results.
        moved: those of them that are there now.
    """

    source: str
    target: str
    tasks: Sequence[int]
    moved: Sequence[int]


class TimeReached(msgspec.Struct, frozen=True):
    """The time has come that ``WakeAt`` asked for last. Other events may have come since then, before this one."""


Event = (
    WorkerJoined
    | WorkerLost
    | JobSubmitted
    | TasksAdded
    | StageClosed
    | JobCancelled
    | TasksCancelled
    | JobPaused
    | JobResumed
    | PlacesScored
    | AttemptsFinished
    | AttemptsReturned
    | ResultsDelivered
    | ResultsLost
    | WorkerDraining
    | ResultsMoved
    | TimeReached
)
