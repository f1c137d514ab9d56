"""Sampling inside of the process: a thread that looks at the stacks of all others, many times a second.

A stack counts for the processor time that its thread took since the last look. So a thread that waits counts for
nothing, and it does no harm that a look is late, as it is when a thread holds the interpreter's lock.

A look mostly comes when a thread gives that lock away, as it does to send a result, and not in the code before: what
short tasks took would be seen there. So threads read their clocks at both ends of an attempt. What it took since the
last look waits for the next one that finds a thread in an attempt of the same stage, and is given to the stage, and to
the stack that is seen then.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Protocol, TypeVar

from bndl.errors import ProfilerUnavailable
from bndl.profiling.places import code_info
from bndl.profiling.wire import OUTSIDE, FunctionInfo, SampledStacks, TaskKey

__all__ = ["Sampler", "ThreadSampler", "make_sampler"]

T = TypeVar("T")

#: Seconds between two reports with the results of attempts: as much is lost with a worker.
_REPORT_INTERVAL = 1.0
#: So many stacks are kept apart between two reports.
_MOST_STACKS = 50_000
#: A process that took less processor time since the last look than this part of the interval is not looked at.
_LEAST = 0.25
#: Deeper stacks lose their outermost frames.
MOST_FRAMES = 200
#: Of so many stages it is known where they were last.
_MOST_STAGES = 1000

#: Whether the clocks of other threads can be read.
_HAS_CLOCKS = sys.platform == "linux"


class Sampler(Protocol):
    """Samples the stacks of this process."""

    @property
    def name(self) -> str:
        """What it is, for users."""

    @property
    def seconds(self) -> float:
        """Processor time that it took."""

    @property
    def memory(self) -> int:
        """Bytes that it takes."""

    def run(self, key: TaskKey, call: Callable[[], T]) -> T:
        """Call; samples of this thread belong to the task meanwhile."""

    def take(self) -> Sequence[SampledStacks]:
        """What was sampled since the last time."""

    def take_now_and_then(self) -> Sequence[SampledStacks]:
        """The same, unless the last time was a moment ago."""

    def stop(self) -> None:
        """Sample no more."""

    def clear(self) -> None:
        """Forget what was sampled."""


def make_sampler(which: str, interval: float, *, native: bool) -> tuple[Sampler, str]:
    """A sampler.

    Args:
        which: ``py-spy``, ``in-process``, or ``auto``: the first if functions of C are to be seen, which only it can,
            or else the second, which costs a fifth of it.
        interval: seconds between two samples.
        native: whether to see functions that are not written in Python as well.

    Returns:
        The sampler, and why it is not py-spy, if that was wanted.

    Raises:
        ProfilerUnavailable: it was to be py-spy and nothing else, and cannot be.
    """
    if which == "in-process" or (which == "auto" and not native):
        return ThreadSampler(interval), ""
    from bndl.profiling.pyspy import PySpy  # noqa: PLC0415 - knows this module

    try:
        return PySpy(interval, native=native), ""
    except ProfilerUnavailable as error:
        if which == "py-spy":
            raise
        return ThreadSampler(interval), error.message


class ThreadSampler:
    """Samples from a thread of this process.

    Args:
        interval: seconds between two looks.
    """

    name = "in-process sampler"

    def __init__(self, interval: float) -> None:
        self.seconds = 0.0
        self._interval = interval
        #: What threads are executing, and what they had taken of the processor when that began.
        self._tasks: dict[int, tuple[TaskKey, float]] = {}
        self._lock = threading.Lock()
        #: Seconds by task and stack; code is known by its identity, as its hash is slow to compute.
        self._stacks: dict[tuple[TaskKey, tuple[int, ...]], float] = {}
        self._codes: dict[int, CodeType] = {}
        self._clocks: dict[int, tuple[int, float]] = {}
        #: What was counted of a thread since it was last looked at.
        self._settled: dict[int, float] = {}
        #: What attempts took of which no look has seen anything, by stage.
        self._unseen: dict[TaskKey, float] = {}
        #: The stack that was last seen in a stage; before there is one, where its attempts are called from.
        self._last: dict[TaskKey, tuple[CodeType, ...]] = {}
        self._taken = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="bndl-sampler", daemon=True)
        self._thread.start()

    def run(self, key: TaskKey, call: Callable[[], T]) -> T:
        """Call; samples of this thread belong to the task meanwhile."""
        ident = threading.get_ident()
        began = time.thread_time()
        self._begin(ident, key, began)
        try:
            return call()
        finally:
            self._settle(ident, key, began)

    def _begin(self, ident: int, key: TaskKey, began: float) -> None:
        """Know this thread, also if no look has seen it yet: threads that are new have the identifiers of old ones."""
        native = threading.get_native_id()
        looked = self._clocks.get(ident)
        if looked is None or looked[0] != native:
            with self._lock:
                self._clocks[ident] = (native, began)
                self._settled.pop(ident, None)
        self._tasks[ident] = (key, began)

    def _settle(self, ident: int, key: TaskKey, began: float) -> None:
        """Count what this thread did in an attempt since it was last looked at."""
        stage = key.whole_stage
        with self._lock:
            del self._tasks[ident]
            if not _HAS_CLOCKS:
                return
            seconds = time.thread_time() - max(began, self._clocks[ident][1])
            self._settled[ident] = self._settled.get(ident, 0.0) + seconds
            self._unseen[stage] = self._unseen.get(stage, 0.0) + seconds
            if stage not in self._last:
                self._note_last(stage, self._walk(sys._getframe(1)))  # noqa: SLF001 - documented

    def take(self) -> list[SampledStacks]:
        """What was sampled since the last time, with all that was taken so far."""
        with self._lock:
            for stage in list(self._unseen):
                self._give_unseen(stage)
        return self._take_seen()

    def _take_seen(self) -> list[SampledStacks]:
        with self._lock:
            stacks, self._stacks = self._stacks, {}
            codes, self._codes = self._codes, {}
            self._taken = time.monotonic()
        by_key: dict[TaskKey, tuple[dict[int, int], list[FunctionInfo], list[tuple[list[int], float]]]] = {}
        for (key, stack), seconds in stacks.items():
            positions, functions, found = by_key.setdefault(key, ({}, [], []))
            for code in stack:
                if code not in positions:
                    positions[code] = len(functions)
                    functions.append(code_info(codes[code]))
            found.append(([positions[code] for code in stack], seconds))
        return [SampledStacks(key, functions, found) for key, (_, functions, found) in by_key.items()]

    def take_now_and_then(self) -> Sequence[SampledStacks]:
        """The same, unless the last time was a moment ago."""
        return self._take_seen() if time.monotonic() - self._taken > _REPORT_INTERVAL else ()

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        return sum(64 + 8 * len(stack) for _, stack in list(self._stacks))

    def stop(self) -> None:
        """Sample no more."""
        self._stopping.set()
        self._thread.join(1.0)

    def clear(self) -> None:
        """Forget what was sampled."""
        self.take()

    def look(self) -> None:
        """Look at all threads but this one."""
        own = threading.get_ident()
        natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
        with self._lock:
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, for debuggers
                if ident != own:
                    self._count(ident, natives.get(ident), frame)

    def _sample(self) -> None:
        looked = 0.0
        while not self._stopping.wait(self._interval):
            taken = time.process_time()
            if taken - looked < _LEAST * self._interval:
                continue
            looked = taken
            self.look()
            self.seconds = time.thread_time()

    # With the lock

    def _count(self, ident: int, native: int | None, frame: FrameType | None) -> None:
        now, seconds = self._measure(ident, native)
        if seconds <= 0:
            return
        codes = self._walk(frame)
        task, began = self._tasks.get(ident, (OUTSIDE, 0.0))
        if not task.job:
            self._add(OUTSIDE, codes, seconds)
            return
        inside = min(seconds, now - began)
        self._add(task, codes, inside)
        if inside < seconds and _RUN in codes:
            self._add(OUTSIDE, codes[: codes.index(_RUN)], seconds - inside)
        stage = task.whole_stage
        self._note_last(stage, codes)
        self._give_unseen(stage)

    def _note_last(self, stage: TaskKey, codes: tuple[CodeType, ...]) -> None:
        if stage not in self._last and len(self._last) >= _MOST_STAGES:
            oldest = next(iter(self._last))
            self._give_unseen(oldest)
            del self._last[oldest]
        self._last[stage] = codes

    def _give_unseen(self, stage: TaskKey) -> None:
        """Give what was not seen of a stage to the stack that was seen in it."""
        seconds = self._unseen.pop(stage, 0.0)
        if seconds > 0:
            self._add(stage, self._last[stage], seconds)

    def _add(self, task: TaskKey, codes: tuple[CodeType, ...], seconds: float) -> None:
        stack = tuple(map(id, codes))
        place = (task, stack)
        if place not in self._stacks and len(self._stacks) >= _MOST_STACKS:
            place = (task, stack[-1:])  # where it is, without the way there
        self._codes.update(zip(stack, codes, strict=True))
        self._stacks[place] = self._stacks.get(place, 0.0) + seconds

    def _walk(self, frame: FrameType | None) -> tuple[CodeType, ...]:
        """The code that a thread is in, the outermost first."""
        codes: list[CodeType] = []
        while frame is not None and len(codes) < MOST_FRAMES:
            codes.append(frame.f_code)
            frame = frame.f_back
        codes.reverse()
        return tuple(codes)

    def _measure(self, ident: int, native: int | None) -> tuple[float, float]:
        """The processor time that a thread took, and that since the last look."""
        if native is None:
            return 0.0, 0.0
        if not _HAS_CLOCKS:
            return math.inf, self._interval
        try:
            # The clock of a thread as Linux numbers it. That of pthread would crash if the thread is gone.
            now = time.clock_gettime((~native << 3) | 6)
        except OSError:
            return 0.0, 0.0
        before = self._clocks.get(ident)
        self._clocks[ident] = (native, now)
        settled = self._settled.pop(ident, 0.0)
        return now, now - before[1] - settled if before is not None and before[0] == native else 0.0


_RUN = ThreadSampler.run.__code__
