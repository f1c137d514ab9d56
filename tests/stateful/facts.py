"""What is known of workers, jobs, stages and tasks, and what is foreseen: the plain facts of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum

from bndl.schedule.events import JobSpec, RetryRule, StageSpec
from bndl.schedule.instructions import End, TaskOutcome

__all__ = ["Foreseen", "Held", "Job", "Phase", "Stage", "Task", "Worker", "is_over"]


class Phase(Enum):
    """Where a task is in its life, launching aside."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    #: It failed or was cancelled.
    WITHOUT_RESULT = "without result"


class Worker:
    """A worker that is there."""

    def __init__(self, name: str, concurrency: int, now: float) -> None:
        self.name = name
        self.concurrency = concurrency
        #: The attempts that it has, as (task, number), in the order in which they came; the first ones are executed.
        self.held: dict[tuple[int, int], Held] = {}
        #: What it was asked to give back and has not answered.
        self.asked: list[tuple[int, int]] | None = None
        #: When it last reported anything, or was given work while it had none.
        self.heard = now

    @property
    def free(self) -> int:
        return self.concurrency - len(self.held)

    @property
    def executing(self) -> list[tuple[int, int]]:
        return list(self.held)[: self.concurrency]

    @property
    def queued(self) -> list[tuple[int, int]]:
        return list(self.held)[self.concurrency :]


class Held:
    """An attempt that a worker has."""

    def __init__(self, sources: list[tuple[int, str]], *, into_free_slot: bool) -> None:
        #: Each input with the worker that was said to have it.
        self.sources = sources
        self.into_free_slot = into_free_slot
        self.is_abandoned = False


class Task:
    """A task."""

    def __init__(self, number: int, stage: Stage) -> None:
        spec = stage.spec
        self.number = number
        self.stage = stage
        self.inputs = {each for ranges in spec.inputs.get(number, ()) for each in ranges}
        #: The tasks that must have succeeded before, once.
        self.order = {each for ranges in spec.order.get(number, ()) for each in ranges}
        self.phase = Phase.WAITING
        #: The attempts that count and the workers that have them, in the order in which they were launched.
        self.running: dict[int, str] = {}
        #: The first of them, or the last one that there was.
        self.attempt = 0
        #: The highest number that an attempt has had.
        self.given = 0
        #: When it was launched the last time, a second attempt beside it not counted.
        self.launched = 0.0
        #: Which worker has its result, and how large that is.
        self.place: str | None = None
        self.size = 0
        self.has_succeeded = False
        self.failures = 0
        self.losses = 0
        self.misses = 0
        #: How often its worker was lost while others were there too.
        self.doubts = 0
        #: Workers where it failed or missed inputs: another one first.
        self.avoids: set[str] = set()
        #: When it may be launched again.
        self.not_before = 0.0
        #: Since when it could be launched, for as long as it can.
        self.ready_since: float | None = None

    @property
    def is_suspect(self) -> bool:
        return self.doubts > 0 or self.losses > 0

    @property
    def is_isolated(self) -> bool:
        """Whether it gets a worker for itself, to be certain."""
        return self.doubts >= 2

    @property
    def attempts(self) -> int:
        return self.stage.spec.task_attempts.get(self.number, self.stage.spec.attempts)

    @property
    def retry(self) -> RetryRule:
        return self.stage.spec.task_retries.get(self.number, self.stage.spec.retry)

    @property
    def priority(self) -> int:
        return self.stage.spec.task_priorities.get(self.number, self.stage.spec.priority)

    @property
    def scores(self) -> Mapping[str, int]:
        return self.stage.task_scores.get(self.number, self.stage.scores)


class Stage:
    """A stage."""

    def __init__(self, spec: StageSpec, job: Job) -> None:
        self.spec = spec
        self.job = job
        self.tasks = {number: Task(number, self) for number in spec.tasks}
        #: The stages that must have been finished once before it is open.
        self.before = [each for each in job.stages if spec.after is None or each.spec.stage in spec.after]
        self.is_growing = spec.growing
        #: How many tasks it has had.
        self.size = len(spec.tasks)
        #: Whether it was finished once: stages after it stay open when its results are made again.
        self.has_passed = False
        self.failed = 0
        #: The least and the most that an attempt took.
        self.seconds: tuple[float, float] | None = None
        #: How many were measured.
        self.measured = 0
        self.scores = spec.scores
        self.task_scores = spec.task_scores

    @property
    def is_open(self) -> bool:
        return all(stage.has_passed for stage in self.before)

    def measure(self, seconds: float) -> None:
        """An attempt took so long."""
        least, most = self.seconds or (seconds, seconds)
        self.seconds = min(least, seconds), max(most, seconds)
        self.measured += 1

    @property
    def is_finished(self) -> bool:
        return not self.is_growing and all(is_over(task) for task in self.tasks.values())

    @property
    def pending(self) -> int:
        return sum(len(task.running) for task in self.tasks.values())


class Job:
    """A job that is not over."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.is_paused = False
        self.stages: list[Stage] = []
        for stage in spec.stages:
            self.stages.append(Stage(stage, self))

    @property
    def pending(self) -> int:
        return sum(stage.pending for stage in self.stages)


def is_over(task: Task) -> bool:
    """Whether nothing is to be done for a task: it is done, and the driver has its result if it is to have it."""
    is_owed = task.place is not None and not task.stage.spec.kept
    return task.phase in {Phase.SUCCEEDED, Phase.WITHOUT_RESULT} and not is_owed


class Foreseen:
    """What must be among the instructions, and how often."""

    def __init__(self) -> None:
        #: Task, attempt, outcome, worker, whether its result is to be fetched.
        self.settled: Counter[tuple[int, int, TaskOutcome, str, bool]] = Counter()
        #: Task, attempt, worker, how the attempt ended.
        self.noted: Counter[tuple[int, int, str, End]] = Counter()
        #: Worker, task, attempt.
        self.abandoned: Counter[tuple[str, int, int]] = Counter()
        #: Worker, task.
        self.released: Counter[tuple[str, int]] = Counter()
        #: Job, outcome, the task that failed.
        self.finished: Counter[tuple[int, TaskOutcome, int]] = Counter()
