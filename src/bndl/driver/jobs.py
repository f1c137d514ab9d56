"""What users build: a job has stages, a stage has tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from bndl.checks import check_flag, is_a
from bndl.driver.naming import CANCELLED, check_name, check_reason, name_of
from bndl.driver.options import JobOptions, Options, make_options
from bndl.driver.tasks import Task
from bndl.errors import EmptyStage, InvalidJob, JobStarted
from bndl.execute.refs import Results
from bndl.listing import Listed
from bndl.printable import printable_line
from bndl.reprs import safe_repr, safe_str

if TYPE_CHECKING:
    from bndl.driver.execution import Execution
    from bndl.driver.report import JobReport

__all__ = ["Job", "Stage"]

#: One for all jobs, as a job with a lock in it could not be pickled.
_claiming = threading.Lock()


class Stage(metaclass=Listed):
    """Tasks that can run at the same time. Made by ``Job.stage``.

    Attributes:
        job: the job.
        name: its name, unique in the job.
        function: applied to each item; None if the tasks bring their own functions.
        tasks: its tasks, in order.
        options: its options.
        after: the stages that must be done before its tasks begin.
    """

    _listed = ("after", "function", "job", "name", "options", "results", "split", "tasks")

    def __init__(
        self,
        job: Job,
        name: str,
        function: Callable[[Any], Any] | None,
        tasks: list[Task],
        options: Options,
        after: tuple[Stage, ...],
    ) -> None:
        self.job = job
        self.name = name
        self.function = function
        self.tasks: Sequence[Task] = tasks
        self.options = options
        self.after = after
        self.number = 0

    @property
    def first_task(self) -> int:
        """The number of its first task with the driver; has a meaning once the job is being executed."""
        return self.number << 32

    @property
    def results(self) -> Results:
        """The results of its tasks, for use in the arguments of a later stage."""
        return Results(self, range(len(self.tasks)))

    def split(self, parts: int) -> list[Results]:
        """Its results divided into ``parts`` sequences, as even as possible, for a later stage of ``parts`` tasks.

        Raises:
            InvalidOption: ``parts`` is no whole number from 1 to 10,000,000.
        """
        return self.results.split(parts)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"<Stage: {printable_line(self.name)}, {len(self.tasks)} tasks>"


class Job(metaclass=Listed):
    """Stages of tasks. A stage begins when all stages before it are done, unless it says otherwise.

    Args:
        name: for reports and errors.
        options: ``attempts``, ``timeout``, ``priority``, ``retry``, ``locality``, ``max_failures`` and ``speculate``
            hold for its stages and tasks, unless those say otherwise; ``concurrency`` is how many of all of its tasks
            may be under way at the same time. See ``bndl.driver.options.Options``.

    Raises:
        InvalidOption: the name or an option makes no sense.
    """

    _listed = ("cancel", "name", "options", "report", "stage", "stages")

    def __init__(self, name: str = "job", **options: Unpack[JobOptions]) -> None:
        self.name = check_name("a job", name)
        self.options = make_options("bndl.Job", JobOptions, options)
        self.stages: list[Stage] = []
        #: Set when its execution begins.
        self.execution: Execution | None = None
        #: Why it was cancelled, if it was. It may be before its execution begins, and while that is prepared.
        self.cancelled: str | None = None
        self._is_claimed = False

    def stage(
        self,
        function: Callable[[Any], Any] | None = None,
        items: Iterable[Any] | None = None,
        *,
        tasks: Iterable[Task] | None = None,
        name: str | None = None,
        barrier: bool = True,
        after: Sequence[Stage] | None = None,
        **options: Unpack[JobOptions],
    ) -> Stage:
        """Add a stage: one task per item, or the tasks given.

        Args:
            function: is called with one item, on a worker.
            items: one for each task. A ``Ref`` or ``Results`` in it is replaced by what it stands for.
            tasks: instead of function and items.
            name: for reports and errors; the function's name if left out.
            barrier: whether its tasks wait for earlier stages to be done. Without, each task only waits for the results
                it refers to and for the tasks that it is ``after``.
            after: which stages the barrier is for; all earlier ones if left out.
            options: ``attempts``, ``timeout``, ``priority``, ``retry`` and ``locality`` hold for each of its tasks
                unless the task says otherwise; ``concurrency`` is how many of them may be under way at the same time,
                ``max_failures`` how many may fail before the job does, and ``speculate`` starts stragglers a second
                time on idle slots. See ``bndl.driver.options.Options``.

        Raises:
            EmptyStage: there is no item or task.
            InvalidJob: neither or both of items and tasks are given, a task is used twice, a name is, or a stage to be
                after is none of this job.
            InvalidOption: the name or an option makes no sense.
            JobStarted: the job's execution has begun.
        """
        self._check_not_started()
        barrier = check_flag("barrier", barrier, "whether its tasks wait for earlier stages")
        own = make_options("job.stage", JobOptions, options)
        given = check_name("a stage", name) if name is not None else ""
        name = self._free_name(given or name_of(function, "stage"), given=bool(given))
        listed = self._list_tasks(name, function, items, tasks)
        if not listed:
            text = (
                f"stage {name!r} of job {self.name!r} has no tasks: give it at least one item, or leave the stage out."
            )
            raise EmptyStage(text)
        before = self._list_before(name, after, barrier=barrier)
        stage = Stage(self, name, function if tasks is None else None, listed, own, before)
        for index, task in enumerate(listed):
            task.place(stage, index)
        self.stages.append(stage)
        return stage

    def cancel(self, reason: str = CANCELLED) -> None:
        """Stop the job: what waits is not started, what runs is told, and whoever waits gets ``TaskCancelled``.

        A job that is cancelled before it is executed never begins.

        Raises:
            InvalidOption: the reason is no text.
        """
        self.cancelled = reason = check_reason(reason)
        if self.execution is not None:
            self.execution.cancel(reason)

    def claim(self) -> bool:
        """Whether the caller is the one who may execute it. Called by ``prepare``."""
        with _claiming:
            is_free = not self._is_claimed
            self._is_claimed = True
        return is_free

    def unclaim(self) -> None:
        """It could not be prepared, so it may be corrected and executed. Called by ``prepare``."""
        self._is_claimed = False

    def report(self) -> JobReport:
        """What happened so far: per stage tasks, attempts, failures, times and bytes. ``print`` shows it.

        Raises:
            InvalidJob: the job's execution has not begun.
        """
        if self.execution is None:
            text = f"job {self.name!r} was not executed, so there is nothing to report; ctx.run(job) executes it."
            raise InvalidJob(text)
        return self.execution.report()

    def _check_not_started(self) -> None:
        if self.execution is not None:
            text = f"job {self.name!r} is being executed or was, so it cannot be changed; make a new Job."
            raise JobStarted(text)

    def _free_name(self, name: str, *, given: bool) -> str:
        taken = {stage.name for stage in self.stages}
        if name not in taken:
            return name
        if given:
            text = f"job {self.name!r} has a stage {name!r} already; give the new one another name."
            raise InvalidJob(text)
        number = 2
        while f"{name}-{number}" in taken:
            number += 1
        return f"{name}-{number}"

    def _list_before(self, name: str, after: Sequence[Stage] | None, *, barrier: bool) -> tuple[Stage, ...]:
        """The stages that must be done before a new one begins."""
        if after is None:
            return tuple(self.stages) if barrier else ()
        if not barrier:
            text = f"stage {name!r} got after= and barrier=False; after= says what the barrier is for, so give one."
            raise InvalidJob(text)
        before = (after,) if is_a(after, Stage) else tuple(self._list(name, "after", "stages", after))
        for each in before:
            if not any(each is stage for stage in self.stages):
                text = (
                    f"after must be stages of job {self.name!r}, got {safe_repr(each)} for stage {name!r}: "
                    "give stages that this job made earlier."
                )
                raise InvalidJob(text)
        return before

    def _list_tasks(
        self,
        name: str,
        function: Callable[[Any], Any] | None,
        items: Iterable[Any] | None,
        tasks: Iterable[Task] | None,
    ) -> list[Task]:
        if tasks is not None:
            if function is not None or items is not None:
                text = f"stage {name!r} got items and tasks; give it a function and items, or tasks=[...], not both."
                raise InvalidJob(text)
            listed: list[Task] = list(self._list(name, "tasks", "tasks", tasks))
            for task in listed:
                if not is_a(task, Task):
                    text = f"stage {name!r} got {safe_repr(task)} in tasks=; wrap calls as bndl.Task(function, *args)."
                    raise InvalidJob(text)
            if len({id(task) for task in listed}) < len(listed) or any(task.is_placed for task in listed):
                text = f"stage {name!r} got a task that is in a stage already; task.options() makes a copy of it."
                raise InvalidJob(text)
            return listed
        if not callable(function) or items is None:
            got = f"{safe_repr(function)} and {safe_repr(items)}"
            raise InvalidJob(f"stage {name!r} needs a function and items, or tasks=[...]; it got {got}.")
        return [Task.of_item(item) for item in self._list(name, "items", "items", items)]

    def _list(self, name: str, option: str, kind: str, values: Iterable[Any]) -> Iterator[Any]:
        """What an iterable gives; what it raises meanwhile is the user's own.

        Raises:
            InvalidJob: it cannot be iterated over.
        """
        try:
            return iter(values)
        except Exception as error:
            text = (
                f"{option} must be iterable, got {safe_repr(values)} for stage {name!r} ({safe_str(error)}): "
                f"give {kind}, in a list for example."
            )
            raise InvalidJob(text) from error

    def __repr__(self) -> str:
        return f"<Job: {printable_line(self.name)}, {len(self.stages)} stages>"
