"""What tasks wait for before they can be launched, besides the barrier before their stage.

A gate stands for a range of tasks. Tasks of a stage that wait for the same range share one, so n tasks that wait for m
others need n + m links and not n times m; and a gate, like a barrier, is a counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from bndl.schedule.state import Gate, StageState, TaskState
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["close", "count_missing", "find_sources", "open_for", "reopen", "set_up", "weigh_inputs"]


def set_up(scheduler: Scheduler, stage: StageState) -> None:
    """Give the tasks of a stage their gates. All tasks that they wait for are known."""
    consumers: dict[tuple[range, bool], list[TaskState]] = {}
    spec = stage.spec
    for needs, is_order in ((spec.inputs, False), (spec.order, True)):
        for number, ranges in needs.items():
            for numbers in dict.fromkeys(ranges):
                consumers.setdefault((numbers, is_order), []).append(stage.tasks[number])
    # There may be very many gates, so what they hold is held as tuples, which take less than half of what lists do.
    feeds: dict[int, list[Gate]] = {}
    for (numbers, is_order), tasks in consumers.items():
        gate = Gate(numbers, is_order=is_order)
        gate.missing = len(numbers)
        gate.consumers = tuple(tasks)
        for task in tasks:
            task.gates = (*task.gates, gate)
        for number in numbers:
            feeds.setdefault(number, []).append(gate)
    for number, own in feeds.items():
        source = scheduler.tasks[number]
        source.feeds = (*source.feeds, *own)
    # The gates have it all now.
    stage.spec = msgspec.structs.replace(spec, inputs={}, order={})


def count_missing(task: TaskState) -> int:
    """How many of its gates miss something."""
    return sum(gate.missing > 0 for gate in task.gates)


def open_for(task: TaskState) -> Iterator[TaskState]:
    """A task succeeded, or will never have a result. Yields the tasks that now miss one gate less."""
    feeds = task.feeds
    for gate in feeds:
        gate.missing -= 1
        if not gate.missing:
            for consumer in gate.consumers:
                if consumer.state is State.BLOCKED:
                    consumer.missing -= 1
                    yield consumer
    # That it succeeded once stays true, but its result may be lost again.
    if any(gate.is_order for gate in feeds):
        task.feeds = tuple(gate for gate in feeds if not gate.is_order)


def close(gate: Gate) -> Iterator[TaskState]:
    """A result that a gate needs is gone. Yields the tasks that now miss one gate more."""
    gate.missing += 1
    if gate.missing == 1:
        for consumer in gate.consumers:
            if consumer.state is State.BLOCKED:
                consumer.missing += 1
            elif consumer.state is State.READY:
                yield consumer


def reopen(scheduler: Scheduler, gates: Iterable[Gate]) -> list[TaskState]:
    """The done tasks whose results some gates miss, each once: they have to be made again."""
    sources: dict[int, TaskState] = {}
    for gate in gates:
        if gate.missing and not gate.is_order:
            for number in gate.numbers:
                source = scheduler.tasks[number]
                if source.state is State.DONE and not source.available and not source.absent:
                    sources[number] = source
    return list(sources.values())


def find_sources(scheduler: Scheduler, task: TaskState) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Where the inputs of a task are: workers in order of first use, each with the tasks whose results it keeps.

    Under an empty name are the tasks that have no result and will have none.
    """
    sources: dict[str, dict[int, None]] = {}  # ranges may overlap
    for gate in task.gates:
        if gate.is_order:
            continue
        for number in gate.numbers:
            source = scheduler.tasks[number]
            if source.worker is not None:
                sources.setdefault(source.worker.name, {})[number] = None
            elif source.absent:
                sources.setdefault("", {})[number] = None
    return tuple((name, tuple(numbers)) for name, numbers in sources.items())


def weigh_inputs(scheduler: Scheduler, task: TaskState) -> dict[str, int]:
    """How many bytes of the inputs of a task each worker keeps."""
    weights: dict[str, int] = {}
    for gate in task.gates:
        if gate.is_order:
            continue
        for number in gate.numbers:
            source = scheduler.tasks[number]
            if source.worker is not None:
                name = source.worker.name
                weights[name] = weights.get(name, 0) + source.size
    return weights
