"""What happened in a job: counted while it runs, frozen when asked for, shown as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType

from bndl.driver import report_view
from bndl.driver.report_view import format_bytes, format_seconds
from bndl.schedule.instructions import Locality

__all__ = ["JobReport", "StageCounters", "StageReport", "format_bytes", "format_seconds"]


@dataclass(frozen=True, slots=True)
class StageReport:
    """What happened in a stage so far.

    Attributes:
        name: the stage's name.
        tasks: how many tasks it has.
        done: how many of them have succeeded or failed.
        pending: how many have an attempt under way that is waited for.
        attempts: how many attempts were launched.
        failed: how many attempts the user's code failed.
        lost: how many attempts were lost with their worker.
        returned: how many attempts were taken back before they began.
        inputs_missing: how many attempts did not find their inputs.
        made_again: how many results were made again because they were lost.
        cancelled: how many tasks were cancelled.
        twins: how many attempts were second ones, beside a straggler.
        best: how many attempts were launched where their task would have it.
        other: how many attempts were launched elsewhere, after a wait.
        task_seconds: what the attempts took, added up.
        wall_seconds: from its first launch until its last task was done.
        sent_bytes: arguments, from the driver.
        fetched_bytes: inputs, from other nodes.
        result_bytes: results, whether they were kept or came to the driver.
        by_worker: how many attempts succeeded on each worker.
    """

    name: str
    tasks: int
    done: int
    pending: int
    attempts: int
    failed: int
    lost: int
    returned: int
    inputs_missing: int
    made_again: int
    cancelled: int
    twins: int
    best: int
    other: int
    task_seconds: float
    wall_seconds: float
    sent_bytes: int
    fetched_bytes: int
    result_bytes: int
    by_worker: dict[str, int]


class StageCounters:
    """The same while it is counted. Only the driver's loop writes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks = 0
        self.done = 0
        self.attempts = 0
        self.failed = 0
        self.lost = 0
        self.returned = 0
        self.inputs_missing = 0
        self.made_again = 0
        self.cancelled = 0
        self.twins = 0
        #: How many attempts were launched at which kind of place.
        self.places = {Locality.BEST: 0, Locality.OTHER: 0}
        #: How many tasks have failed for good.
        self.failed_tasks = 0
        self.task_seconds = 0.0
        self.first_launch: float | None = None
        self.last_done = 0.0
        self.sent_bytes = 0
        self.fetched_bytes = 0
        self.result_bytes = 0
        self.by_worker: dict[str, int] = {}

    def freeze(self, pending: int) -> StageReport:
        """The report as of now, with ``pending`` tasks under way."""
        wall = 0.0 if self.first_launch is None else max(self.last_done - self.first_launch, 0.0)
        return StageReport(
            self.name,
            self.tasks,
            self.done,
            pending,
            self.attempts,
            self.failed,
            self.lost,
            self.returned,
            self.inputs_missing,
            self.made_again,
            self.cancelled,
            self.twins,
            self.places[Locality.BEST],
            self.places[Locality.OTHER],
            self.task_seconds,
            wall,
            self.sent_bytes,
            self.fetched_bytes,
            self.result_bytes,
            dict(self.by_worker),
        )


@dataclass(frozen=True, slots=True, repr=False)
class JobReport:
    """What happened in a job so far. A prompt, a cell of a notebook and ``print(report)`` show it as a table.

    Attributes:
        name: the job's name.
        state: ``running``, ``succeeded``, ``failed``, ``cancelling`` or ``cancelled``; it is ``cancelling`` until the
            workers have confirmed that nothing of it runs any more.
        stages: in order.
        wall_seconds: from its start until its end, or until now.
        notes: what went wrong on the way, in order.
    """

    name: str
    state: str
    stages: tuple[StageReport, ...]
    wall_seconds: float
    notes: tuple[str, ...] = ()

    @property
    def task_seconds(self) -> float:
        """What all attempts took, added up."""
        return sum(stage.task_seconds for stage in self.stages)

    def remarks(self) -> list[str]:
        """What is said beneath the table."""
        remarks = list(self.notes)
        for stage in self.stages:
            if stage.made_again:
                remarks.append(f"{stage.name}: {stage.made_again:,} results were lost and made again")
            if stage.returned:
                remarks.append(f"{stage.name}: {stage.returned:,} attempts were taken back and placed elsewhere")
            if stage.cancelled:
                remarks.append(f"{stage.name}: {stage.cancelled:,} tasks were cancelled")
            if stage.twins:
                remarks.append(f"{stage.name}: {stage.twins:,} stragglers were started a second time")
            if placed := stage.best + stage.other:
                remarks.append(
                    f"{stage.name}: locality achieved by {stage.best:,} of {placed:,} attempts that preferred a worker"
                )
            if stage.inputs_missing:
                remarks.append(f"{stage.name}: {stage.inputs_missing:,} attempts did not find their inputs")
        return remarks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield report_view.to_renderable(self, console, options)

    def __repr__(self) -> str:
        return report_view.to_text(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return report_view.to_html(self)
