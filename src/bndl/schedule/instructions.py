"""What is to be done: the scheduler's only output. Names are imperatives."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Abandon",
    "Attempt",
    "Dismiss",
    "End",
    "FinishJob",
    "Instruction",
    "Launch",
    "Locality",
    "Move",
    "NoteAttempt",
    "Release",
    "Settle",
    "TakeBack",
    "TaskOutcome",
    "WakeAt",
]


class TaskOutcome(StrEnum):
    """How a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class End(StrEnum):
    """How an attempt ended that did not succeed."""

    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    INPUTS_MISSING = "inputs missing"
    ABANDONED = "abandoned"


class Locality(StrEnum):
    """Where an attempt was launched, as its task would have it."""

    #: It has no preference.
    ANY = "any"
    #: On a worker that no other one is preferred to.
    BEST = "best"
    #: Elsewhere, after a wait for a better worker.
    OTHER = "other"


class Attempt(msgspec.Struct, frozen=True):
    """One execution of a task.

    Attributes:
        task: the task.
        number: counted from 1.
        sources: where its inputs are: each worker with the tasks whose results it keeps. Under an empty name are the
            tasks that have no result and will have none, because they failed or were cancelled and that is tolerated.
        locality: where this is, as the task would have it.
        twin: whether it is a second attempt beside a straggling one.
    """

    task: int
    number: int
    sources: tuple[tuple[str, tuple[int, ...]], ...] = ()
    locality: Locality = Locality.ANY
    twin: bool = False


class Launch(msgspec.Struct, frozen=True):
    """Send attempts of tasks of one stage to a worker."""

    worker: str
    stage: int
    attempts: tuple[Attempt, ...]


class TakeBack(msgspec.Struct, frozen=True):
    """Ask a worker for those of these attempts that it has not started."""

    worker: str
    attempts: tuple[tuple[int, int], ...]


class Abandon(msgspec.Struct, frozen=True):
    """Tell a worker that nobody waits for these attempts any more. Their slots count as taken until it answers."""

    worker: str
    attempts: tuple[tuple[int, int], ...]


class Release(msgspec.Struct, frozen=True):
    """Tell a worker to drop the results of these tasks."""

    worker: str
    tasks: tuple[int, ...]


class Move(msgspec.Struct, frozen=True):
    """Have a worker fetch results from one that leaves, and keep them. ``ResultsMoved`` says what came of it."""

    source: str
    target: str
    tasks: tuple[int, ...]


class Dismiss(msgspec.Struct, frozen=True):
    """Tell a worker that wants to leave that it may."""

    worker: str


class NoteAttempt(msgspec.Struct, frozen=True):
    """Write down that an attempt ended without success, and why the scheduler thinks it did."""

    task: int
    number: int
    worker: str
    end: End
    reason: str


class Settle(msgspec.Struct, frozen=True):
    """Tell the user that tasks are done.

    Attributes:
        stage: the stage that all of them are of.
        outcome: how they ended.
        worker: where the last attempt was; empty if there was none.
        tasks: each with the number of its last attempt.
        stored: whether the results are to be fetched from the worker; ``ResultsDelivered`` says when they were.
        reason: why they were cancelled, or failed without an attempt to blame; empty otherwise.
    """

    stage: int
    outcome: TaskOutcome
    worker: str
    tasks: tuple[tuple[int, int], ...]
    stored: bool = False
    reason: str = ""


class FinishJob(msgspec.Struct, frozen=True):
    """Tell the user that a job is over, and every worker to forget its stages.

    Attributes:
        job: the job.
        outcome: how it ended.
        task: the task that failed, or -1.
        reason: why it was cancelled, or empty.
    """

    job: int
    outcome: TaskOutcome
    task: int = -1
    reason: str = ""


class WakeAt(msgspec.Struct, frozen=True):
    """Send ``TimeReached`` at this time, or later, whatever else happens. It takes the place of the one before."""

    when: float


Instruction = Launch | TakeBack | Abandon | Release | NoteAttempt | Settle | FinishJob | Move | Dismiss | WakeAt
