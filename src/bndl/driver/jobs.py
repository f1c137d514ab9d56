"""What users build: a job has stages, a stage has tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bndl.driver.options import Options
from bndl.driver.tasks import Task
from bndl.errors import EmptyStage, InvalidJob, InvalidOption, JobStarted
from bndl.execute.refs import Results

if TYPE_CHECKING:
    from bndl.driver.execution import Execution
    from bndl.driver.report import JobReport

__all__ = ["Job", "Stage"]


class Stage:
    """Tasks that can run at the same time. Made by ``Job.stage``.

    Attributes:
        job: the job.
        name: its name, unique in the job.
        function: applied to each item; None if the tasks bring their own functions.
        tasks: its tasks, in order.
        options: its options.
    """

    def __init__(
        self, job: Job, name: str, function: Callable[[Any], Any] | None, tasks: list[Task], options: Options
    ) -> None:
        self.job = job
        self.name = name
        self.function = function
        self.tasks: Sequence[Task] = tasks
        self.options = options
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
            InvalidOption: ``parts`` is less than 1.
        """
        if parts < 1:
            text = f"the results of stage {self.name!r} cannot be split into {parts} parts; ask for at least 1"
            raise InvalidOption(text)
        return self.results.split(parts)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"<Stage: {self.name}, {len(self.tasks)} tasks>"


class Job:
    """Stages of tasks, executed one after the other with a barrier in between.

    Args:
        name: for reports and errors.
        attempts: how often each task may be tried, unless its stage or the task says otherwise.
        concurrency: how many tasks of the job may be under way at the same time.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(self, name: str = "job", *, attempts: int | None = None, concurrency: int | None = None) -> None:
        self.name = name
        self.options = Options(attempts, concurrency)
        self.stages: list[Stage] = []
        #: Set when its execution begins.
        self.execution: Execution | None = None

    def stage(
        self,
        function: Callable[[Any], Any] | None = None,
        items: Iterable[Any] | None = None,
        *,
        tasks: Iterable[Task] | None = None,
        name: str | None = None,
        attempts: int | None = None,
        concurrency: int | None = None,
    ) -> Stage:
        """Add a stage: one task per item, or the tasks given.

        Args:
            function: is called with one item, on a worker.
            items: one for each task. A ``Ref`` or ``Results`` in it is replaced by what it stands for.
            tasks: instead of function and items.
            name: for reports and errors; the function's name if left out.
            attempts: how often each task may be tried, unless the task says otherwise.
            concurrency: how many tasks of the stage may be under way at the same time.

        Raises:
            EmptyStage: there is no item or task.
            InvalidJob: neither or both of items and tasks are given, a task is used twice, or a name is.
            InvalidOption: an option makes no sense.
            JobStarted: the job's execution has begun.
        """
        self._check_not_started()
        options = Options(attempts, concurrency)
        name = self._free_name(name or getattr(function, "__name__", None) or "stage", given=name is not None)
        listed = self._list_tasks(name, function, items, tasks)
        if not listed:
            text = (
                f"stage {name!r} of job {self.name!r} has no tasks: give it at least one item, or leave the stage out."
            )
            raise EmptyStage(text)
        stage = Stage(self, name, function if tasks is None else None, listed, options)
        for index, task in enumerate(listed):
            task.place(stage, index)
        self.stages.append(stage)
        return stage

    def cancel(self, reason: str = "cancelled by the user") -> None:
        """Stop the job: what waits is not started, what runs is told, and whoever waits gets ``TaskCancelled``."""
        if self.execution is not None:
            self.execution.cancel(reason)

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
            listed = list(tasks)
            for task in listed:
                if not isinstance(task, Task):
                    text = f"stage {name!r} got {task!r} in tasks=; wrap calls as bndl.Task(function, *args)."
                    raise InvalidJob(text)
            if len({id(task) for task in listed}) < len(listed) or any(task.is_placed for task in listed):
                text = f"stage {name!r} got a task that is in a stage already; task.options() makes a copy of it."
                raise InvalidJob(text)
            return listed
        if not callable(function) or items is None:
            text = f"stage {name!r} needs a function and items, or tasks=[...]; it got {function!r} and {items!r}."
            raise InvalidJob(text)
        return [Task.of_item(item) for item in items]

    def __repr__(self) -> str:
        return f"<Job: {self.name}, {len(self.stages)} stages>"
