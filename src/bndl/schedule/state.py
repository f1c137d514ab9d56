"""What the scheduler knows. Plain data: the decisions are in ``scheduler``, ``placement`` and ``recovery``."""

from __future__ import annotations

from collections import deque

from bndl.schedule.events import JobSpec, StageSpec
from bndl.schedule.transitions import State

__all__ = ["JobState", "StageState", "TaskState", "WorkerState"]


class TaskState:
    """A task."""

    __slots__ = (
        "available",
        "failures",
        "id",
        "inputs",
        "losses",
        "misses",
        "missing",
        "number",
        "solo",
        "stage",
        "state",
        "suspect",
        "waiters",
        "worker",
    )

    def __init__(self, task: int, stage: StageState, inputs: tuple[range, ...]) -> None:
        self.id = task
        self.stage = stage
        self.inputs = inputs
        #: None until its first transition.
        self.state: State | None = None
        #: The number of the last attempt.
        self.number = 0
        #: While it is pending: where its attempt is. While ``available``: where its result is. Otherwise None.
        self.worker: WorkerState | None = None
        #: Whether its result is kept in the store of ``worker``, which has it in ``kept`` then.
        self.available = False
        #: Attempts that the user's code failed.
        self.failures = 0
        #: Attempts that certainly were executing when their worker was lost.
        self.losses = 0
        #: Attempts whose inputs were not found where they should have been.
        self.misses = 0
        #: Whether it was on a worker that was lost, so that it may be what ended it: it is then launched straight into
        #: a free slot, never queued behind or before another task.
        self.suspect = False
        #: Whether the current attempt was launched straight into a free slot.
        self.solo = False
        #: How many results it waits for, one by one; the barrier before its stage is not counted.
        self.missing = 0
        #: The tasks that wait for its result, one by one.
        self.waiters: list[TaskState] | None = None


class StageState:
    """A stage. It is open once the stages before it are done, and stays open when results of those are lost."""

    __slots__ = (
        "growing",
        "is_open",
        "job",
        "mean_seconds",
        "pending",
        "ready",
        "spec",
        "tasks",
        "unfinished",
    )

    def __init__(self, spec: StageSpec, job: JobState) -> None:
        self.spec = spec
        self.job = job
        self.is_open = False
        self.growing = spec.growing
        #: All its tasks, but for those of a growing stage that are done.
        self.tasks: dict[int, TaskState] = {}
        #: Its ready tasks, in the order in which they are to be launched.
        self.ready: deque[TaskState] = deque()
        #: How many tasks are not done, or done with a result that is yet to be delivered.
        self.unfinished = 0
        #: How many tasks are pending.
        self.pending = 0
        #: What an attempt takes a worker, recent ones counting most; None before the first one.
        self.mean_seconds: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all its tasks are done, and no more can come."""
        return not self.unfinished and not self.growing

    def note_seconds(self, mean: float, count: int) -> None:
        """Take ``count`` more attempts that took ``mean`` seconds each into account."""
        if self.mean_seconds is None:
            self.mean_seconds = mean
        else:
            weight = 0.5 if count > 1 else 0.3
            self.mean_seconds += weight * (mean - self.mean_seconds)


class JobState:
    """A job that is not over."""

    __slots__ = ("current", "pending", "spec", "stages")

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.stages = [StageState(stage, self) for stage in spec.stages]
        #: Index of the last stage that is open.
        self.current = -1
        #: How many tasks are pending.
        self.pending = 0


class WorkerState:
    """A worker that is there."""

    __slots__ = ("concurrency", "heard", "kept", "name", "running", "taking_back", "zombies")

    def __init__(self, name: str, concurrency: int, now: float) -> None:
        self.name = name
        self.concurrency = concurrency
        #: The tasks whose current attempt it has, in the order in which they were launched.
        self.running: dict[int, TaskState] = {}
        #: Abandoned attempts, as (task, number), that it has not confirmed: they still take room.
        self.zombies: dict[tuple[int, int], None] = {}
        #: The tasks whose results it keeps.
        self.kept: dict[int, TaskState] = {}
        #: When it last reported anything, or was given work while it had none.
        self.heard = now
        #: Whether it was asked to give attempts back and has not answered.
        self.taking_back = False

    @property
    def load(self) -> int:
        """How many attempts it has."""
        return len(self.running) + len(self.zombies)

    @property
    def free(self) -> int:
        """How many slots are certainly free; negative if attempts are queued."""
        return self.concurrency - len(self.running) - len(self.zombies)
