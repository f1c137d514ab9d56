"""Whether the tasks of a job can all be executed, given what each has to wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bndl.schedule.events import StageSpec

__all__ = ["find_stuck"]

#: A task, a gate (a range of tasks), or the opening ("o") or the end ("e") of a stage.
_Node = int | range | tuple[str, int]


def find_stuck(stages: Sequence[StageSpec]) -> int | None:
    """A task that would wait for itself in the end, or None if there is none.

    What has nothing left to wait for is taken away until nothing is left (Kahn, Communications of the ACM 5, 1962,
    p. 558). Without waits of single tasks for each other there is nothing to look for: stages wait for earlier ones.
    """
    if not any(stage.order for stage in stages):
        return None
    waits: dict[_Node, int] = {}
    followers: dict[_Node, list[_Node]] = {}
    gates: dict[range, None] = {}

    def link(before: Iterable[_Node], after: _Node) -> None:
        for node in before:
            waits[after] = waits.get(after, 0) + 1
            followers.setdefault(node, []).append(after)

    for position, stage in enumerate(stages):
        opening: _Node = ("o", stage.stage)
        end: _Node = ("e", stage.stage)
        earlier = [each.stage for each in stages[:position]] if stage.after is None else stage.after
        link([("e", number) for number in earlier], opening)
        for task in stage.tasks:
            needed = [*_ranges(stage.inputs, task), *_ranges(stage.order, task)]
            link([opening, *needed], task)
            gates.update(dict.fromkeys(needed))
        link([opening, *stage.tasks], end)
    for gate in gates:
        link(gate, gate)
    free: list[_Node] = [("o", stage.stage) for stage in stages if ("o", stage.stage) not in waits]
    while free:
        for node in followers.get(free.pop(), ()):
            waits[node] -= 1
            if not waits[node]:
                free.append(node)
    return next((node for node, count in waits.items() if count and isinstance(node, int)), None)


def _ranges(needs: Mapping[int, tuple[range, ...]], task: int) -> list[range]:
    return [numbers for numbers in needs.get(task, ()) if numbers]
