"""How far stages are: as bars in so many columns and lines, and in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from bndl.printable import printable_line

__all__ = ["Figures", "describe_count", "describe_pace"]

#: How many columns a bar has, at most and at least.
_BAR = 24
_NARROWEST_BAR = 6
#: How many columns a name has at least, unless the terminal is narrower than that.
_NARROWEST_NAME = 8


class Figures:
    """How far an execution is.

    Args:
        update: sets how far it is.
    """

    def __init__(self, update: Callable[[Figures], None]) -> None:
        self._update = update
        self._progress = Progress(auto_refresh=False)
        self._tasks: dict[str, Any] = {}

    def set(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """How far a stage is."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(printable_line(name), total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def read(self) -> list[Task]:
        """The stages as they are now."""
        self._update(self)
        return self._progress.tasks

    def lay_out(self, width: int, most: int) -> RenderableType | None:
        """Bars for the terminal: what is under way rather than what is over; None if nothing has begun."""
        tasks = _choose(self.read(), most)
        if not tasks:
            return None
        self._progress.columns = _fit(tasks, width)
        return self._progress.make_tasks_table(tasks)


def _choose(tasks: Sequence[Task], most: int) -> list[Task]:
    """So many at most, in order: those under way that began first, and else those that ended last."""
    under_way = [task for task in tasks if not _is_over(task)][:most]
    over = [task for task in tasks if _is_over(task)]
    room = most - len(under_way)
    chosen = {task.id for task in [*under_way, *(over[-room:] if room > 0 else ())]}
    return [task for task in tasks if task.id in chosen]


def _is_over(task: Task) -> bool:
    """Whether all is done. ``task.finished`` stays true if a stage has to make something again."""
    return task.total is not None and task.completed >= task.total


def _fit(tasks: Sequence[Task], width: int) -> tuple[ProgressColumn, ...]:
    """Columns for so wide a terminal: the numbers first, then the name, then the bar, then the times."""
    numbers = [MofNCompleteColumn(table_column=Column(no_wrap=True)), _Pace(table_column=Column(no_wrap=True))]
    spinner = SpinnerColumn()
    longest = max(cell_len(task.description) for task in tasks)
    room = width - _measure(spinner, tasks) - sum(_measure(column, tasks) for column in numbers)
    if room <= _NARROWEST_NAME < width:  # the times do not fit
        room += _measure(numbers.pop(), tasks)
    bar = min(_BAR, max(room - longest - 2, _NARROWEST_BAR))
    is_bar = room - bar - 2 >= min(longest, _NARROWEST_NAME)
    name_width = max(room - 1 - (bar + 1 if is_bar else 0), 1)
    # Nothing in a user's name is markup.
    column = Column(no_wrap=True, overflow="ellipsis", max_width=name_width)
    name = TextColumn("{task.description}", markup=False, table_column=column)
    return (spinner, name, *([BarColumn(bar_width=bar)] if is_bar else []), *numbers)


def _measure(column: ProgressColumn, tasks: Sequence[Task]) -> int:
    """How many columns of the terminal it takes, with the one behind it."""
    console = Console(width=1000, force_jupyter=False)
    return 1 + max(console.measure(column(task)).maximum for task in tasks)


class _Pace(ProgressColumn):
    """The time that has passed, how many are done in a second, the time that is left, and what went wrong."""

    def render(self, task: Task) -> Text:
        """In words."""
        note: str = task.fields["note"]
        text = Text(describe_pace(task).removesuffix(note), style="progress.elapsed")
        return text.append(note, style="none")


def describe_pace(task: Task) -> str:
    """How quickly it goes, how long it still takes, if that can be told, and what went wrong."""
    passed = task.finished_time if _is_over(task) else task.elapsed
    parts = [str(timedelta(seconds=int(passed or 0)))]
    if task.speed:
        parts.append(f"{task.speed:,.0f}/s" if task.speed >= 10 else f"{task.speed:.2g}/s")  # noqa: PLR2004 - two digits
    if not _is_over(task) and task.time_remaining is not None:
        parts.append(f"{timedelta(seconds=int(task.time_remaining))} left")
    if task.fields["note"]:
        parts.append(task.fields["note"])
    return ", ".join(parts)


def describe_count(task: Task) -> str:
    """How many are done, of how many if that is known."""
    return f"{task.completed:,.0f} of {task.total:,.0f}" if task.total is not None else f"{task.completed:,.0f}"
