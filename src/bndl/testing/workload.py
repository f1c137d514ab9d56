"""Jobs drawn from a seed, whose results are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bndl.driver.jobs import Job, Stage
from bndl.driver.options import Retry
from bndl.execute.current import current_task

__all__ = ["Drawn", "Effect", "Item", "draw_items", "draw_job", "effects", "work"]


class Effect(NamedTuple):
    """That the function of a task was called."""

    task: int
    attempt: int
    worker: str


class Item(NamedTuple):
    """What a task of these jobs is to do.

    Attributes:
        value: its own part of its result.
        fails: in how many of its first attempts it raises.
        size: how many bytes its result has besides.
        padding: makes it larger.
        inputs: results of other tasks.
        lists: lists of results of other tasks, where those that there are none of are left out.
    """

    value: int
    fails: int = 0
    size: int = 0
    padding: bytes = b""
    inputs: Sequence[Any] = ()
    lists: Sequence[Any] = ()


class Drawn(NamedTuple):
    """A job, and what is to come of it.

    Attributes:
        job: the job.
        values: the value of each task that is to succeed, by the task's name.
        doomed: the names of the tasks that are to fail, which is tolerated.
    """

    job: Job
    values: dict[str, int]
    doomed: frozenset[str] = frozenset()


#: All calls of ``work`` in this process, to be cleared by whoever wants to know.
effects: list[Effect] = []

#: Seconds that an attempt may take of the stages that limit it: most take less, some take longer.
_TIMEOUT = 1.2

#: In how many attempts a task raises that always fails.
_ALWAYS = 1000


def work(item: Item) -> tuple[int, bytes]:
    """Add the item's value and those of its inputs."""
    task = current_task()
    effects.append(Effect(task.number, task.attempt, task.worker))
    if task.attempt <= item.fails:
        raise ValueError(f"{task.name} does not succeed at once")
    total = item.value + sum(value for value, _ in item.inputs)
    return total + sum(value for values in item.lists for value, _ in values), bytes(item.size)


def draw_items(generator: random.Random, count: int) -> list[Item]:
    """Items without inputs: most small, some that fail once, some with large arguments or results."""
    fails = generator.choice((0.0, 0.0, 0.1))
    large = generator.choice((0.0, 0.2, 1.0))
    return [
        Item(
            generator.randrange(1000),
            int(generator.random() < fails),
            generator.randrange(10_000) if generator.random() < large else 0,
            bytes(generator.randrange(5_000)) if generator.random() < large / 2 else b"",
        )
        for _ in range(count)
    ]


class _Drawing:
    """A job that is being drawn: its stages, and the values of their tasks; None for those that fail."""

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.job = Job(f"job {generator.randrange(1000)}", retry=self._draw_retry())
        self.values: dict[str, list[int | None]] = {}

    def add_stage(self, position: int) -> None:
        """Add a stage of items that use results of the stages before."""
        generator = self.random
        items = draw_items(generator, generator.choice((1, 3, 8, 20, 40)))
        tolerated = generator.choice((0, 0, 0, 2))
        for index in generator.sample(range(len(items)), min(tolerated, len(items) - 1)):
            items[index] = items[index]._replace(fails=_ALWAYS)
        values: list[int | None] = []
        for index, item in enumerate(items):
            refs, lists, more = self._draw_inputs(index, len(items))
            items[index] = item._replace(inputs=refs, lists=lists)
            values.append(None if item.fails == _ALWAYS else item.value + more)
        stage = self.job.stage(
            work,
            items,
            name=f"stage-{position}",
            concurrency=generator.choice((None, None, 3)),
            priority=generator.choice((None, None, 1)),
            max_failures=tolerated or None,
            speculate=generator.choice((None, None, True)),
            timeout=generator.choice((None, None, _TIMEOUT)),
            locality=generator.choice((None, None, _locality(generator.randrange(5)))),
            **self._draw_order(),
        )
        self.values[stage.name] = values
        self._order_tasks(stage, values)

    def _draw_retry(self) -> Retry:
        generator = self.random
        return Retry(
            attempts=2,
            backoff=generator.choice((0.0, 0.0, 0.2)),
            elsewhere=generator.random() < 0.8,  # noqa: PLR2004
        )

    def _draw_order(self) -> dict[str, Any]:
        """With a barrier to all before, to some, or to none."""
        kind = self.random.randrange(4)
        if kind == 0:
            return {"barrier": False}
        if kind == 1 and self.job.stages:
            return {"after": self.random.sample(self.job.stages, self.random.randrange(1, len(self.job.stages) + 1))}
        return {}

    def _draw_inputs(self, index: int, parts: int) -> tuple[list[Any], list[Any], int]:
        """Refs to results of earlier stages, lists of them, and the sum of what they stand for."""
        refs: list[Any] = []
        lists: list[Any] = []
        total = 0
        for stage in self.job.stages:
            known = self.values[stage.name]
            if stage is self.job.stages[-1]:
                mine = stage.split(parts)[index]
                lists.append(mine)
                total += sum(known[position] or 0 for position in mine.indices)
            elif self.random.random() < 0.3:  # noqa: PLR2004 - some, not all
                position = self.random.randrange(len(known))
                value = known[position]
                if value is not None:
                    refs.append(stage.results[position])
                    total += value
        return refs, lists, total

    def _order_tasks(self, stage: Stage, values: list[int | None]) -> None:
        """Let some tasks come after others of their stage."""
        if self.random.random() < 0.3:  # noqa: PLR2004 - some, not all
            for index in range(1, len(stage.tasks)):
                before = self.random.randrange(index)
                if self.random.random() < 0.2 and values[before] is not None:  # noqa: PLR2004 - some, not all
                    stage.tasks[index].after(stage.tasks[before])


def draw_job(generator: random.Random) -> Drawn:
    """A job of one to four stages that form a graph."""
    drawing = _Drawing(generator)
    for position in range(generator.randrange(1, 5)):
        drawing.add_stage(position)
    named = {
        task.name: value
        for stage in drawing.job.stages
        for task, value in zip(stage.tasks, drawing.values[stage.name], strict=True)
    }
    known = {name: value for name, value in named.items() if value is not None}
    last = {task.name for task in drawing.job.stages[-1].tasks}
    return Drawn(
        drawing.job,
        {name: value for name, value in known.items() if name in last},
        frozenset(named.keys() - known.keys()),
    )


def _locality(salt: int) -> Callable[[Sequence[Any]], list[tuple[Any, int]]]:
    """Prefer some workers to others, by their names."""

    def score(workers: Sequence[Any]) -> list[tuple[Any, int]]:
        return [(worker, (sum(worker.name.encode()) + salt) % 3) for worker in workers]

    return score
