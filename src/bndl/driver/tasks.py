"""A task as its user sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bndl.driver.options import Options
from bndl.errors import AttemptRecord, TaskCancelled, TaskError, TaskFailed, UserError
from bndl.execute.payloads import unpack
from bndl.schedule.instructions import TaskOutcome
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun
    from bndl.driver.jobs import Stage

__all__ = ["Task"]

_UNSET = object()


class Task:
    """A call of a function on a worker.

    ``Task(function, *args, **kwargs)`` makes one for ``job.stage(tasks=[...])``; ``job.stage(function, items)`` makes
    one for each item.

    Attributes:
        stage: the stage it is in, or None.
        index: which task of the stage, counted from 0.
        own: its options.
        worker: the name of the worker that made its result; empty if there is none.
    """

    __slots__ = (
        "_arguments",
        "_error",
        "_name",
        "_number",
        "_outcome",
        "_payload",
        "_records",
        "_run",
        "_seconds",
        "_value",
        "call",
        "index",
        "own",
        "stage",
        "worker",
    )

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        #: What is pickled for the worker: the item, or (function, args, kwargs).
        self.call: Any = (function, args, kwargs)
        self._begin()

    def _begin(self) -> None:
        self.own = _NO_OPTIONS
        self.stage: Stage | None = None
        self.index = 0
        self._name: str | None = None
        #: The run of its stage, while and after the job is executed.
        self._run: StageRun | None = None
        self._outcome: TaskOutcome | None = None
        #: Its pickled arguments, while it may have to be launched (again).
        self._arguments = b""
        #: Its pickled result, if it came to the driver and was not asked for yet.
        self._payload = b""
        self._value: Any = _UNSET
        self._error: TaskError | None = None
        self._records: list[AttemptRecord] | None = None
        #: Of the attempt that succeeded.
        self._number = 0
        self.worker = ""
        self._seconds = 0.0

    @classmethod
    def of_item(cls, item: Any) -> Task:
        """A task that applies its stage's function to ``item``."""
        task = cls.__new__(cls)
        task.call = item
        task._begin()  # noqa: SLF001 - its own class
        return task

    def options(self, *, attempts: int | None = None, name: str | None = None) -> Task:
        """A copy of the task, not in any stage, with these options.

        Args:
            attempts: how often it may be tried.
            name: its name, for reports and errors.

        Raises:
            InvalidOption: a value makes no sense.
        """
        task = Task.of_item(self.call)
        task.own = Options(self.own.attempts if attempts is None else attempts)
        task._name = name or self._name  # noqa: SLF001 - its own class
        return task

    def place(self, stage: Stage, index: int) -> None:
        """Put it into a stage. Called by ``Job.stage``."""
        self.stage = stage
        self.index = index

    @property
    def is_placed(self) -> bool:
        """Whether it is in a stage."""
        return self.stage is not None or self._run is not None

    @property
    def name(self) -> str:
        """Its name, such as ``parse[3]``."""
        if self._name:
            return self._name
        if self._run is not None:
            return f"{self._run.name}[{self.index}]"
        return f"{self.stage.name}[{self.index}]" if self.stage is not None else "task"

    @property
    def state(self) -> State:
        """Where it is in its life: ``blocked``, ``ready``, ``pending`` or ``done``."""
        if self._outcome is not None:
            return State.DONE
        return State.BLOCKED if self._run is None else self._run.state_of(self)

    @property
    def outcome(self) -> TaskOutcome | None:
        """``succeeded``, ``failed`` or ``cancelled``; None while it is not done."""
        return self._outcome

    @property
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """The attempts that are over, in order."""
        records = tuple(self._records or ())
        if self._outcome is TaskOutcome.SUCCEEDED:
            records += (AttemptRecord(self._number, self.worker, "succeeded", "", self._seconds),)
        return records

    @property
    def result(self) -> Any:
        """What its function returned.

        If it is kept on a worker for a later stage it is fetched, which is possible until the job's execution ends.

        Raises:
            TaskFailed: it failed; the cause is the user's exception.
            TaskCancelled: it was cancelled.
            UserError: it is not done, or its result is not kept any more.
        """
        if self._value is not _UNSET:
            return self._value
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            text = f"{self.name} is {self.state}, so it has no result yet; ctx.execute(job) yields tasks that are done."
            raise UserError(text)
        if not self._payload and self._run is not None:
            self._payload = self._run.fetch_kept(self)
        try:
            self._value = unpack(self._payload)
        except (Exception, SystemExit) as error:
            text = (
                f"{self.name} succeeded on {self.worker}, but its result cannot be unpickled here "
                f"({type(error).__name__}: {error}). Return plain data, or a class that is importable here."
            )
            self._error = TaskFailed(text, task=self.name, job=self._job_name, attempts=self.attempts)
            raise self._error from error
        self._payload = b""
        return self._value

    @property
    def seconds(self) -> float:
        """How long the attempt took that succeeded; 0.0 if none did."""
        return self._seconds

    @property
    def error(self) -> TaskError | None:
        """Why it failed or was cancelled; None if it did not."""
        return self._error

    @property
    def _job_name(self) -> str:
        return "" if self._run is None else self._run.job_name

    # For the driver

    def begin_run(self, run: StageRun, index: int) -> None:
        """Its job is being executed."""
        self._run = run
        self.index = index

    def set_arguments(self, arguments: bytes) -> None:
        """Its arguments, pickled; empty if workers fetch them from the driver's store."""
        self._arguments = arguments

    @property
    def arguments(self) -> bytes:
        """Its pickled arguments."""
        return self._arguments

    def drop_arguments(self) -> None:
        """It will never be launched again."""
        self._arguments = b""

    def note(self, record: AttemptRecord) -> None:
        """An attempt ended without success."""
        if self._records is None:
            self._records = []
        self._records.append(record)

    def succeed(self, payload: bytes, number: int, worker: str, seconds: float) -> None:
        """It is done; ``payload`` is its result, empty if that is on the worker."""
        self._payload = payload
        self._number = number
        self.worker = worker
        self._seconds = seconds
        self._outcome = TaskOutcome.SUCCEEDED

    def fail(self, cause: BaseException, detail: str) -> None:
        """It is done for: the last attempt failed."""
        attempts = self.attempts
        tried = "in its only attempt" if len(attempts) == 1 else f"in all of its {len(attempts)} attempts"
        text = f"{self.name} of job {self._job_name!r} failed {tried}: {detail}"
        self._error = TaskFailed(text, task=self.name, job=self._job_name, attempts=attempts)
        self._error.__cause__ = cause
        self._outcome = TaskOutcome.FAILED

    def cancel(self, reason: str) -> None:
        """It will not run to its end any more."""
        self._error = TaskCancelled(f"{self.name} of job {self._job_name!r} was cancelled: {reason}")
        self._outcome = TaskOutcome.CANCELLED

    def __repr__(self) -> str:
        return f"<Task: {self.name}, {self._outcome or self.state}>"


_NO_OPTIONS = Options()
