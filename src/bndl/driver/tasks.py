"""A task as its user sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, Unpack

from bndl.checks import check_callable, is_a
from bndl.driver.history import Transition
from bndl.driver.naming import CANCELLED, check_name, check_reason
from bndl.driver.options import NO_OPTIONS, TaskOptions, make_options, merge_options
from bndl.errors import AttemptRecord, InvalidJob, TaskCancelled, TaskError, TaskFailed, UserError
from bndl.execute.failures import open_cause
from bndl.execute.payloads import unpack
from bndl.listing import Listed
from bndl.printable import printable_line
from bndl.reprs import safe_repr, safe_str, type_name
from bndl.schedule.instructions import Locality, TaskOutcome
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun
    from bndl.driver.jobs import Stage

__all__ = ["Cause", "Task"]

_UNSET = object()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a task failed.

    Attributes:
        error: what becomes the cause of its error.
        detail: the same as text.
        call: what was called, in short; empty if that is not known.
        kind: the class of its error.
    """

    error: BaseException
    detail: str
    call: str = ""
    kind: type[TaskFailed] = TaskFailed


class Task(metaclass=Listed):
    """A call of a function on a worker.

    ``Task(function, *args, **kwargs)`` makes one for ``job.stage(tasks=[...])``; ``job.stage(function, items)`` makes
    one for each item.

    Attributes:
        stage: the stage it is in, or None.
        index: which task of the stage, counted from 0.
        own: its options.
        worker: the name of the worker that made its result; empty if there is none.
        predecessors: the tasks that it is after.
        launched_at: when its last attempt was launched, on the driver's clock.
    """

    _listed = (
        "after",
        "attempts",
        "cancel",
        "error",
        "history",
        "index",
        "is_cancelling",
        "is_tolerated",
        "locality_achieved",
        "name",
        "options",
        "outcome",
        "predecessors",
        "result",
        "seconds",
        "stage",
        "state",
        "worker",
    )
    __slots__ = (
        "_arguments",
        "_error",
        "_locality",
        "_name",
        "_number",
        "_outcome",
        "_payload",
        "_records",
        "_run",
        "_seconds",
        "_tolerated",
        "_value",
        "call",
        "index",
        "launched_at",
        "own",
        "predecessors",
        "stage",
        "worker",
    )

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        check_callable("function", function, "bndl.Task(function, *args)")
        #: What is pickled for the worker: the item, or (function, args, kwargs).
        self.call: Any = (function, args, kwargs)
        self._begin()

    def _begin(self) -> None:
        self.own = NO_OPTIONS
        self.predecessors: tuple[Task, ...] = ()
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
        self._locality = Locality.ANY
        self.launched_at = 0.0
        #: Whether its job goes on although it did not succeed.
        self._tolerated = False

    @classmethod
    def of_item(cls, item: Any) -> Task:
        """A task that applies its stage's function to ``item``."""
        task = cls.__new__(cls)
        task.call = item
        task._begin()  # noqa: SLF001 - its own class
        return task

    def options(self, *, name: str | None = None, **options: Unpack[TaskOptions]) -> Task:
        """A copy of the task, not in any stage, with these options.

        Args:
            name: its name, for reports and errors.
            options: ``attempts``, ``timeout``, ``priority``, ``retry`` and ``locality``; those that are not given stay
                as they are. See ``bndl.driver.options.Options``.

        Raises:
            InvalidOption: a value makes no sense.
        """
        task = Task.of_item(self.call)
        kept = {key: value for key in TaskOptions.__annotations__ if (value := getattr(self.own, key)) is not None}
        merged = merge_options(kept, options)
        if merged:
            task.own = make_options("task.options", TaskOptions, merged)
        task.predecessors = self.predecessors
        task._name = check_name("a task", name) if name is not None else self._name  # noqa: SLF001 - its own class
        return task

    def after(self, *others: Task) -> Self:
        """Let it begin only when other tasks of its job have succeeded; it does not get their results.

        Returns:
            The task itself.

        Raises:
            InvalidJob: one of them is no task, or the execution of this one has begun.
        """
        for other in others:
            if not is_a(other, Task):
                text = f"after() takes tasks, got {safe_repr(other)} for {self.name}: give tasks of the same job."
                raise InvalidJob(text)
        if self._run is not None:
            text = f"{self.name} is being executed or was, so it cannot wait for more; make a new job."
            raise InvalidJob(text)
        self.predecessors = (*self.predecessors, *others)
        return self

    def cancel(self, reason: str = CANCELLED) -> bool:
        """Cancel this task; its job goes on without it.

        What waits is not started, and what runs is told to stop, then interrupted, and in the end stopped with its
        worker process. Tasks that take its result as a ``Ref``, or are ``after`` it, do not succeed either; a list of
        results is given without it.

        Returns:
            Whether it was not done yet, so that it is cancelled, unless it is done before that is known.

        Raises:
            InvalidOption: the reason is no text.
        """
        reason = check_reason(reason)
        if self._outcome is not None or self._run is None:
            return False
        self._run.cancel(self, reason)
        return True

    def place(self, stage: Stage, index: int) -> None:
        """Put it into a stage. Called by ``Job.stage``."""
        self.stage = stage
        self.index = index

    @property
    def is_placed(self) -> bool:
        """Whether it is in a stage."""
        return self.stage is not None or self._run is not None

    @property
    def has_options(self) -> bool:
        """Whether anything differs from what holds for its stage."""
        return self.own is not NO_OPTIONS

    @property
    def own_name(self) -> str:
        """The name that its options gave it; empty if they gave none."""
        return self._name or ""

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
            raise open_cause(self._error)
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
                f"({type_name(error)}: {safe_str(error)}). Return plain data, or a class that is importable here."
            )
            self._error = TaskFailed(text, task=self.name, job=self._job_name, attempts=self.attempts)
            raise self._error from error
        self._payload = b""
        return self._value

    def take_result(self) -> Any:
        """What its function returned, which is not kept here any more. Raises like ``result``."""
        value = self.result
        self._value = _UNSET
        return value

    @property
    def payload_bytes(self) -> int:
        """The size of its pickled result, while that is here and was not asked for."""
        return len(self._payload)

    @property
    def seconds(self) -> float:
        """How long the attempt took that succeeded; 0.0 if none did."""
        return self._seconds

    @property
    def error(self) -> TaskError | None:
        """Why it failed or was cancelled; None if it did not."""
        return None if self._error is None else open_cause(self._error)

    @property
    def _job_name(self) -> str:
        return "" if self._run is None else self._run.job_name

    @property
    def number(self) -> int | None:
        """Its number with the driver, once its job is being executed."""
        return None if self._run is None else (self._run.number << 32) + self.index

    @property
    def history(self) -> tuple[Transition, ...]:
        """What happened to it: when, from which state to which, why, in which attempt and on which worker.

        Of a job with very many tasks only the last transitions are known.
        """
        return () if self._run is None else self._run.history_of(self)

    @property
    def locality_achieved(self) -> Locality:
        """Where its last attempt was launched: ``best``, ``other`` or, if it had no preference, ``any``."""
        return self._locality

    @property
    def is_cancelling(self) -> bool:
        """Whether it was cancelled while it ran, and the worker has not confirmed yet that it has stopped."""
        return self._run is not None and self._run.is_cancelling(self)

    @property
    def is_tolerated(self) -> bool:
        """Whether it did not succeed and its job goes on nevertheless."""
        return self._tolerated

    # For the driver

    def launched(self, locality: Locality) -> None:
        """An attempt of it was launched."""
        self._locality = locality

    def tolerate(self) -> None:
        """Its job goes on although it did not succeed."""
        self._tolerated = True

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

    @property
    def failure(self) -> TaskError | None:
        """Its error, as ``error``, but the user's exception in it may not have been unpickled."""
        return self._error

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

    def fail(self, why: Cause) -> None:
        """It is done for: the last attempt failed."""
        attempts = self.attempts
        few = {0: "without an attempt", 1: "in its only attempt"}
        tried = few.get(len(attempts), f"in all of its {len(attempts)} attempts")
        call = f", for {why.call}" if why.call and attempts else ""
        text = f"{self.name} of job {self._job_name!r} failed {tried}{call}: {why.detail}"
        self._error = why.kind(text, task=self.name, job=self._job_name, attempts=attempts)
        self._error.__cause__ = why.error
        self._outcome = TaskOutcome.FAILED

    def end_cancelled(self, reason: str) -> None:
        """It will not run to its end any more."""
        self._error = TaskCancelled(f"{self.name} of job {self._job_name!r} was cancelled: {reason}")
        self._outcome = TaskOutcome.CANCELLED

    def __repr__(self) -> str:
        return f"<Task: {printable_line(self.name)}, {self._outcome or self.state}>"
