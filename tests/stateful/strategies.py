"""What Hypothesis draws: jobs of a few stages, and how attempts end.

Jobs are drawn from a collection that is made once, small ones first: a job of its own making would take Hypothesis
longer than all that is done with it, and examples get smaller as well by a smaller job.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from hypothesis import strategies as st

from bndl.schedule.events import JobSpec, Kind, StageSpec

__all__ = ["BITS", "Ending", "JobPlan", "endings", "jobs", "workers"]

#: Bits of a task's number that are its index in its stage.
BITS = 8

#: Few, so that the same ones come back.
workers = st.sampled_from(["a", "b", "c", "d"])


class Ending(NamedTuple):
    """How an attempt ends.

    Attributes:
        kind: how.
        seconds: how long it took, by which tasks are launched in advance or not.
        stored: whether its result is stored, if it need not be.
        missing: how many of its inputs are missing, if they are.
    """

    kind: Kind
    seconds: float
    stored: bool = False
    missing: int = 0


#: Most attempts succeed, or few stages would be passed.
endings = st.sampled_from(
    [
        Ending(Kind.SUCCEEDED, 0.0001),
        Ending(Kind.SUCCEEDED, 0.002),
        Ending(Kind.SUCCEEDED, 0.019),
        Ending(Kind.SUCCEEDED, 0.5),
        Ending(Kind.SUCCEEDED, 0.0001, stored=True),
        Ending(Kind.SUCCEEDED, 0.5, stored=True),
        Ending(Kind.FAILED, 0.002),
        Ending(Kind.FAILED, 0.5),
        Ending(Kind.INPUTS_MISSING, 0.002, missing=1),
        Ending(Kind.INPUTS_MISSING, 0.002, missing=5),
        Ending(Kind.ABANDONED, 0.002),
    ]
)


class StagePlan(NamedTuple):
    """A stage without numbers.

    Attributes:
        size: how many tasks it has.
        inputs: for each task, the parts of stages before that it needs: position of the stage, first, last and one.
        options: the rest of its specification.
        attempts: how often single tasks may be tried.
    """

    size: int
    inputs: tuple[tuple[tuple[int, int, int], ...], ...]
    options: Mapping[str, int]
    attempts: Mapping[int, int]


class JobPlan(NamedTuple):
    """A job without numbers."""

    stages: tuple[StagePlan, ...]
    concurrency: int
    independent: bool

    def number(self, first: int) -> JobSpec:
        """The job, with numbers from ``first`` on for its stages and then itself."""
        starts = [(first + position) << BITS for position in range(len(self.stages))]
        return JobSpec(
            first + len(self.stages),
            tuple(_number(stage, first + position, starts) for position, stage in enumerate(self.stages)),
            concurrency=self.concurrency,
            independent=self.independent,
        )


def _number(stage: StagePlan, number: int, starts: list[int]) -> StageSpec:
    start = starts[number - (starts[0] >> BITS)]
    return StageSpec(
        number,
        range(start, start + stage.size),
        {
            start + index: tuple(
                range(starts[position] + low, starts[position] + high) for position, low, high in parts
            )
            for index, parts in enumerate(stage.inputs)
            if parts
        },
        task_attempts={start + index: attempts for index, attempts in stage.attempts.items()},
        attempts=stage.options["attempts"],
        losses=stage.options["losses"],
        concurrency=stage.options["concurrency"],
        kept=bool(stage.options["kept"]),
        growing=bool(stage.options["growing"]),
    )


def _make_part(random: Random, before: list[tuple[int, StagePlan]]) -> tuple[int, int, int]:
    """All or some of the tasks of a stage before."""
    position, stage = random.choice(before)
    low, high = sorted(random.sample(range(stage.size + 1), 2)) if random.random() < 0.5 else (0, stage.size)
    return position, low, high


def _make_stage(random: Random, before: list[StagePlan], *, is_last: bool) -> StagePlan:
    is_growing = random.random() < 0.15
    size = random.choice([0, 1, 4]) if is_growing else random.choice([1, 1, 2, 2, 3, 4, 5, 8, 25, 50])
    sources = [(position, stage) for position, stage in enumerate(before) if stage.options["kept"]]
    inputs: list[tuple[tuple[int, int, int], ...]] = []
    if sources and not is_growing:
        same = [_make_part(random, sources) for _ in range(random.choice([1, 1, 2]))]
        is_same = random.random() < 0.4
        for _ in range(size):
            own = [_make_part(random, sources) for _ in range(random.choice([0, 1, 1, 2]))]
            inputs.append(tuple(same if is_same else own))
    return StagePlan(
        size,
        tuple(inputs),
        {
            "attempts": random.choice([1, 2, 2, 3]),
            "losses": random.choice([1, 2, 3]),
            "concurrency": random.choice([0, 0, 0, 1, 2, 4]),
            "kept": not is_growing and not is_last and random.random() < 0.8,
            "growing": is_growing,
        },
        {random.randrange(size): random.choice([1, 2, 4])} if size and random.random() < 0.3 else {},
    )


def _make_job(random: Random) -> JobPlan:
    stages: list[StagePlan] = []
    length = random.choice([1, 2, 2, 3, 3, 4])
    for position in range(length):
        stages.append(_make_stage(random, stages, is_last=position == length - 1))
    return JobPlan(tuple(stages), random.choice([0, 0, 0, 1, 3]), random.random() < 0.3)


def _size(job: JobPlan) -> tuple[int, int, int]:
    inputs = sum(len(parts) for stage in job.stages for parts in stage.inputs)
    return len(job.stages), sum(stage.size for stage in job.stages), inputs


_RANDOM = Random(2)  # noqa: S311 - for tests

#: Small ones first, because that is what examples are made smaller to.
jobs = st.sampled_from(sorted((_make_job(_RANDOM) for _ in range(1000)), key=_size))
