"""Reports of jobs as tables and lists in a terminal, as plain text, and as HTML in a notebook."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bndl.printable import printable, printable_line

if TYPE_CHECKING:
    from bndl.driver.report import JobReport, StageReport

__all__ = ["format_bytes", "format_seconds", "terminal_width", "to_html", "to_renderable", "to_text"]

#: How wide plain text is where there is no terminal.
_WIDTH = 110
#: In fewer columns there is a list: the figures alone take nearly all of them.
_NARROWEST_TABLE = 80
#: How many columns the names of stages have at least in a table.
_NARROWEST_NAME = 8
#: What stands before the figures in a list.
_INDENT = "  "
#: A width to measure in.
_ENDLESS = 10_000


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


_COLUMNS: Mapping[str, Callable[[StageReport], str]] = {
    "tasks": lambda stage: f"{stage.tasks:,}",
    "attempts": lambda stage: f"{stage.attempts:,}",
    "failed": lambda stage: f"{stage.failed:,}",
    "lost": lambda stage: f"{stage.lost:,}",
    "task time": lambda stage: format_seconds(stage.task_seconds),
    "clock": lambda stage: format_seconds(stage.wall_seconds),
    "sent": lambda stage: format_bytes(stage.sent_bytes),
    "fetched": lambda stage: format_bytes(stage.fetched_bytes),
    "results": lambda stage: format_bytes(stage.result_bytes),
}


def terminal_width() -> int:
    """How many columns the terminal has; of plain text where there is none."""
    return shutil.get_terminal_size((_WIDTH, 24)).columns


def to_renderable(report: JobReport, console: Console, options: ConsoleOptions) -> RenderableType:
    """A table for rich, without lines between the columns where it is too wide with them, else a list."""
    # Text, because in a plain string what looks like markup would be taken for it.
    remarks = [Text(printable(line)) for line in report.remarks()]
    if options.max_width >= _NARROWEST_TABLE:
        for table in (_make_table(report), _make_table(report, box=None, padding=(0, 1, 0, 0), pad_edge=False)):
            if console.measure(table, options=options.update(max_width=_ENDLESS)).minimum <= options.max_width:
                return Group(table, *remarks)
    return Group(*_list(report, options.max_width), *remarks)


def _title(report: JobReport) -> str:
    return f"job {printable_line(report.name)}: {report.state} in {format_seconds(report.wall_seconds)}"


def _make_table(report: JobReport, **look: Any) -> Table:
    look = {"title_justify": "left", "title_style": "bold", "header_style": "", **look}
    table = Table(title=Text(_title(report)), **look)
    table.add_column("stage", overflow="fold", min_width=_NARROWEST_NAME)
    for heading, cell in _COLUMNS.items():
        # Said, because rich takes a figure and its unit for words, between which a line may break.
        widest = max(map(len, [heading, *map(cell, report.stages)]))
        table.add_column(heading, justify="right", no_wrap=True, min_width=widest)
    for stage in report.stages:
        table.add_row(Text(printable_line(stage.name)), *(cell(stage) for cell in _COLUMNS.values()))
    return table


def _list(report: JobReport, width: int) -> list[RenderableType]:
    lines = [Text(_title(report), style="bold")]
    for stage in report.stages:
        lines.append(Text(printable_line(stage.name)))
        line = ""
        for heading, cell in _COLUMNS.items():  # a figure stays with its heading
            figure = f"{heading} {cell(stage)}"
            if line and len(line) + len(figure) >= width - len(_INDENT):  # a comma may follow
                lines.append(Text(_INDENT + line.rstrip()))
                line = ""
            line += f"{figure}, "
        lines.append(Text(_INDENT + line.removesuffix(", ")))
    return list(lines)


def to_text(report: RenderableType) -> str:
    """What rich shows of something, as plain text as wide as the terminal."""
    # In a notebook rich would show it in the cell at once.
    console = Console(file=io.StringIO(), width=terminal_width(), record=True, force_jupyter=False)
    console.print(report)
    return "\n".join(line.rstrip() for line in console.export_text().rstrip().split("\n"))


def to_html(report: JobReport) -> str:
    """The table as HTML, for notebooks."""
    rows = [
        _row(printable_line(stage.name), [cell(stage) for cell in _COLUMNS.values()], "td") for stage in report.stages
    ]
    remarks = "<br>".join(escape(printable(line)) for line in report.remarks())
    footer = f"<p><small>{remarks}</small></p>" if remarks else ""
    return (
        f"<table><caption>{escape(_title(report))}</caption><thead>{_row('stage', list(_COLUMNS), 'th')}</thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{footer}"
    )


def _row(name: str, cells: Sequence[str], element: str) -> str:
    rest = "".join(f"<{element} style='text-align:right'>{escape(cell)}</{element}>" for cell in cells)
    return f"<tr><{element} style='text-align:left'>{escape(name)}</{element}>{rest}</tr>"
