"""What stages did to memory, and which lines grow from stage to stage."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bndl.driver.report import format_bytes
from bndl.printable import printable_line
from bndl.profiling.places import module_of
from bndl.profiling.stats import is_selected
from bndl.profiling.wire import StageHeap

__all__ = ["Growth", "Line", "StageMemory", "find_growth", "sum_stages"]

#: A line has to grow in this share of the stages to be one that grows.
_SHARE = 0.75


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A line of a program.

    Attributes:
        path: of its file, without the folder that its module was found in.
        number: which line.
        file: the whole path on one of the nodes.
    """

    path: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


@dataclass(frozen=True, slots=True)
class StageMemory:
    """What a stage did to memory, on all workers together. Sizes are in bytes.

    Attributes:
        job: the job's name.
        name: the stage's name.
        number: the stage's number with the driver.
        allocated: by how much lines have more after it than before it, added up.
        freed: by how much lines have less.
        peak: the most that was allocated at a time on one worker.
        rss_before: resident memory when it began.
        rss_after: resident memory when it was over.
        lines: by how much each line has more, or less if negative.
        workers: by how much each worker has more allocated.
        overlapping: whether other stages ran at the same time, so that some of it may be theirs.
    """

    job: str
    name: str
    number: int
    allocated: int
    freed: int
    peak: int
    rss_before: int
    rss_after: int
    lines: Mapping[Line, int]
    workers: Mapping[str, int]
    overlapping: bool

    @property
    def kept(self) -> int:
        """How much more is allocated after it than before."""
        return self.allocated - self.freed

    @property
    def rss(self) -> int:
        """By how much resident memory grew. Where it did and ``kept`` is next to nothing, the allocator keeps pages."""
        return self.rss_after - self.rss_before

    def __str__(self) -> str:
        note = ", with others at the same time" if self.overlapping else ""
        return printable_line(
            f"{self.job} / {self.name}: allocated {format_bytes(self.allocated)}, freed {format_bytes(self.freed)}, "
            f"peak {format_bytes(self.peak)}, resident {format_bytes(self.rss_after)} "
            f"({'+' if self.rss >= 0 else ''}{format_bytes(self.rss)}){note}"
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """A line that has more after each stage.

    Attributes:
        line: which.
        total: by how many bytes it grew in all.
        stages: by how many bytes in each stage, by its name, in order.
        source: the line itself, if it can be read here.
    """

    line: Line
    total: int
    stages: Sequence[tuple[str, int]]
    source: str

    def __str__(self) -> str:
        each = self.total / max(len(self.stages), 1)
        return (
            f"{self.line} +{format_bytes(self.total)}, {format_bytes(each)} a stage\n    {printable_line(self.source)}"
        )


def sum_stages(heaps: Iterable[tuple[str, StageHeap]]) -> list[StageMemory]:
    """What each stage did, in order.

    Args:
        heaps: what each did on a node, with the node's name.
    """
    by_stage: dict[tuple[int, str, str], list[tuple[str, StageHeap]]] = {}
    for node, heap in heaps:
        key = heap.key
        by_stage.setdefault((key.number, key.job, key.stage), []).append((node, heap))
    return [_sum_stage(number, job, name, found) for (number, job, name), found in sorted(by_stage.items())]


def _sum_stage(number: int, job: str, name: str, heaps: Sequence[tuple[str, StageHeap]]) -> StageMemory:
    lines: dict[Line, int] = {}
    workers: dict[str, int] = {}
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    allocated = freed = 0
    for node, heap in heaps:
        for file, line, path, size in heap.lines:
            key = Line(path, line, file)
            lines[key] = lines.get(key, 0) + size
            allocated += max(size, 0)
            freed += max(-size, 0)
        workers[node] = workers.get(node, 0) + heap.after - heap.before
        before.setdefault(node, heap.rss[0])
        after[node] = heap.rss[1]
    return StageMemory(
        job,
        name,
        number,
        allocated,
        freed,
        max(heap.peak for _, heap in heaps),
        sum(before.values()),
        sum(after.values()),
        dict(sorted(lines.items(), key=lambda item: -abs(item[1]))),
        workers,
        any(heap.overlapping for _, heap in heaps),
    )


def find_growth(
    stages: Sequence[StageMemory],
    *,
    include: str | Sequence[str] | None,
    exclude: str | Sequence[str] | None,
    least_bytes: int,
) -> list[Growth]:
    """The lines that grow; see ``MemoryProfiling.growth``."""
    lines = {line for stage in stages for line, size in stage.lines.items() if size > 0 and line.file}
    found = []
    for line in sorted(lines):
        sizes = [stage.lines.get(line, 0) for stage in stages]
        grew = sum(size > 0 for size in sizes)
        total = sum(sizes)
        if total < least_bytes or grew < 2 or grew < _SHARE * len(sizes):  # noqa: PLR2004 - once is no growth
            continue
        if not is_selected(module_of(line.file), include, exclude):
            continue
        named = [(stage.name, size) for stage, size in zip(stages, sizes, strict=True)]
        found.append(Growth(line, total, named, linecache.getline(line.file, line.number).strip()))
    return sorted(found, key=lambda growth: -growth.total)
