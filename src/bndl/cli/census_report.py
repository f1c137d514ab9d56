"""How ``bndl demo`` shows its census on a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bndl.cli.census import Broken, Census, Ranked, printable

__all__ = ["render"]

#: How many of the broken files are shown with their reason.
SHOWN_BROKEN = 5


def render(census: Census) -> Group:
    """Lay out a census for rich: the ranked modules, the totals, the first broken files."""
    return Group(_ranking(census.top), _totals(census), *_broken(census.broken))


def _ranking(top: tuple[Ranked, ...]) -> Table:
    table = Table(title="Most imported modules", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("module")
    table.add_column("imported by files", justify="right")
    for rank, (module, files) in enumerate(top, start=1):
        # Text, here and below: a plain string would be read as markup.
        table.add_row(str(rank), Text(printable(module)), f"{files:,}")
    return table


def _totals(census: Census) -> Text:
    return Text(
        f"{census.files:,} files, {census.lines:,} lines, {census.functions:,} functions, {census.methods:,} methods, "
        f"{census.classes:,} classes, {census.imports:,} imports of {census.modules:,} modules"
    )


def _broken(broken: tuple[Broken, ...]) -> list[Text]:
    if not broken:
        return []
    heading = f"{len(broken):,} of the files could not be parsed"
    shown = [Text(f"  {printable(path)}: {printable(reason)}", style="dim") for path, reason in broken[:SHOWN_BROKEN]]
    left = len(broken) - len(shown)
    rest = [Text(f"  and {left:,} more", style="dim")] if left else []
    return [Text(heading, style="yellow"), *shown, *rest]
