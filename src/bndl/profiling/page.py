"""CPU profiles as one self-contained page: a flame graph, a table, split by stage and worker. It asks no network.

The flame graph is d3-flame-graph, of which the page has a copy; see ``assets/vendor``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bndl.printable import printable_line
from bndl.profiling.profile import Function
from bndl.profiling.text import footer_lines
from bndl.profiling.tree import Node, build_tree

if TYPE_CHECKING:
    from bndl.profiling.diff import CpuDiff
    from bndl.profiling.stats import CpuStats

__all__ = ["write", "write_diff"]

#: How many nodes all trees have together, about.
_MOST_NODES = 60_000
_FEWEST_NODES = 300

_CSS = "d3-flamegraph.css"

#: [function, seconds, seconds before or null, children]
_Tree = list[Any]


class _Functions:
    """Numbers of functions, in the order in which they are met."""

    def __init__(self) -> None:
        self.table: list[tuple[str, str]] = []
        self._numbers: dict[Function, int] = {}

    def number(self, function: Function) -> int:
        """The number of a function."""
        number = self._numbers.get(function)
        if number is None:
            number = self._numbers[function] = len(self.table)
            path = f"{function.path}:{function.line}" if function.file else ""
            self.table.append((function.name if function.file else function.label(), path))
        return number


def write(stats: CpuStats, path: Path) -> None:
    """Write the page of a profile."""
    functions = _Functions()
    split = {printable_line(stage): part.split("worker") for stage, part in stats.split("stage").items()}
    count = sum(len(workers) for workers in split.values())
    most = max(_MOST_NODES // max(count, 1), _FEWEST_NODES)
    cells = [
        {
            "stage": stage,
            "worker": worker,
            "tree": _pack(build_tree(part.merged, most), functions),
            "rows": [[functions.number(s.function), s.ncall, _round(s.tsub), _round(s.ttot), None] for s in part],
        }
        for stage, workers in split.items()
        for worker, part in workers.items()
    ]
    how = f"{stats.mode}, {stats.clock} clock"
    data = {
        "kind": "profile",
        "unit": "seconds",
        "summary": f"{printable_line(stats.title)}: {stats.seconds:.3f} s in {len(stats):,} functions; {how}",
        "functions": functions.table,
        "cells": cells,
        "footer": [*footer_lines(stats), _explain(stats)],
    }
    _write(path, f"bndl CPU profile: {stats.title}", data)


def write_diff(diff: CpuDiff, path: Path) -> None:
    """Write the page of a difference."""
    functions = _Functions()
    first, second = diff.scales
    trees = (build_tree(diff.before.merged), build_tree(diff.after.merged))
    rows = [[functions.number(e.function), e.calls, e.own_after, e.total_after, e.own_before] for e in diff]
    unit = "share" if diff.relative else "seconds"
    data = {
        "kind": "diff",
        "unit": unit,
        "summary": f"{printable_line(diff.title)}; red takes more than before, blue takes less",
        "cells": [{"stage": "", "worker": "", "tree": _pack_both(*trees, first, second, functions), "rows": rows}],
        "footer": [f"before: {line}" for line in footer_lines(diff.before)]
        + [f"after: {line}" for line in footer_lines(diff.after)],
    }
    data["functions"] = functions.table
    _write(path, f"bndl CPU difference: {diff.title}", data)


def _explain(stats: CpuStats) -> str:
    if stats.mode == "tracing":
        return (
            "Figures of functions are exact. The graph is unfolded from who called whom: where a function is called "
            "from several places, each path to it has the share of its time that the calls along it took on average."
        )
    return "Figures are sampled: what took little may be missing."


def _pack(node: Node, functions: _Functions) -> list[_Tree]:
    return [
        [functions.number(function), _round(child.seconds), None, _pack(child, functions)]
        for function, child in node.children.items()
    ]


def _pack_both(before: Node, after: Node, first: float, second: float, functions: _Functions) -> list[_Tree]:
    nothing = Node(None)
    packed = []
    for function in {**before.children, **after.children}:
        was = before.children.get(function, nothing)
        now = after.children.get(function, nothing)
        below = _pack_both(was, now, first, second, functions)
        packed.append([functions.number(function), now.seconds * second, was.seconds * first, below])
    return packed


def _round(seconds: float) -> float:
    return round(seconds, 7)


def _write(path: Path, title: str, data: Mapping[str, Any]) -> None:
    assets = files("bndl.profiling") / "assets"
    vendor = assets / "vendor"
    # JSON in a script element: the only way out of it is "</script".
    packed = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    parts: dict[str, Callable[[], str]] = {
        "TITLE": lambda: escape(printable_line(title)),
        "STYLE": lambda: "".join(file.read_text() for file in (vendor / "d3-flame-graph" / _CSS, assets / "page.css")),
        "DATA": lambda: packed,
        "D3": (vendor / "d3" / "d3.min.js").read_text,
        "FLAMEGRAPH": (vendor / "d3-flame-graph" / "d3-flamegraph.umd.min.js").read_text,
        "SCRIPT": (assets / "page.js").read_text,
    }
    page = (assets / "page.html").read_text(encoding="utf-8")
    pieces = page.split("@")
    text = "".join(parts[piece]() if number % 2 else piece for number, piece in enumerate(pieces))
    path.write_text(text, encoding="utf-8")
