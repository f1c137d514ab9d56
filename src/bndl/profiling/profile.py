"""Figures of functions: what was counted or sampled, by job, stage, task and worker.

A ``Part`` has the figures of one place: an attempt on a worker, the rest of a stage on a worker, or what a node did
outside of tasks. A profile is a list of parts; whatever is asked of it, the parts that match are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from bndl.profiling.wire import CallRow, FunctionInfo, SampledStacks, TaskKey

__all__ = ["Cost", "Function", "Part", "Place", "add_calls", "add_samples", "hide_own", "merge", "to_function"]

_K = TypeVar("_K")

_CONTEXT_RUN = "_contextvars.Context.run"
_TASK_CALLER = "Tracer.run"


@dataclass(frozen=True, slots=True)
class Function:
    """A function, the same one on all nodes.

    Attributes:
        path: of its file, without the folder that its module was found in; its module if it is not written in Python.
        line: where it begins; 0 if it is not written in Python.
        name: with its class.
        module: the dotted name of its module.
        file: the whole path on one of the nodes.
    """

    path: str
    line: int
    name: str
    module: str = field(compare=False)
    file: str = field(compare=False)

    def label(self, *, strip_dirs: bool = True) -> str:
        """Its name for people, such as ``bndl/execute/worker.py:83 Worker.execute``."""
        if self.line == 0 and not self.file:
            return f"{self.path}.{self.name}" if self.path else self.name
        return f"{self.path if strip_dirs else self.file}:{self.line} {self.name}"

    def __str__(self) -> str:
        return self.label()


#: Stands for profiling's own functions.
PROFILING = Function("", 0, "(profiling)", "", "")


class Cost:
    """How often a function was called, or called by another, and for how long it ran.

    Attributes:
        calls: how many calls ended.
        primitive: how many of them were not inside of another call of the same function.
        total: seconds, with the functions that it called.
        own: seconds, without them.
    """

    __slots__ = ("calls", "own", "primitive", "total")

    def __init__(self, calls: int = 0, primitive: int = 0, total: float = 0.0, own: float = 0.0) -> None:
        self.calls = calls
        self.primitive = primitive
        self.total = total
        self.own = own

    def add(self, calls: int, primitive: int, total: float, own: float) -> None:
        """Add figures to these."""
        self.calls += calls
        self.primitive += primitive
        self.total += total
        self.own += own

    def __repr__(self) -> str:
        return f"Cost({self.calls}, {self.primitive}, {self.total:.6f}, {self.own:.6f})"


@dataclass(frozen=True, slots=True)
class Place:
    """Where figures are from.

    Attributes:
        worker: the name of the node.
        key: what it was doing.
    """

    worker: str
    key: TaskKey


class Part:
    """The figures of one place.

    Attributes:
        place: which.
        functions: the cost of each.
        edges: the cost of one function called by another, by (caller, callee).
        stacks: seconds by stack, the outermost function first; with sampling only.
    """

    __slots__ = ("edges", "functions", "place", "stacks")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.functions: dict[Function, Cost] = {}
        self.edges: dict[tuple[Function, Function], Cost] = {}
        self.stacks: dict[tuple[Function, ...], float] = {}

    def add(self, other: Part) -> None:
        """Add the figures of another part."""
        for function, cost in other.functions.items():
            _at(self.functions, function).add(cost.calls, cost.primitive, cost.total, cost.own)
        for edge, cost in other.edges.items():
            _at(self.edges, edge).add(cost.calls, cost.primitive, cost.total, cost.own)
        for stack, seconds in other.stacks.items():
            self.stacks[stack] = self.stacks.get(stack, 0.0) + seconds

    def copy(self) -> Part:
        """A part with the same figures."""
        part = Part(self.place)
        part.add(self)
        return part

    @property
    def seconds(self) -> float:
        """All that the functions took themselves."""
        return sum(cost.own for cost in self.functions.values())


def to_function(info: FunctionInfo) -> Function:
    """The function that a node speaks of."""
    path, line, name, module, file = info
    return Function(path, line, name, module, file)


def add_calls(part: Part, rows: Sequence[CallRow], names: dict[int, Function]) -> None:
    """Add what a node counted.

    Args:
        part: to add to.
        rows: what was counted.
        names: the functions of the node by their indices; those that are in the rows are added.
    """
    for row in rows:
        if row.function is not None:
            names[row.index] = to_function(row.function)
    for row in rows:
        function = names.get(row.index)
        if function is None:
            continue
        _at(part.functions, function).add(row.calls, row.primitive, row.total, row.own)
        for index, calls, primitive, total, own in row.callees:
            callee = names.get(index)
            if callee is not None:
                _at(part.edges, (function, callee)).add(calls, primitive, total, own)


def hide_own(part: Part) -> None:
    """Take profiling's own functions out of what a node did outside of tasks.

    A worker calls its tasks through them; what they call is then called by what called them. The time that they took
    themselves is that of one function without figures, ``(profiling)``.
    """
    own = {each for each in part.functions if _is_own(each)}
    # Context.run is how a task is called with its tag; others may call it as well.
    helpers = {callee for caller, callee in part.edges if caller in own and callee.label() == _CONTEXT_RUN}
    hidden = own | helpers
    callers: dict[Function, list[Function]] = {}
    for caller, callee in part.edges:
        callers.setdefault(callee, []).append(caller)
    edges: dict[tuple[Function, Function], Cost] = {}
    for (caller, callee), cost in part.edges.items():
        if callee in helpers and caller in own:
            _at(part.functions, callee).add(-cost.calls, -cost.primitive, -cost.total, -cost.own)
        elif callee not in own:
            visible = _find_visible(caller, callers, hidden)
            if visible is None:
                continue
            _at(edges, (visible, callee)).add(cost.calls, cost.primitive, cost.total, cost.own)
            if visible is not caller:
                _at(edges, (visible, PROFILING)).add(0, 0, -cost.total, 0.0)
        elif caller not in hidden:
            _at(edges, (caller, PROFILING)).add(cost.calls, cost.primitive, cost.total, 0.0)
    part.edges = edges
    part.functions = {
        function: cost
        for function, cost in part.functions.items()
        if function not in own and not (function in helpers and cost.calls <= 0)
    }


def _find_visible(function: Function, callers: dict[Function, list[Function]], own: set[Function]) -> Function | None:
    """The function itself, or what called it through profiling's own functions, as a task is called."""
    seen = {function}
    while function in own:
        above = [each for each in callers.get(function, ()) if each not in seen]
        if not above:
            return None
        function = min(above, key=lambda each: each.name != _TASK_CALLER)
        seen.add(function)
    return function


def _is_own(function: Function) -> bool:
    return function.module == "bndl.profiling" or function.module.startswith("bndl.profiling.")


def add_samples(part: Part, samples: SampledStacks) -> None:
    """Add what a node sampled."""
    functions = [to_function(info) for info in samples.functions]
    in_task = bool(samples.key.job)
    for positions, seconds in samples.stacks:
        stack = tuple(functions[position] for position in positions if not _is_own(functions[position]))
        if not stack or (not in_task and len(stack) < len(positions)):  # profiling itself
            continue
        part.stacks[stack] = part.stacks.get(stack, 0.0) + seconds
        for function in dict.fromkeys(stack):
            _at(part.functions, function).total += seconds
        _at(part.functions, stack[-1]).own += seconds
        for edge in dict.fromkeys(pairwise(stack)):
            _at(part.edges, edge).total += seconds
        if len(stack) > 1:
            _at(part.edges, (stack[-2], stack[-1])).own += seconds


def merge(parts: Iterable[Part]) -> Part:
    """All parts added up."""
    merged = Part(Place("", TaskKey()))
    for part in parts:
        merged.add(part)
    return merged


def _at(costs: dict[_K, Cost], key: _K) -> Cost:
    cost = costs.get(key)
    if cost is None:
        cost = costs[key] = Cost()
    return cost
