"""Jobs drawn from a seed, whose results are known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from bndl.driver.jobs import Job, Stage
from bndl.execute.current import current_task

__all__ = ["Effect", "Item", "draw_items", "draw_job", "effects", "work"]


class Effect(NamedTuple):
    """That the function of a task was called."""

    task: int
    attempt: int
    worker: str


class Item(NamedTuple):
    """What a task of these jobs is to do.

    Attributes:
        value: its own part of its result.
        fails: whether it raises in its first attempt.
        size: how many bytes its result has besides.
        padding: makes it larger.
        inputs: results of other tasks.
    """

    value: int
    fails: bool = False
    size: int = 0
    padding: bytes = b""
    inputs: Sequence[Any] = ()


#: All calls of ``work`` in this process, to be cleared by whoever wants to know.
effects: list[Effect] = []


def work(item: Item) -> tuple[int, bytes]:
    """Add the item's value and those of its inputs."""
    task = current_task()
    effects.append(Effect(task.number, task.attempt, task.worker))
    if item.fails and task.attempt == 1:
        raise ValueError(f"{task.name} does not succeed at once")
    return item.value + sum(value for value, _ in item.inputs), bytes(item.size)


def draw_items(generator: random.Random, count: int) -> list[Item]:
    """Items without inputs: most small, some that fail once, some with large arguments or results."""
    fails = generator.choice((0.0, 0.0, 0.1))
    large = generator.choice((0.0, 0.2, 1.0))
    return [
        Item(
            generator.randrange(1000),
            generator.random() < fails,
            generator.randrange(10_000) if generator.random() < large else 0,
            bytes(generator.randrange(5_000)) if generator.random() < large / 2 else b"",
        )
        for _ in range(count)
    ]


def draw_job(generator: random.Random) -> tuple[Job, dict[str, int]]:
    """A job of one to three stages, and the value of each task of the last one by the task's name."""
    job = Job(f"job {generator.randrange(1000)}", attempts=2)
    values: dict[int, list[int]] = {}
    for position in range(generator.randrange(1, 4)):
        items = draw_items(generator, generator.choice((1, 3, 8, 20, 40)))
        sources = [_draw_inputs(generator, job.stages, values, index, len(items)) for index in range(len(items))]
        stage = job.stage(
            work,
            [item._replace(inputs=refs) for item, (refs, _) in zip(items, sources, strict=True)],
            name=f"stage-{position}",
            concurrency=generator.choice((None, None, 3)),
        )
        values[id(stage)] = [item.value + more for item, (_, more) in zip(items, sources, strict=True)]
    last = job.stages[-1]
    return job, {task.name: value for task, value in zip(last.tasks, values[id(last)], strict=True)}


def _draw_inputs(
    generator: random.Random, stages: Sequence[Stage], values: dict[int, list[int]], index: int, parts: int
) -> tuple[list[Any], int]:
    """Refs to results of earlier stages, and the sum of what they stand for."""
    refs: list[Any] = []
    total = 0
    for stage in stages:
        known = values[id(stage)]
        if stage is stages[-1]:
            mine = stage.split(parts)[index]
            refs += list(mine)
            total += sum(known[position] for position in mine.indices)
        elif generator.random() < 0.3:  # noqa: PLR2004 - some, not all
            position = generator.randrange(len(known))
            refs.append(stage.results[position])
            total += known[position]
    return refs, total
