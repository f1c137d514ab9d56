"""What happened in a job: counted while it runs, frozen when asked for, shown as a table."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bndl.schedule.instructions import Locality

__all__ = ["JobReport", "StageCounters", "StageReport", "format_bytes", "format_seconds"]

_WIDTH = 110


def format_bytes(count: float) -> str:
    """A number of bytes for people, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:  # noqa: PLR2004 - the step between the units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """A time for people, such as ``12.3 ms``."""
    if seconds < 1e-3:  # noqa: PLR2004 - the steps between the units
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s"


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


@dataclass(frozen=True, slots=True)
class JobReport:
    """What happened in a job so far. ``print(report)`` shows it; rich renders it in colour.

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

    def __rich__(self) -> RenderableType:
        title = f"job {self.name}: {self.state} in {format_seconds(self.wall_seconds)}"
        # Text, because in a plain string what looks like markup would be taken for it.
        table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="")
        table.add_column("stage")
        for heading in ("tasks", "attempts", "failed", "lost", "task time", "clock", "sent", "fetched", "results"):
            table.add_column(heading, justify="right")
        for stage in self.stages:
            table.add_row(
                Text(stage.name),
                f"{stage.tasks:,}",
                f"{stage.attempts:,}",
                f"{stage.failed:,}",
                f"{stage.lost:,}",
                format_seconds(stage.task_seconds),
                format_seconds(stage.wall_seconds),
                format_bytes(stage.sent_bytes),
                format_bytes(stage.fetched_bytes),
                format_bytes(stage.result_bytes),
            )
        return Group(table, *(Text(line) for line in self._remarks()))

    def _remarks(self) -> list[str]:
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

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, record=True)
        console.print(self)
        return console.export_text().rstrip()
