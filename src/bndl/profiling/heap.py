"""Memory of one node with tracemalloc: snapshots that are small enough to travel, and what each stage did to the heap.

A snapshot of tracemalloc has an entry for each block of memory. Here it has one for each distinct traceback.

What a stage did to the heap is the difference between two such readings: when its first attempt begins on this node,
and when the first attempt of another stage does, or somebody asks.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
import psutil

from bndl.errors import ProfilerUnavailable
from bndl.printable import printable_line
from bndl.profiling.places import shorten
from bndl.profiling.wire import StageHeap, TaskKey

__all__ = ["HeapTracer", "ReducedSnapshot", "Trace", "unpack_traces"]

#: Readings at the boundaries of stages may take this share of the time, and this many seconds in any case.
_SHARE = 0.1
_GRACE = 2.0
#: How many lines of a stage are told one by one.
_MOST_LINES = 400
#: What these files allocate is the price of profiling, and is told as such.
_OWN = (str(Path(__file__).parent), *(spec.origin for spec in (find_spec("yappi"),) if spec and spec.origin))

#: One for each traceback: bytes, blocks, domain, how many frames there were, and (path, line), the innermost first.
Trace = tuple[int, int, int, int, tuple[tuple[str, int], ...]]
_Line = tuple[str, int]


class ReducedSnapshot(msgspec.Struct, frozen=True):
    """What is allocated on a node.

    Attributes:
        traces: packed; see ``unpack_traces``.
        short_paths: of the files in them.
        frames: how many frames of each traceback are known.
        traced: how many bytes are allocated.
        peak: the most that was, since the start or the begin of the last stage.
        rss: the resident memory of the process.
        overhead: bytes that tracemalloc takes itself.
        seconds: what it took to make.
    """

    traces: bytes
    short_paths: dict[str, str]
    frames: int
    traced: int
    peak: int
    rss: int
    overhead: int
    seconds: float


def _read_resident() -> int:
    """The resident memory of this process; 0 where the system does not say, as without /proc."""
    with contextlib.suppress(psutil.Error, OSError):
        return int(psutil.Process().memory_info().rss)
    return 0


class HeapTracer:
    """Traces the memory of this process.

    Args:
        frames: how many frames of the traceback of each allocation to keep.

    Raises:
        ProfilerUnavailable: somebody else is using tracemalloc here.
    """

    def __init__(self, frames: int) -> None:
        if tracemalloc.is_tracing():
            text = "tracemalloc is tracing already in this process; stop it, or use it without bndl."
            raise ProfilerUnavailable(text)
        self._lock = threading.Lock()
        self._stage: TaskKey | None = None
        self._overlapping = False
        self._running: Counter[TaskKey] = Counter()
        self._closed: list[StageHeap] = []
        self._lines: dict[_Line, int] = {}
        self._before = (0, 0)
        self._seconds = 0.0
        self._started = time.monotonic()
        tracemalloc.start(frames)

    def stop(self) -> None:
        """Trace no more, and forget what was traced."""
        with self._lock:
            tracemalloc.stop()

    # Stages

    def begin(self, key: TaskKey) -> None:
        """An attempt begins."""
        stage = key.whole_stage
        with self._lock:
            if tracemalloc.is_tracing() and stage != self._stage:
                if self._stage is not None and (any(self._running.values()) or self._is_too_dear()):
                    self._overlapping = True
                else:
                    self._turn_to(stage)
            self._running[stage] += 1

    def end(self, key: TaskKey) -> None:
        """An attempt is over."""
        with self._lock:
            self._running[key.whole_stage] -= 1

    def close_stage(self) -> None:
        """Count the last stage until now, if no attempt of it is running."""
        with self._lock:
            if tracemalloc.is_tracing() and self._stage is not None and not any(self._running.values()):
                self._turn_to(None)

    def take(self) -> list[StageHeap]:
        """The stages that are over since the last time."""
        with self._lock:
            closed, self._closed = self._closed, []
            return closed

    def _is_too_dear(self) -> bool:
        return self._seconds > max(_GRACE, _SHARE * (time.monotonic() - self._started))

    def _turn_to(self, stage: TaskKey | None) -> None:
        began = time.thread_time()
        traced, peak = tracemalloc.get_traced_memory()
        lines = _read_lines()
        rss = _read_resident()
        if self._stage is not None:
            self._closed.append(
                StageHeap(
                    self._stage,
                    peak,
                    self._before[0],
                    traced,
                    (self._before[1], rss),
                    _compare(lines, self._lines),
                    self._overlapping,
                )
            )
        self._stage = stage
        self._overlapping = False
        self._lines = lines if stage is not None else {}
        self._before = (traced, rss)
        self._running = +self._running
        tracemalloc.reset_peak()
        self._seconds += time.thread_time() - began

    # Snapshots

    def take_snapshot(self) -> ReducedSnapshot:
        """What is allocated now."""
        with self._lock:
            began = time.monotonic()
            traced, peak = tracemalloc.get_traced_memory()
            traces, shown = _make_printable(_read_traces())
            short_paths = {shown[path]: printable_line(shorten(path)) for path in shown}
            packed = zlib.compress(msgspec.msgpack.encode(traces), 1)
            return ReducedSnapshot(
                packed,
                short_paths,
                tracemalloc.get_traceback_limit(),
                traced,
                peak,
                _read_resident(),
                tracemalloc.get_tracemalloc_memory(),
                time.monotonic() - began,
            )


def unpack_traces(snapshot: ReducedSnapshot) -> list[Trace]:
    """The traces of a snapshot that has travelled."""
    return msgspec.msgpack.decode(zlib.decompress(snapshot.traces), type=list[Trace])


def _read_traces() -> list[Trace]:
    """What is allocated now, one trace for each distinct traceback."""
    collects = gc.isenabled()
    gc.disable()  # it would look at the tuples made here again and again
    try:
        raw = tracemalloc._get_traces()  # type: ignore[attr-defined]  # noqa: SLF001 - without an object for each block
        return _reduce(raw)
    finally:
        if collects:
            gc.enable()


def _reduce(raw: Sequence[tuple[int, int, tuple[_Line, ...], int | None]]) -> list[Trace]:
    """One trace for each distinct traceback.

    Sizes are collected and added up at the end: a sum that is kept in a dict is a new object at each step, which
    tracemalloc traces as well.
    """
    sizes: dict[int, dict[tuple[_Line, ...], list[int]]] = {}
    depths: dict[tuple[_Line, ...], int | None] = {}
    for domain, size, frames, depth in raw:
        try:
            sizes[domain][frames].append(size)
        except KeyError:
            sizes.setdefault(domain, {})[frames] = [size]
            depths[frames] = depth
    return [
        (sum(found), len(found), domain, depths[frames] or len(frames), frames)
        for domain, by_frames in sizes.items()
        for frames, found in by_frames.items()
        if not frames[0][0].startswith(_OWN)
    ]


def _make_printable(traces: list[Trace]) -> tuple[list[Trace], dict[str, str]]:
    """The traces with the names of their files as they can travel and be shown, and these by the names as they are."""
    shown = {path: printable_line(path) for path in {path for trace in traces for path, _ in trace[4]}}
    if all(path == text for path, text in shown.items()):
        return traces, shown
    return [(*trace[:4], tuple((shown[path], line) for path, line in trace[4])) for trace in traces], shown


def _read_lines() -> dict[_Line, int]:
    """How much is allocated by each line."""
    lines: dict[_Line, int] = {}
    for size, _, _, _, frames in _read_traces():
        line = frames[0]
        lines[line] = lines.get(line, 0) + size
    return lines


def _compare(after: dict[_Line, int], before: dict[_Line, int]) -> list[tuple[str, int, str, int]]:
    """By how much each line grew or shrank. What does not fit is told as one line."""
    changes = [(size - before.get(line, 0), line) for line, size in after.items() if size != before.get(line, 0)]
    changes += [(-size, line) for line, size in before.items() if line not in after]
    changes.sort(key=lambda change: -abs(change[0]))
    told = [
        (printable_line(path), number, printable_line(shorten(path)), size)
        for size, (path, number) in changes[:_MOST_LINES]
    ]
    for sign in (1, -1):
        rest = sum(size for size, _ in changes[_MOST_LINES:] if size * sign > 0)
        if rest:
            told.append(("", 0, "(other lines)", rest))
    return told
