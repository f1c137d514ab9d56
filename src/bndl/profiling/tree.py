"""Trees of calls, for flame graphs.

Samples have whole stacks, so their tree is what was seen. Tracing knows which function called which, not along which
path, so its tree is unfolded: a function's callees get, on each path to it, the share of their time that the path has
of the function's time. Figures of functions and of calls between two functions are exact; those of longer paths are
not.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from bndl.profiling.profile import Function, Part

__all__ = ["Node", "build_tree", "walk"]

#: What is less than this share of the whole is left out of an unfolded tree.
_LEAST_SHARE = 0.0005
_DEEPEST = 100
_MOST_NODES = 8_000


class Node:
    """A function on a path of calls.

    Attributes:
        function: which; None at the root.
        seconds: with the functions that it called.
        children: those, by function.
    """

    __slots__ = ("children", "function", "seconds")

    def __init__(self, function: Function | None, seconds: float = 0.0) -> None:
        self.function = function
        self.seconds = seconds
        self.children: dict[Function, Node] = {}

    @property
    def own(self) -> float:
        """Seconds in the function itself."""
        return max(self.seconds - sum(child.seconds for child in self.children.values()), 0.0)


def build_tree(part: Part, most_nodes: int = _MOST_NODES) -> Node:
    """The tree of all calls.

    What a part calls that is counted in other parts, as a worker calls what its tasks do, is left out, with its time.
    """
    return _from_stacks(part) if part.stacks else _unfold(part, most_nodes)


def walk(node: Node, path: tuple[Function, ...] = ()) -> Iterator[tuple[tuple[Function, ...], Node]]:
    """Every node below, with the path to it."""
    for function, child in node.children.items():
        below = (*path, function)
        yield below, child
        yield from walk(child, below)


def _from_stacks(part: Part) -> Node:
    root = Node(None)
    for stack, seconds in part.stacks.items():
        root.seconds += seconds
        node = root
        for function in stack:
            child = node.children.get(function)
            if child is None:
                child = node.children[function] = Node(function)
            child.seconds += seconds
            node = child
    return root


def _unfold(part: Part, most_nodes: int) -> Node:
    callees: dict[Function, list[tuple[float, Function]]] = {}
    called: dict[Function, float] = {}
    for (caller, callee), cost in part.edges.items():
        if caller != callee and cost.total > 0:
            callees.setdefault(caller, []).append((cost.total, callee))
            called[callee] = called.get(callee, 0.0) + cost.total
    # A function that has not returned has no time yet, but its callees do.
    totals = {
        function: max(cost.total, sum(seconds for seconds, _ in callees.get(function, ())))
        for function, cost in part.functions.items()
    }
    root = Node(None)
    # What nobody was seen calling stands at the bottom: the first function of a thread or of a task.
    for function, seconds in totals.items():
        rest = seconds - called.get(function, 0.0)
        if rest > 0:
            root.children[function] = Node(function, rest)
            root.seconds += rest
    least = root.seconds * _LEAST_SHARE
    for path, node in _expand(root, totals, callees, least, most_nodes):
        _take_out(root, path, node.seconds)
    root.children = {function: node for function, node in root.children.items() if node.seconds > least}
    return root


def _expand(
    root: Node,
    totals: dict[Function, float],
    callees: dict[Function, list[tuple[float, Function]]],
    least: float,
    most_nodes: int,
) -> list[tuple[tuple[Function, ...], Node]]:
    """Add callees to the nodes, those with most time first. Returns nodes of functions that have no figures here."""
    order = count()
    heap: list[tuple[float, int, Node, tuple[Function, ...]]] = [
        (-node.seconds, next(order), node, (function,)) for function, node in root.children.items()
    ]
    heapify(heap)
    elsewhere: list[tuple[tuple[Function, ...], Node]] = []
    for _ in range(most_nodes):
        if not heap:
            break
        _, _, node, path = heappop(heap)
        function = path[-1]
        if function not in totals:
            elsewhere.append((path, node))
        elif totals[function] and len(path) < _DEEPEST:
            share = min(node.seconds / totals[function], 1.0)
            left = node.seconds
            for total, callee in sorted(callees.get(function, ()), key=lambda entry: -entry[0]):
                seconds = min(total * share, left)
                if seconds > least and callee not in path:
                    left -= seconds
                    child = node.children[callee] = Node(callee, seconds)
                    heappush(heap, (-seconds, next(order), child, (*path, callee)))
    return elsewhere


def _take_out(root: Node, path: tuple[Function, ...], seconds: float) -> None:
    root.seconds -= seconds
    node = root
    for function in path[:-1]:
        node = node.children[function]
        node.seconds -= seconds
    del node.children[path[-1]]
