"""A job while it is executed, and what is known of it afterwards.

An ``Execution`` is prepared in the user's thread: everything is pickled, checked and numbered there, so that what is
wrong with it is raised where the user can see it. From then on the driver's loop owns it; users read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bndl.driver.report import JobReport, StageCounters
from bndl.driver.tasks import Task
from bndl.errors import BndlError, ForeignRef, InvalidJob, JobCycle, JobStarted, NotPicklable
from bndl.execute.payloads import Packer, unpack
from bndl.net.messages import Space
from bndl.schedule.events import JobSpec, StageSpec
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.driver.driver import Driver
    from bndl.driver.jobs import Job, Stage

__all__ = ["Execution", "Listener", "StageRun", "pack_function", "prepare"]


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

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return self.execution.name

    def state_of(self, task: Task) -> State:
        """Where a task is in its life."""
        return self.execution.driver.state_of((self.number << 32) + task.index)

    def fetch_kept(self, task: Task) -> bytes:
        """The pickled result of a task, from the worker that keeps it. Waits for it.

        Raises:
            UserError: it is not kept any more.
        """
        return self.execution.driver.fetch_kept(task.name, (self.number << 32) + task.index, task.worker)


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

    def add_stage(
        self, name: str, function: bytes, *, number: int, calls: bool = False, kept: bool = False, growing: bool = False
    ) -> StageRun:
        """Add a stage; before the execution is submitted."""
        stage = StageRun(self, number, name, function, calls=calls, kept=kept, growing=growing)
        self.stages.append(stage)
        return stage

    def cancel(self, reason: str) -> None:
        """Stop it. Whoever waits is told."""
        self.driver.cancel(self, reason)

    def release(self) -> None:
        """Nobody needs the results that are kept on workers any more."""
        self.driver.release(self)

    def report(self) -> JobReport:
        """What happened so far."""
        end = self.driver.now() if self.ended is None else self.ended
        rows = tuple(stage.counters.freeze(self.driver.pending_in(stage.number)) for stage in self.stages)
        state = self.outcome or "running"
        return JobReport(self.name, state, rows, end - self.started, tuple(self.notes))

    def __repr__(self) -> str:
        return f"<Execution of {self.name}>"


def prepare(driver: Driver, job: Job, listener: Listener) -> tuple[Execution, JobSpec]:
    """Pickle, check and number all of a job.

    Args:
        driver: who will execute it.
        job: what to execute. It belongs to the execution from then on.
        listener: hears of its progress.

    Raises:
        InvalidJob: the job has no stages.
        JobStarted: it was executed before.
        ForeignRef: a task needs a result of another job.
        JobCycle: a task needs a result that is made in its own stage or a later one.
        NotPicklable: a function or an argument cannot travel.
    """
    if job.execution is not None:
        text = f"job {job.name!r} is being executed or was; a job runs once, so make a new Job to run it again."
        raise JobStarted(text)
    if not job.stages:
        text = (
            f"job {job.name!r} has no stages, so there is nothing to execute; add one with job.stage(function, items)."
        )
        raise InvalidJob(text)
    execution = Execution(driver, job.name, listener)
    execution.concurrency = job.options.concurrency or 0
    for stage in job.stages:
        stage.number = driver.next_number()
    try:
        specs = _prepare_stages(driver, job, execution)
    except BaseException:
        driver.drop_stored(stage.number for stage in job.stages)
        raise
    for run in execution.stages:
        for task in run.tasks.values():
            task.begin_run(run, task.index)
    job.execution = execution
    return execution, JobSpec(execution.number, tuple(specs), job.options.concurrency or 0)


def _prepare_stages(driver: Driver, job: Job, execution: Execution) -> list[StageSpec]:
    packer = Packer()
    used: set[int] = set()
    inputs = [_prepare_tasks(driver, job, position, packer, used) for position in range(len(job.stages))]
    specs = []
    for position, stage in enumerate(job.stages):
        kept = position in used and position < len(job.stages) - 1
        what = f"the function of stage {stage.name!r}"
        function = pack_function(driver, packer, stage.function, what, stage.number)
        run = execution.add_stage(stage.name, function, number=stage.number, calls=stage.function is None, kept=kept)
        run.tasks = dict(enumerate(stage.tasks))
        run.counters.tasks = len(stage.tasks)
        specs.append(_make_spec(job, stage, inputs[position], kept=kept))
    return specs


def pack_function(driver: Driver, packer: Packer, function: Any, what: str, number: int) -> bytes:
    """Pickle a function and see that it can be unpickled. Empty if it is so large that workers have to fetch it."""
    if function is None:
        return b""
    payload = packer.pack(function, what)
    if packer.refs:
        text = (
            f"{what} refers to {packer.refs[0]!r}; pass it as an item or argument, where it is replaced by its value."
        )
        raise InvalidJob(text)
    try:
        unpack(payload)
    except (Exception, SystemExit) as error:
        text = (
            f"{what} was pickled but cannot be unpickled ({type(error).__name__}: {error}), so workers could not "
            f"either. Look at what {function!r} refers to."
        )
        raise NotPicklable(text, what=what, path=repr(function)) from error
    return driver.store_if_large(Space.FUNCTION, number, payload)


def _prepare_tasks(
    driver: Driver, job: Job, position: int, packer: Packer, used: set[int]
) -> Mapping[int, tuple[range, ...]]:
    """Pickle the arguments of a stage's tasks. Returns which results they need, by the number of the task."""
    stage = job.stages[position]
    first = stage.first_task
    positions = {id(each): index for index, each in enumerate(job.stages)}
    inputs: dict[int, tuple[range, ...]] = {}
    for task in stage.tasks:
        number = first + task.index
        payload = packer.pack(task.call, f"the argument of {task.name}")
        if packer.refs:
            for source in {id(ref.stage): ref.stage for ref in packer.refs}.values():
                used.add(_check_source(job, task, position, positions.get(id(source)), source.name))
            inputs[number] = tuple(ref.tasks for ref in packer.refs)
        task.set_arguments(driver.store_if_large(Space.ARGUMENTS, number, payload))
    return inputs


def _check_source(job: Job, task: Task, position: int, source: int | None, name: str) -> int:
    """Where the stage stands whose result a task needs."""
    if source is None:
        text = (
            f"{task.name} of job {job.name!r} needs a result of stage {name!r}, which is in another job. Put both "
            "stages into one job, or pass the value itself."
        )
        raise ForeignRef(text)
    if source >= position:
        text = (
            f"job {job.name!r} has a cycle: {task.name} needs a result of stage {name!r}, which is not done before "
            f"stage {job.stages[position].name!r} begins. Results can only be used in later stages."
        )
        raise JobCycle(text)
    return source


def _make_spec(job: Job, stage: Stage, inputs: Mapping[int, tuple[range, ...]], *, kept: bool) -> StageSpec:
    first = stage.first_task
    own = {first + task.index: task.own.attempts for task in stage.tasks if task.own.attempts is not None}
    return StageSpec(
        stage.number,
        range(first, first + len(stage.tasks)),
        inputs,
        attempts=stage.options.attempts or job.options.attempts or 1,
        task_attempts=own,
        concurrency=stage.options.concurrency or 0,
        kept=kept,
    )
