"""CPU profiles as text, as tables in a terminal, and as HTML in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import IO, TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bndl.driver import report_view
from bndl.driver.report import format_bytes, format_seconds
from bndl.printable import printable_line

if TYPE_CHECKING:
    from bndl.profiling.stats import CpuStats, FunctionStat

__all__ = ["Layout", "footer_lines", "make_table", "print_footer", "print_table", "to_html", "to_text"]

#: Columns and their widths.
_WIDTHS = {"name": 49, "ncall": 12, "tsub": 8, "ttot": 8, "tavg": 8}
_GAP = "  "
_ROWS = 25


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is to look.

    Attributes:
        max_rows: how many rows to print; None for all.
        sort_by: what they are ordered by.
        sort_dir: ``desc`` or ``asc``.
        columns: which columns.
        strip_dirs: whether paths are shortened.
    """

    max_rows: int | None
    sort_by: str
    sort_dir: str
    columns: tuple[str, ...]
    strip_dirs: bool


def print_table(
    stats: CpuStats, rows: Sequence[FunctionStat], layout: Layout, *, title: str, file: IO[str] | None
) -> None:
    """Print the figures of functions, in the layout that yappi's users know."""
    lines = ["", title] if title else []
    kind = stats.clock.upper() if stats.mode == "tracing" else f"{stats.clock.upper()}, sampled"
    lines += ["", f"Clock type: {kind}", f"Ordered by: {layout.sort_by}, {layout.sort_dir}", ""]
    lines.append("".join(column.ljust(_WIDTHS[column]) + _GAP for column in layout.columns))
    cells = {column: _CELLS[column] for column in layout.columns}
    for stat in rows[: layout.max_rows]:
        line = ""
        for column, cell in cells.items():
            text = _name(stat, layout) if column == "name" else cell(stat)
            line += text.ljust(_WIDTHS[column]) + _GAP
        lines.append(line.rstrip())
    _write(lines, file)


def print_footer(stats: CpuStats, *, file: IO[str] | None) -> None:
    """Print what profiling cost, and what is missing: beside the table, on standard error, if there is no file."""
    _write(["", *footer_lines(stats)], sys.stderr if file is None else file)


def footer_lines(stats: CpuStats) -> Iterator[str]:
    """What profiling cost, and what is missing, in words."""
    return map(printable_line, _list_footer(stats))


def _list_footer(stats: CpuStats) -> Iterator[str]:
    price = stats.price
    profilers = sorted(set(price.profilers.values()))
    attempts = "attempts" if stats.mode == "tracing" else "attempts looked into"
    yield (
        f"Profiled {len(price.profilers)} nodes with {' and '.join(profilers) or 'nothing'}, "
        f"{price.attempts:,} {attempts}; profiling took {format_seconds(price.seconds)}"
        + (f" and about {format_seconds(price.call_seconds)} in the calls" if price.call_seconds else "")
        + f", {format_bytes(price.memory)} of memory, {format_bytes(price.bytes)} sent."
    )
    if stats.mode == "sampling" and any(each.startswith("py-spy") for each in profilers):
        yield "py-spy counts the time in which threads run or could run, not what they get of the processor."
    if price.running:
        yield f"{price.running} attempts are running and are left out; running=True shows what they did so far."
    if price.folded:
        yield f"{price.folded:,} attempts are known by their stage only, not one by one."
    for remark in sorted(set(price.remarks.values())):
        nodes = sorted(node for node, each in price.remarks.items() if each == remark)
        yield f"{', '.join(nodes)}: {remark}"
    for node, reason in sorted(price.missing.items()):
        yield f"Missing: {node}: {reason}"


def _name(stat: FunctionStat, layout: Layout) -> str:
    function = stat.function
    text = function.label(strip_dirs=layout.strip_dirs)
    width = _WIDTHS["name"]
    # The names of a package's modules are short and say where to look, so those are not cut; whole paths are long.
    is_whole = not layout.strip_dirs or function.path == function.file.lstrip("/")
    return f"..{text[2 - width :]}" if len(text) > width and is_whole else text


def _ncall(stat: FunctionStat) -> str:
    if not stat.ncall and not stat.nactualcall:
        return "-"
    return str(stat.ncall) if stat.ncall == stat.nactualcall else f"{stat.ncall}/{stat.nactualcall}"


def _seconds(value: float) -> str:
    """Seconds in eight characters, as exact as they fit."""
    return next((text for digits in range(6, 0, -1) if len(text := f"{value:.{digits}f}") <= 8), f"{value:.0f}")  # noqa: PLR2004 - the width


_CELLS: Mapping[str, Callable[[FunctionStat], str]] = {
    "name": lambda stat: str(stat.function),
    "ncall": _ncall,
    "tsub": lambda stat: _seconds(stat.tsub),
    "ttot": lambda stat: _seconds(stat.ttot),
    "tavg": lambda stat: _seconds(stat.tavg) if stat.ncall else "-",
}


def make_table(stats: CpuStats, rows: int = _ROWS) -> RenderableType:
    """A table for rich: the functions with most total time."""
    # Text, because in a plain string what looks like markup would be taken for it.
    title = Text(printable_line(f"CPU profile: {stats.title}"))
    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    table.add_column("name", overflow="fold")
    for heading in ("ncall", "tsub", "ttot", "tavg"):
        table.add_column(heading, justify="right")
    for stat in list(stats)[:rows]:
        table.add_row(Text(str(stat.function)), *(_CELLS[column](stat) for column in ("ncall", "tsub", "ttot", "tavg")))
    rest = len(stats) - rows
    more = [Text(f"and {rest:,} other functions")] if rest > 0 else []
    return Group(table, *more, *(Text(line) for line in footer_lines(stats)))


def to_text(stats: CpuStats) -> str:
    """The same table as plain text."""
    return report_view.to_text(make_table(stats))


def to_html(stats: CpuStats, rows: int = _ROWS) -> str:
    """The same table as HTML, for notebooks."""
    cells = []
    for stat in list(stats)[:rows]:
        figures = "".join(
            f"<td style='text-align:right'>{escape(_CELLS[column](stat))}</td>"
            for column in ("ncall", "tsub", "ttot", "tavg")
        )
        cells.append(f"<tr><td style='text-align:left'><code>{escape(str(stat.function))}</code></td>{figures}</tr>")
    head = "".join(f"<th>{column}</th>" for column in ("name", "ncall", "tsub", "ttot", "tavg"))
    footer = "<br>".join(escape(line) for line in footer_lines(stats))
    return (
        f"<table><caption>CPU profile: {escape(printable_line(stats.title))}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(cells)}</tbody></table><p><small>{footer}</small></p>"
    )


def _write(lines: Sequence[str], file: IO[str] | None) -> None:
    target = sys.stdout if file is None else file
    target.write("\n".join(map(printable_line, lines)) + "\n")
