"""Snapshots of the memory of a cluster, and how they are printed."""

from __future__ import annotations

import linecache
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from bndl.driver.report import format_bytes, format_seconds
from bndl.printable import printable_line
from bndl.profiling.heap import ReducedSnapshot, Trace, unpack_traces
from bndl.profiling.places import module_of
from bndl.profiling.stats import is_selected

__all__ = ["ClusterSnapshot", "MemoryPrice", "TopLayout", "cluster_snapshot", "print_top"]

_KIBI = 1024


@dataclass(frozen=True)
class MemoryPrice:
    """What tracing memory costs, and what was not to be had.

    Attributes:
        memory: bytes that tracemalloc takes on all nodes together.
        seconds: the longest that a node took for its snapshot.
        bytes: how much travelled.
        missing: nodes that are not in the snapshot, and why.
    """

    memory: int = 0
    seconds: float = 0.0
    bytes: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)


class ClusterSnapshot(tracemalloc.Snapshot):
    """A ``tracemalloc.Snapshot`` of all nodes together: whatever works with one works with it.

    It has one trace for each distinct traceback and node, with the bytes of all blocks; so a ``count`` in its
    statistics is not that of blocks. ``blocks`` has those.

    Attributes:
        nodes: the snapshot of each node, by name.
        blocks: how many blocks each node has.
        rss: the resident memory of each node.
        traced: how many bytes are allocated on each node.
        price: what it cost, and who is missing.
        short_paths: paths as they are printed.
    """

    def __init__(self, traces: Sequence[tuple[int, int, tuple[tuple[str, int], ...], int]], frames: int) -> None:
        super().__init__(traces, frames)
        self.nodes: dict[str, tracemalloc.Snapshot] = {}
        self.blocks: dict[str, int] = {}
        self.rss: dict[str, int] = {}
        self.traced: dict[str, int] = {}
        self.price = MemoryPrice()
        self.short_paths: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<tracemalloc.Snapshot object at {id(self):#x}>"


def cluster_snapshot(answers: Mapping[str, ReducedSnapshot], missing: Mapping[str, str]) -> ClusterSnapshot:
    """The snapshots of nodes as one."""
    nodes = {name: unpack_traces(answer) for name, answer in answers.items()}
    frames = max((answer.frames for answer in answers.values()), default=1)
    snapshot = ClusterSnapshot([_as_raw(trace) for traces in nodes.values() for trace in traces], frames)
    for name, traces in nodes.items():
        answer = answers[name]
        snapshot.nodes[name] = ClusterSnapshot([_as_raw(trace) for trace in traces], answer.frames)
        snapshot.blocks[name] = sum(trace[1] for trace in traces)
        snapshot.rss[name] = answer.rss
        snapshot.traced[name] = answer.traced
        snapshot.short_paths.update(answer.short_paths)
    snapshot.price = MemoryPrice(
        sum(answer.overhead for answer in answers.values()),
        max((answer.seconds for answer in answers.values()), default=0.0),
        sum(len(answer.traces) for answer in answers.values()),
        missing,
    )
    return snapshot


def _as_raw(trace: Trace) -> tuple[int, int, tuple[tuple[str, int], ...], int]:
    size, _, domain, depth, frames = trace
    return domain, size, frames, depth


@dataclass(frozen=True, slots=True)
class TopLayout:
    """What is to be printed of a snapshot; see ``MemoryProfiling.print_top``."""

    group_by: str
    limit: int | None
    include: str | Sequence[str] | None
    exclude: str | Sequence[str] | None
    strip_dirs: bool


def print_top(
    snapshot: ClusterSnapshot, before: tracemalloc.Snapshot | None, layout: TopLayout, file: IO[str] | None
) -> None:
    """Print the lines that have most, or that grew or shrank most since another snapshot."""
    _write(_top_lines(snapshot, snapshot, before, layout), file)


def print_per_node(
    snapshot: ClusterSnapshot, before: tracemalloc.Snapshot | None, layout: TopLayout, file: IO[str] | None
) -> None:
    """Print the same for each node."""
    older = before.nodes if isinstance(before, ClusterSnapshot) else {}
    for name, node in sorted(snapshot.nodes.items()):
        previous = older.get(name, ClusterSnapshot((), 1)) if before is not None else None
        rss = format_bytes(snapshot.rss[name])
        _write(["", f"{name}, resident {rss}", *_top_lines(node, snapshot, previous, layout)], file)


def print_memory_footer(snapshot: ClusterSnapshot, file: IO[str] | None) -> None:
    """Print what it cost, and who is missing: beside the list, on standard error, if there is no file."""
    price = snapshot.price
    text = (
        f"Resident: {format_bytes(sum(snapshot.rss.values()))} on {len(snapshot.rss)} nodes; tracing takes "
        f"{format_bytes(price.memory)} of it, the snapshot {format_seconds(price.seconds)}, "
        f"{format_bytes(price.bytes)} sent."
    )
    lines = [text] + [f"Missing: {node}: {reason}" for node, reason in sorted(price.missing.items())]
    _write(lines, sys.stderr if file is None else file)


def _top_lines(
    snapshot: tracemalloc.Snapshot, whole: ClusterSnapshot, before: tracemalloc.Snapshot | None, layout: TopLayout
) -> list[str]:
    entries: list[tuple[tracemalloc.Traceback, int]]
    if before is None:
        entries = [(each.traceback, each.size) for each in snapshot.statistics(layout.group_by)]
    else:
        differences = snapshot.compare_to(before, layout.group_by)
        entries = [(each.traceback, each.size_diff) for each in differences if each.size_diff]
    entries = [
        (trace, size)
        for trace, size in entries
        if is_selected(module_of(trace[-1].filename), layout.include, layout.exclude)
    ]
    top = entries[: layout.limit]
    lines: list[str] = []
    for rank, (trace, size) in enumerate(top, 1):
        lines += _entry_lines(rank, trace, _size(size, signed=before is not None), whole, layout)
    rest = entries[len(top) :]
    if rest:
        lines.append(f"{len(rest)} other: {_size(sum(size for _, size in rest), signed=before is not None)}")
    what = "Total allocated size" if before is None else "Total size difference"
    lines.append(f"{what}: {_size(sum(size for _, size in entries), signed=before is not None)}")
    return lines


def _entry_lines(
    rank: int, trace: tracemalloc.Traceback, size: str, whole: ClusterSnapshot, layout: TopLayout
) -> list[str]:
    innermost = trace[-1]
    path = _path(innermost.filename, whole, layout)
    if layout.group_by == "filename":
        return [f"#{rank} {path} {size}"]
    lines = [f"#{rank} {path}:{innermost.lineno} {size}"]
    if source := linecache.getline(innermost.filename, innermost.lineno).strip():
        lines.append(f"    {source}")
    if layout.group_by == "traceback":
        lines += [f"    from {_path(frame.filename, whole, layout)}:{frame.lineno}" for frame in reversed(trace[:-1])]
    return lines


def _path(path: str, whole: ClusterSnapshot, layout: TopLayout) -> str:
    return whole.short_paths.get(path, path) if layout.strip_dirs else path


def _size(size: int, *, signed: bool) -> str:
    return f"{size / _KIBI:+.1f} KiB" if signed else f"{size / _KIBI:.1f} KiB"


def _write(lines: Sequence[str], file: IO[str] | None) -> None:
    (sys.stdout if file is None else file).write("\n".join(map(printable_line, lines)) + "\n")
