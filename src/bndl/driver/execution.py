"""A job while it is executed, and what is known of it afterwards.

An ``Execution`` is prepared in the user's thread (``preparing``). From then on the driver's loop owns it; users read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bndl.driver.history import Transition, tell
from bndl.driver.options import Effective, Locality
from bndl.driver.report import JobReport, StageCounters
from bndl.driver.tasks import Task
from bndl.errors import BndlError
from bndl.execute.failures import is_one_of
from bndl.execute.payloads import Pinned
from bndl.net.messages import Result
from bndl.schedule.story import Story
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.driver.driver import Driver

__all__ = ["Execution", "Listener", "StageRun"]


class Listener(Protocol):
    """Who wants to know how an execution goes. Called on the driver's loop, so it must not wait for anything."""

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done."""

    def execution_ended(self, error: BndlError | None) -> None:
        """All is done, or ``error`` says why not."""


class StageRun:
    """A stage while it is executed.

    Attributes:
        number: with the driver; its tasks have the numbers ``number << 32`` and following.
        name: its name.
        function: pickled; empty if workers fetch it from the driver's store.
        calls: whether each task brings its own function.
        kept: whether its results stay on the workers.
        growing: whether tasks are added to it and forgotten when they are done.
        tasks: by index.
        defined_on: the workers that were told of it, as keys.
        counters: for the report.
        options: what holds for its tasks.
        task_options: the same for single tasks that differ, by index.
        locality: says where its tasks are to run, if anything does.
        task_localities: the same for single tasks that differ, by index.
        max_failures: how many of its tasks may fail before the job does.
        function_name: for errors; empty if it has none, or each task brings its own.
    """

    def __init__(
        self, execution: Execution, number: int, name: str, function: bytes, *, calls: bool, kept: bool, growing: bool
    ) -> None:
        self.execution = execution
        self.number = number
        self.name = name
        self.function = function
        self.calls = calls
        self.kept = kept
        self.growing = growing
        self.tasks: dict[int, Task] = {}
        self.defined_on: dict[str, None] = {}
        self.counters = StageCounters(name)
        self.options = Effective.of()
        self.task_options: dict[int, Effective] = {}
        self.locality: Locality | None = None
        self.task_localities: dict[int, Locality] = {}
        self.max_failures = 0
        self.function_name = ""

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return self.execution.name

    def options_of(self, index: int) -> Effective:
        """What holds for one of its tasks."""
        return self.task_options.get(index, self.options) if self.task_options else self.options

    def is_final(self, failed: Result) -> bool:
        """Whether an attempt failed with an error after which its task is not to be tried again."""
        retried = self.options_of(failed.task & 0xFFFFFFFF).retried
        return retried is not None and not is_one_of(failed.payload, retried)

    def state_of(self, task: Task) -> State:
        """Where a task is in its life."""
        return self.execution.driver.state_of((self.number << 32) + task.index)

    def history_of(self, task: Task) -> tuple[Transition, ...]:
        """What happened to a task."""
        return tell(self.execution.story.of((self.number << 32) + task.index), self.execution.started)

    def cancel(self, task: Task, reason: str) -> None:
        """Have a task cancelled."""
        self.execution.driver.cancel_tasks([(self.number << 32) + task.index], reason)

    def is_cancelling(self, task: Task) -> bool:
        """Whether an abandoned attempt of a task has not been confirmed to be over."""
        number = (self.number << 32) + task.index
        return any(each[0] == number for each in list(self.execution.unconfirmed))

    def fetch_kept(self, task: Task) -> bytes:
        """The pickled result of a task, from the worker that keeps it. Waits for it.

        Raises:
            UserError: it is not kept any more.
        """
        return self.execution.driver.answers.fetch_kept(task.name, (self.number << 32) + task.index, task.worker)


class Execution:
    """A job while it is executed.

    Attributes:
        number: with the driver.
        name: the job's name.
        stages: in order.
        independent: whether a task that fails leaves the others alone.
        listener: hears of its progress.
        started: when it began, in seconds on the monotonic clock.
        ended: when it ended, or None.
        error: why it did not succeed, or None.
        released: whether nobody needs the results that are kept on workers any more.
        story: what happened to its tasks.
        unconfirmed: abandoned attempts, as (task, number), that may still be running, as keys.
        cancelled: why it was cancelled, if it was; also before it is submitted.
    """

    def __init__(self, driver: Driver, name: str, listener: Listener, *, independent: bool = False) -> None:
        self.driver = driver
        self.number = driver.next_number()
        self.name = name
        self.listener = listener
        self.independent = independent
        self.stages: list[StageRun] = []
        self.concurrency = 0
        self.started = driver.now()
        self.ended: float | None = None
        self.error: BndlError | None = None
        self.outcome = ""
        #: The error of the first task that failed.
        self.failure: BndlError | None = None
        self.released = False
        self.over = threading.Event()
        #: Why workers' attempts were lost, in order, for the report.
        self.notes: list[str] = []
        self.story = Story()
        self.unconfirmed: dict[tuple[int, int], None] = {}
        self.cancelled: str | None = None
        #: What its payloads refer to, to be kept alive as long as they may be used.
        self.pinned: dict[int, Pinned] = {}

    def add_stage(
        self, name: str, function: bytes, *, number: int, calls: bool = False, kept: bool = False, growing: bool = False
    ) -> StageRun:
        """Add a stage; before the execution is submitted."""
        stage = StageRun(self, number, name, function, calls=calls, kept=kept, growing=growing)
        self.stages.append(stage)
        return stage

    def cancel(self, reason: str) -> None:
        """Stop it. Whoever waits is told."""
        self.cancelled = reason
        self.driver.cancel(self, reason)

    def release(self) -> None:
        """Nobody needs the results that are kept on workers any more."""
        self.driver.release(self)

    def report(self) -> JobReport:
        """What happened so far."""
        end = self.driver.now() if self.ended is None else self.ended
        rows = tuple(stage.counters.freeze(self.driver.pending_in(stage.number)) for stage in self.stages)
        state = self.outcome or "running"
        if state == "cancelled" and self.unconfirmed:
            state = "cancelling"
        return JobReport(self.name, state, rows, end - self.started, tuple(self.notes))

    def __repr__(self) -> str:
        return f"<Execution of {self.name}>"
