"""Exact profiling with yappi: every call is counted and timed.

yappi asks for a tag at each call. The tag is in a context variable, so that asking for it is one call in C, and so that
what a task starts with ``contextvars`` belongs to the task. A tag is used by one thread, for the stages of one name.
When an attempt is over, what its tag has grown by is what the attempt did; nothing of it is running any more, so the
figures are whole.

An attempt can put an end to that: a profile function of its own takes yappi's place in the thread, and at the limit of
recursion yappi cannot ask for a tag and asks no more. So each attempt ends with the call of ``_mark``. If that was not
seen the attempt is left out, and what it broke is mended.

yappi's own functions to read figures are not used: they pause it, and calls that begin or end in a pause upset its
stacks. Reading in one call in C, with no Python code in between, needs no pause.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from itertools import count
from types import CodeType
from typing import Any, TypeVar

from bndl.errors import ProfilerUnavailable
from bndl.execute.current import CurrentTask
from bndl.profiling.aside import current_tag, unseen
from bndl.profiling.places import builtin_info, code_info
from bndl.profiling.wire import CallRow, FunctionInfo, TaskKey

__all__ = ["Tracer", "measure_call"]

T = TypeVar("T")

#: Of a function called by another: its index, calls, primitive calls, total and own seconds.
_Callee = tuple[int, int, int, float, float]
#: Of a function: calls, primitive calls, total and own seconds, and what it called.
_Figures = tuple[int, int, float, float, list[_Callee]]
_ZERO: _Figures = (0, 0, 0.0, 0.0, [])

#: Numbers for tags. An attempt may go on when the tracer that it began under was stopped, so no tracer has another's.
_tags = count(1)
#: How many tags a thread uses. What yappi keeps for a tag is never freed, so further stages share the last.
_MOST_TAGS = 200
#: Calls that are made to measure what one costs.
_CALLS = 2000


class _Tally:
    """What is known of a tag: the figures that were reported already, by the index of the function."""

    __slots__ = ("is_whole", "key", "lock", "marks", "reported", "running", "was_read")

    def __init__(self) -> None:
        #: Whether it was read while its attempt was running.
        self.was_read = False
        self.lock = threading.Lock()
        self.reported: dict[int, _Figures] = {}
        #: How often the end of an attempt was seen.
        self.marks = 0
        #: Whether all calls of the attempt had its tag, as far as is known.
        self.is_whole = True
        #: The attempt that runs under the tag now, or ran last.
        self.key = TaskKey()
        self.running = False


class Tracer:
    """Traces the calls in this process, and says to which task they belong.

    Args:
        clock: ``cpu``, the time that each thread was running, or ``wall``.

    Raises:
        ProfilerUnavailable: yappi is missing, or in use by somebody else.
    """

    name = "yappi"

    def __init__(self, clock: str) -> None:
        #: Tells this tracer from others that this process, or another of its name, has or had.
        self.epoch = time.time_ns()
        self._yappi, self._core = _import()
        if self._yappi.is_running():
            text = "yappi is running already in this process; stop it, or profile without bndl."
            raise ProfilerUnavailable(text)
        self._local = threading.local()
        self._tallies: dict[int, _Tally] = {}
        #: One reader at a time: the garbage collector is off meanwhile.
        self._lock = threading.Lock()
        self._known: set[int] = set()
        #: Calls outside of tasks that yappi counted before they had returned.
        self._outside: dict[int, _Figures] = {}
        self._functions: dict[int, FunctionInfo] = {}
        self.seconds = 0.0
        #: How many attempts were not seen as a whole.
        self.left_out = 0
        #: How yappi gets the tag. Nobody else has it, so the number of its references tells whether yappi still does.
        self._get_tag = current_tag.get
        self._yappi.clear_stats()
        self._yappi.set_clock_type(clock)
        self._yappi.set_tag_callback(self._get_tag)
        self._references = sys.getrefcount(self._get_tag)
        self._yappi.start(builtins=True)
        self._is_on = True

    def run(self, task: CurrentTask, key: TaskKey, call: Callable[[], T]) -> T:
        """Call, and count what it does for a task."""
        tag, tally = self._find_tag(task)
        tally.key = key
        tally.is_whole = True
        tally.running = True
        self._local.ran = (tag, tally)
        context = copy_context()
        context.run(current_tag.set, tag)
        try:
            return context.run(call)
        finally:
            context.run(_mark)
            tally.running = False

    def finish(self) -> list[CallRow] | None:
        """What the attempt that this thread ran last did; None if it was not seen as a whole."""
        began = time.thread_time()
        ran = getattr(self._local, "ran", None)
        if ran is None or not self._is_on:
            return None
        self._local.ran = None
        tag, tally = ran
        with tally.lock:
            marks = tally.marks
            rows = unseen(self._read_new, tag, tally)
            if tally.marks == marks:
                unseen(self._mend, tally)
                unseen(self._read_new, tag, tally)  # what was ended by mending
        if not tally.is_whole:
            self.left_out += 1
            self._known.difference_update(tally.reported)  # their names did not travel
            return None
        self.seconds += time.thread_time() - began
        return rows

    def outside(self) -> list[CallRow]:
        """What this process did outside of tasks, from the start until now."""
        return self._read_all(0, self._outside)

    def running(self) -> list[tuple[TaskKey, list[CallRow]]]:
        """What the attempts that have not ended did so far."""
        found = []
        for tag, tally in list(self._tallies.items()):
            with tally.lock:
                if tally.running:
                    tally.was_read = True
                    found.append((tally.key, self._read_all(tag, tally.reported)))
        return found

    @property
    def running_count(self) -> int:
        """How many attempts have not ended."""
        return sum(tally.running for tally in list(self._tallies.values()))

    @property
    def memory(self) -> int:
        """How many bytes yappi takes."""
        return int(self._yappi.get_mem_usage())

    def stop(self) -> None:
        """Trace no more. The figures can still be read."""
        with self._lock:
            self._is_on = False
            self._yappi.stop()

    def clear(self) -> None:
        """Forget the figures; after ``stop``."""
        self._yappi.clear_stats()
        self._yappi.set_tag_callback(None)

    def remarks(self) -> tuple[str, ...]:
        """What is to be said of the figures."""
        if not self._yappi.is_running():
            return ("yappi was stopped by something else; there is nothing of what was called since then.",)
        if not self.left_out:
            return ()
        what = "1 attempt is" if self.left_out == 1 else f"{self.left_out} attempts are"
        return (f"{what} left out: something profiled in it, as cProfile does, or it went to the limit of recursion.",)

    def _mend(self, tally: _Tally) -> None:
        """Have yappi see this thread again, and ask for tags."""
        tally.is_whole = False
        with self._lock:
            if not (self._is_on and self._yappi.is_running()):
                return
            if sys.getrefcount(self._get_tag) < self._references:
                for each in list(self._tallies.values()):
                    each.is_whole = False
                self._yappi.set_tag_callback(self._get_tag)
            # yappi takes what was called, and returned unseen, for running still. It does not look at what it is that
            # returns, and takes no harm from more returns than there were calls.
            frame = sys._getframe()  # noqa: SLF001 - documented
            for _ in range(2 * sys.getrecursionlimit()):
                self._core._profile_event(frame, "return", None)  # noqa: SLF001 - what yappi has threads begin with

    # Reading

    def _find_tag(self, task: CurrentTask) -> tuple[int, _Tally]:
        tags: dict[tuple[str, str], tuple[int, _Tally]] | None = getattr(self._local, "tags", None)
        if tags is None:
            tags = self._local.tags = {}
        stage = (task.job, task.stage) if len(tags) < _MOST_TAGS else ("", "")
        found = tags.get(stage)
        if found is None:
            tag = next(_tags)
            found = tags[stage] = (tag, _Tally())
            self._tallies[tag] = found[1]
        return found

    def _read(self, tag: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with self._lock:
            collects = gc.isenabled()
            gc.disable()  # a finalizer would call functions, and yappi count them, in the middle of its tables
            try:
                self._core.enum_func_stats(rows.append, {"tag": tag})
            finally:
                if collects:
                    gc.enable()
        return rows

    def _read_new(self, tag: int, tally: _Tally) -> list[CallRow]:
        """What a tag has grown by since the last time.

        This is done for each attempt, and yappi traces it as well. So it calls next to nothing, and makes tuples that
        are encoded as ``CallRow`` is.
        """
        reported = tally.reported
        known = self._known
        was_read = tally.was_read
        tally.was_read = False
        found: list[Any] = []
        for row in self._read(tag):
            index = row[8]
            if row[13] is _MARK:
                tally.marks = row[3]
                continue
            function = None
            if index not in known:
                known.add(index)
                function = self._describe(row)
            if index not in reported:
                reported[index] = (row[3], row[4], row[6], row[7], row[9])
                found += ((index, row[3], row[4], row[6], row[7], row[9], function),)
                continue
            was = reported[index]
            if row[3] == was[0]:  # all that was called has returned, so nothing else is new either
                continue
            reported[index] = (row[3], row[4], row[6], row[7], row[9])
            callees = _subtract_callees(row[9], was[4]) if row[9] else row[9]
            total = row[6] - was[2]
            own = _own_time(total, callees) if was_read else row[7] - was[3]
            found += ((index, row[3] - was[0], row[4] - was[1], total, own, callees, function),)
        return found

    def _read_all(self, tag: int, reported: dict[int, _Figures]) -> list[CallRow]:
        """The same while functions are running, without taking note, and with the names of all functions."""
        raw = self._read(tag)
        _note_unended(raw, reported)
        found = []
        for row in raw:
            if row[13] is _MARK:
                continue
            index = row[8]
            before = reported.get(index, _ZERO)
            old = {callee[0]: callee for callee in before[4]}
            callees = []
            for child, calls, primitive, total, own in row[9]:
                was = old.get(child, (child, 0, 0, 0.0, 0.0))
                callees.append((child, calls - was[1], primitive - was[2], total - was[3], own - was[4]))
            total = row[6] - before[2]
            own = row[7] - before[3]
            calls, primitive = row[3] - before[0], row[4] - before[1]
            if calls == primitive:
                own = _own_time(total, callees)
            found.append(CallRow(index, calls, primitive, total, own, callees, self._describe(row)))
        return found

    def _describe(self, row: tuple[Any, ...]) -> FunctionInfo:
        index = row[8]
        function = self._functions.get(index)
        if function is None:
            descriptor = row[13]
            function = code_info(descriptor) if isinstance(descriptor, CodeType) else builtin_info(row[1], row[0])
            self._functions[index] = function
        return function


def _mark() -> None:
    """An attempt is over."""


_MARK = _mark.__code__


def _subtract_callees(now: list[_Callee], before: list[_Callee]) -> list[_Callee]:
    """By how much the figures of callees have grown. Calls next to nothing, as above."""
    old: dict[int, _Callee] = {}
    for callee in before:
        old[callee[0]] = callee
    found: list[_Callee] = []
    for callee in now:
        index = callee[0]
        if index in old:
            was = old[index]
            if was[1] != callee[1]:
                grown = callee[1] - was[1], callee[2] - was[2], callee[3] - was[3], callee[4] - was[4]
                found += ((index, *grown),)
        else:
            found += (callee,)
    return found


def _own_time(total: float, callees: list[_Callee]) -> float:
    """The own time of a function that was read before it had returned: yappi's lacks some of its callees then."""
    return max(total - sum(callee[3] for callee in callees), 0.0)


def _note_unended(raw: list[tuple[Any, ...]], reported: dict[int, _Figures]) -> None:
    """Take note of what yappi counts as called once because it was asked before the first call had returned.

    It goes on counting from there. So that call counts as reported.
    """
    returned = {child for row in raw for child, _, _, total, _ in row[9] if total > 0}
    for row in raw:
        index = row[8]
        before = reported.get(index, _ZERO)
        known = {callee[0] for callee in before[4]}
        unended = [
            (child, 1, 0, 0.0, 0.0)
            for child, calls, primitive, total, _ in row[9]
            if child not in known and (calls, primitive, total) == (1, 0, 0.0)
        ]
        is_unended = index not in reported and index not in returned and (row[3], row[4], row[6]) == (1, 0, 0.0)
        if unended or is_unended:
            reported[index] = (before[0] + is_unended, *before[1:4], [*before[4], *unended])


def measure_call(clock: str) -> float:
    """About how many seconds yappi adds to a call, measured here and now; 0.0 if it cannot be measured.

    To be called while yappi does not run.
    """
    try:
        yappi, _ = _import()
    except ProfilerUnavailable:
        return 0.0
    if yappi.is_running():
        return 0.0
    plain = _time_calls()
    yappi.clear_stats()
    yappi.set_clock_type(clock)
    yappi.set_tag_callback(current_tag.get)
    yappi.start(builtins=True, profile_threads=False)
    try:
        traced = _time_calls()
    finally:
        yappi.stop()
        yappi.clear_stats()
    return max(traced - plain, 0.0) / _CALLS


def _time_calls() -> float:
    began = time.perf_counter()
    for _ in range(_CALLS):
        _nothing()
    return time.perf_counter() - began


def _nothing() -> None:
    pass


def _import() -> tuple[Any, Any]:
    try:
        import _yappi  # noqa: PLC0415 - only where profiling is used
        import yappi  # noqa: PLC0415
    except ImportError as error:
        text = f"tracing takes yappi, which cannot be imported here ({error}): pip install yappi."
        raise ProfilerUnavailable(text) from error
    return yappi, _yappi
