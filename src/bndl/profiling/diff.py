"""What is different between two CPU profiles."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bndl.errors import InvalidOption
from bndl.printable import printable_line
from bndl.profiling import page
from bndl.profiling.checks import check_count, check_file, check_target
from bndl.profiling.profile import Function
from bndl.reprs import safe_repr

if TYPE_CHECKING:
    from bndl.profiling.stats import CpuStats

__all__ = ["CpuDiff", "FunctionDiff"]

_ROWS = 25


@dataclass(frozen=True, slots=True)
class FunctionDiff:
    """What is different in a function; seconds, or shares of the whole if that is what is compared.

    Attributes:
        function: which.
        calls: how many more calls ended; 0 if one of the profiles is sampled, which does not know.
        own_before: in the function itself, before.
        own_after: in the function itself, after.
        total_before: with what it called, before.
        total_after: with what it called, after.
    """

    function: Function
    calls: int
    own_before: float
    own_after: float
    total_before: float
    total_after: float

    @property
    def own(self) -> float:
        """How much more the function itself took."""
        return self.own_after - self.own_before

    @property
    def total(self) -> float:
        """How much more it took with what it called."""
        return self.total_after - self.total_before


class CpuDiff:
    """What is different between two CPU profiles. An iterable of ``FunctionDiff``, the greatest own difference first.

    Attributes:
        before: the profile that is compared with.
        after: the profile that is compared.
        relative: whether shares of the whole are compared, not seconds.
    """

    def __init__(self, before: CpuStats, after: CpuStats, *, relative: bool = False) -> None:
        self.before = before
        self.after = after
        self.relative = relative
        self.scales = (1 / (before.seconds or 1.0), 1 / (after.seconds or 1.0)) if relative else (1.0, 1.0)

    def __iter__(self) -> Iterator[FunctionDiff]:
        old, new = self.before.functions, self.after.functions
        first, second = self.scales
        is_counted = self.before.mode == self.after.mode == "tracing"
        found = []
        for function in {**old, **new}:
            was, now = old.get(function), new.get(function)
            found.append(
                FunctionDiff(
                    function,
                    ((now.ncall if now else 0) - (was.ncall if was else 0)) * is_counted,
                    was.tsub * first if was else 0.0,
                    now.tsub * second if now else 0.0,
                    was.ttot * first if was else 0.0,
                    now.ttot * second if now else 0.0,
                )
            )
        return iter(sorted(found, key=lambda each: (-abs(each.own), str(each.function))))

    @property
    def title(self) -> str:
        """What is compared; with the ways in which it was measured, if they are not the same."""
        kinds = [f"{stats.mode}, {stats.clock} clock" for stats in (self.before, self.after)]
        if kinds[0] == kinds[1]:
            return f"{self.before.title} -> {self.after.title}"
        return f"{self.before.title} ({kinds[0]}) -> {self.after.title} ({kinds[1]})"

    def print(self, max_rows: int | None = _ROWS, *, file: IO[str] | None = None) -> None:
        """Print the functions that differ most."""
        max_rows = check_count("max_rows", max_rows)
        check_file(file)
        unit = "share" if self.relative else "seconds"
        lines = ["", f"{self.title}, {unit}", ""]
        lines.append(f"{'name':51}{'ncall':>10}  {'tsub':>10}  {'ttot':>10}")
        for each in list(self)[:max_rows]:
            name = str(each.function)
            name = name if len(name) <= 49 else f"..{name[-47:]}"  # noqa: PLR2004 - the width of the column
            lines.append(f"{name:51}{each.calls:>+10}  {each.own:>+10.6f}  {each.total:>+10.6f}")
        (sys.stdout if file is None else file).write("\n".join(map(printable_line, lines)) + "\n")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a page with a flame graph: red is what takes more, blue is what takes less.

        Raises:
            InvalidOption: the path does not end in ``.html``.
        """
        target = Path(check_target(path))
        if target.suffix != ".html":
            raise InvalidOption(
                f"{safe_repr(str(target))} does not end in .html, which is what differences are written as."
            )
        page.write_diff(self, target)
        return target

    def __rich__(self) -> RenderableType:
        table = Table(
            title=Text(printable_line(f"CPU: {self.title}")), title_justify="left", title_style="bold", header_style=""
        )
        table.add_column("name", overflow="fold")
        for heading in ("ncall", "tsub", "ttot"):
            table.add_column(heading, justify="right")
        for each in list(self)[:_ROWS]:
            style = "red" if each.own > 0 else "blue"
            cells = (f"{each.calls:+}", f"{each.own:+.6f}", f"{each.total:+.6f}")
            table.add_row(Text(str(each.function)), *cells, style=style)
        return table
