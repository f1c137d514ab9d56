"""What the scheduler knows. Plain data: the decisions are in the modules beside this one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bndl.schedule.events import JobSpec, StageSpec
from bndl.schedule.groups import Group, Scores, intern
from bndl.schedule.ready import ReadyTasks
from bndl.schedule.story import Story
from bndl.schedule.transitions import State

__all__ = ["DOUBTS", "Gate", "JobState", "StageState", "TaskState", "Twin", "WorkerState"]


#: After how many losses that may be its doing a task gets a worker for itself.
DOUBTS = 2


class Gate:
    """Some consecutive tasks that others wait for. However many wait for it, each of its tasks is counted once."""

    __slots__ = ("consumers", "is_order", "missing", "numbers")

    def __init__(self, numbers: range, *, is_order: bool) -> None:
        self.numbers = numbers
        #: Whether the tasks must only have succeeded. Otherwise their results are needed.
        self.is_order = is_order
        #: How many of them are still to come.
        self.missing = 0
        self.consumers: Sequence[TaskState] = ()


class TaskState:
    """A task."""

    __slots__ = (
        "absent",
        "available",
        "avoid",
        "delayed",
        "doubts",
        "failures",
        "feeds",
        "gates",
        "given",
        "group",
        "id",
        "losses",
        "misses",
        "missing",
        "number",
        "since",
        "size",
        "solo",
        "stage",
        "state",
        "worker",
    )

    def __init__(self, task: int, stage: StageState) -> None:
        self.id = task
        self.stage = stage
        #: None until its first transition.
        self.state: State | None = None
        #: When it came into that state.
        self.since = 0.0
        #: The number of the current attempt, or of the last one.
        self.number = 0
        #: The highest number that was given to an attempt; more than ``number`` if there is, or was, a twin.
        self.given = 0
        #: While it is pending: where its attempt is. While ``available``: where its result is. Otherwise None.
        self.worker: WorkerState | None = None
        #: Whether its result is kept in the store of ``worker``, which has it in ``kept`` then.
        self.available = False
        #: Whether it is done without a result, and others go on without it.
        self.absent = False
        #: How many bytes its result has, once it has one.
        self.size = 0
        #: Attempts that the user's code failed.
        self.failures = 0
        #: Attempts that ended their worker, as far as is known: nothing else was executing there when it was lost.
        self.losses = 0
        #: Attempts whose inputs were not found where they should have been, or that a worker gave up.
        self.misses = 0
        #: Attempts whose worker was lost while others were on it too, so that it may be what ended it. Such a suspect
        #: is launched straight into a free slot, never queued, and after the second time gets a worker for itself.
        self.doubts = 0
        #: Whether the current attempt was launched straight into a free slot.
        self.solo = False
        #: Workers where it failed, to be used again only if no other one will have it.
        self.avoid: tuple[str, ...] = ()
        #: What it waits for, or waited for.
        self.gates: tuple[Gate, ...] = ()
        #: While it is blocked: how many of its gates miss something, and one more while it is ``delayed``.
        self.missing = 0
        #: Whether it waits for the time of its next attempt.
        self.delayed = False
        #: The gates that it is part of.
        self.feeds: Sequence[Gate] = ()
        #: While it is ready: what it is queued in.
        self.group: Group | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ended a worker."""
        return self.doubts > 0 or self.losses > 0

    @property
    def is_isolated(self) -> bool:
        """Whether it gets a worker for itself."""
        return self.doubts >= DOUBTS


class Twin:
    """The second attempt of a straggler."""

    __slots__ = ("number", "worker")

    def __init__(self, worker: WorkerState, number: int) -> None:
        self.worker = worker
        self.number = number


class StageState:
    """A stage. It is open once the stages that it is after are done, and stays open when results of those are lost."""

    __slots__ = (
        "count",
        "failed",
        "followers",
        "growing",
        "has_passed",
        "is_open",
        "job",
        "mean_seconds",
        "pending",
        "ready",
        "scores",
        "seconds",
        "spec",
        "task_scores",
        "tasks",
        "unfinished",
        "waits",
    )

    def __init__(self, spec: StageSpec, job: JobState) -> None:
        self.spec = spec
        self.job = job
        self.is_open = False
        self.growing = spec.growing
        #: How many stages it still waits for.
        self.waits = 0
        #: The stages that wait for it.
        self.followers: list[StageState] = []
        #: Whether it was finished once, and those that follow were told.
        self.has_passed = False
        #: All its tasks, but for those of a growing stage that are done.
        self.tasks: dict[int, TaskState] = {}
        #: Its ready tasks, in the order in which they are to be launched.
        self.ready = ReadyTasks()
        #: How many tasks are not done, or done with a result that is yet to be delivered.
        self.unfinished = 0
        #: How many attempts are under way that are waited for.
        self.pending = 0
        #: How many tasks have failed.
        self.failed = 0
        #: What an attempt takes a worker, recent ones counting most; None before the first one.
        self.mean_seconds: float | None = None
        #: What all attempts that succeeded took together, and how many they were.
        self.seconds = 0.0
        self.count = 0
        #: How much workers are wanted, for all tasks and for those that differ.
        self.scores = Scores(spec.scores)
        self.task_scores = intern(spec.task_scores)

    @property
    def is_finished(self) -> bool:
        """Whether all its tasks are done, and no more can come."""
        return not self.unfinished and not self.growing

    def note_seconds(self, mean: float, count: int) -> None:
        """Take ``count`` more attempts that took ``mean`` seconds each into account."""
        self.seconds += mean * count
        self.count += count
        if self.mean_seconds is None:
            self.mean_seconds = mean
        else:
            weight = 0.5 if count > 1 else 0.3
            self.mean_seconds += weight * (mean - self.mean_seconds)


class JobState:
    """A job that is not over."""

    __slots__ = ("is_paused", "order", "pending", "spec", "stages", "story", "turn", "unfinished")

    def __init__(self, spec: JobSpec, order: int, story: Story) -> None:
        # What its stages need is much, and the gates have it soon.
        self.spec = msgspec.structs.replace(spec, stages=())
        self.stages = [StageState(stage, self) for stage in spec.stages]
        #: Which job it is, as they were submitted.
        self.order = order
        #: How many attempts are under way that are waited for.
        self.pending = 0
        #: When it was launched from last, as a count of launches.
        self.turn = 0
        #: How many tasks of its stages are unfinished.
        self.unfinished = 0
        #: Whether nothing more of it is to be launched for now.
        self.is_paused = False
        #: The last transitions of its tasks.
        self.story = story


class WorkerState:
    """A worker that is there."""

    __slots__ = (
        "concurrency",
        "heard",
        "is_draining",
        "is_ending",
        "kept",
        "name",
        "reserved_for",
        "running",
        "taking_back",
        "zombies",
    )

    def __init__(self, name: str, concurrency: int, now: float) -> None:
        self.name = name
        self.concurrency = concurrency
        #: The tasks of which it has an attempt that is waited for, in the order in which they were launched.
        self.running: dict[int, TaskState] = {}
        #: Abandoned attempts, as (task, number), that it has not confirmed: they still take room.
        self.zombies: dict[tuple[int, int], None] = {}
        #: The tasks whose results it keeps.
        self.kept: dict[int, TaskState] = {}
        #: When it last reported anything, or was given work while it had none.
        self.heard = now
        #: Whether it was asked to give attempts back and has not answered.
        self.taking_back = False
        #: Whether it wants to leave, so that nothing more is launched there.
        self.is_draining = False
        #: Whether it ends because of an attempt that nothing stops, so that no other one is to blame for its loss.
        self.is_ending = False
        #: The task that it is being emptied for, or that has it for itself.
        self.reserved_for: TaskState | None = None

    @property
    def load(self) -> int:
        """How many attempts it has."""
        return len(self.running) + len(self.zombies)

    @property
    def free(self) -> int:
        """How many slots are certainly free; negative if attempts are queued."""
        free = self.concurrency - len(self.running) - len(self.zombies)
        return free if self.reserved_for is None else min(free, 0)
