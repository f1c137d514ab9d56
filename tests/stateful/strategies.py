"""What Hypothesis draws: jobs of a few stages, and how attempts end.

Jobs are drawn from a collection that is made once, small ones first: a job of its own making would take Hypothesis
longer than all that is done with it, and examples get smaller as well by a smaller job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from bndl.schedule.events import JobSpec, Kind, RetryRule, StageSpec

__all__ = ["BITS", "Ending", "JobPlan", "endings", "jobs", "scores", "workers"]

#: Bits of a task's number that are its index in its stage.
BITS = 8

#: Few, so that the same ones come back.
workers = st.sampled_from(["a", "b", "c", "d"])


#: How much workers are wanted, or not at all.
SCORES: list[Mapping[str, int]] = [{}, {"a": -1}, {"a": 1}, {"b": 2, "c": 1, "d": -1}, {"a": -1, "b": -1, "c": -1}]

scores = st.sampled_from(SCORES)

RETRIES = [RetryRule(), RetryRule(), RetryRule(elsewhere=False), RetryRule(backoff=0.04), RetryRule(backoff=1.0)]


class Ending(NamedTuple):
    """How an attempt ends.

    Attributes:
        kind: how.
        seconds: how long it took, by which tasks are launched in advance or not.
        stored: whether its result is stored, if it need not be.
        missing: how many of its inputs are missing, if they are.
        size: of the result, in bytes.
        hopeless: whether it is not to be tried again.
    """

    kind: Kind
    seconds: float
    stored: bool = False
    missing: int = 0
    size: int = 0
    hopeless: bool = False


#: Most attempts succeed, or few stages would be passed.
endings = st.sampled_from(
    [
        Ending(Kind.SUCCEEDED, 0.0001),
        Ending(Kind.SUCCEEDED, 0.002),
        Ending(Kind.SUCCEEDED, 0.019),
        Ending(Kind.SUCCEEDED, 0.5),
        Ending(Kind.SUCCEEDED, 0.0001, stored=True, size=1000),
        Ending(Kind.SUCCEEDED, 0.5, stored=True, size=1_000_000),
        Ending(Kind.FAILED, 0.002),
        Ending(Kind.FAILED, 0.5),
        Ending(Kind.FAILED, 0.5, hopeless=True),
        Ending(Kind.INPUTS_MISSING, 0.002, missing=1),
        Ending(Kind.INPUTS_MISSING, 0.002, missing=5),
        Ending(Kind.ABANDONED, 0.002),
    ]
)


class Part(NamedTuple):
    """Tasks of a stage: the position of the stage, the first one, and the one after the last."""

    stage: int
    first: int
    end: int


class StagePlan(NamedTuple):
    """A stage without numbers.

    Attributes:
        size: how many tasks it has.
        spec: its specification, without what has numbers in it.
        inputs: for each task, the parts of stages before whose results it needs.
        order: the parts that single tasks are to come after.
        attempts: how often single tasks may be tried.
        priorities: how urgent single tasks are.
        after: the positions of the stages that are to be done before; None for all before it.
    """

    size: int
    spec: StageSpec
    inputs: tuple[tuple[Part, ...], ...] = ()
    order: Mapping[int, tuple[Part, ...]] = {}
    attempts: Mapping[int, int] = {}
    priorities: Mapping[int, int] = {}
    after: tuple[int, ...] | None = None


class JobPlan(NamedTuple):
    """A job without numbers."""

    stages: tuple[StagePlan, ...]
    concurrency: int
    independent: bool

    def number(self, first: int) -> JobSpec:
        """The job, with numbers from ``first`` on for its stages and then itself."""
        stages = [_number(stage, position, first) for position, stage in enumerate(self.stages)]
        number = first + len(self.stages)
        return JobSpec(number, tuple(stages), concurrency=self.concurrency, independent=self.independent)


def _number(stage: StagePlan, position: int, first: int) -> StageSpec:
    start = (first + position) << BITS

    def ranges(parts: tuple[Part, ...]) -> tuple[range, ...]:
        starts = [(first + part.stage) << BITS for part in parts]
        return tuple(range(low + part.first, low + part.end) for low, part in zip(starts, parts, strict=True))

    return msgspec.structs.replace(
        stage.spec,
        stage=first + position,
        tasks=range(start, start + stage.size),
        inputs={start + index: ranges(parts) for index, parts in enumerate(stage.inputs) if parts},
        order={start + index: ranges(parts) for index, parts in stage.order.items()},
        task_attempts={start + index: attempts for index, attempts in stage.attempts.items()},
        task_priorities={start + index: priority for index, priority in stage.priorities.items()},
        after=None if stage.after is None else tuple(first + each for each in stage.after),
    )


class _Maker:
    """Makes up jobs.

    Args:
        seed: the same one makes the same jobs.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - for tests

    def _is(self, chance: float) -> bool:
        return self._random.random() < chance

    def job(self) -> JobPlan:
        stages: list[StagePlan] = []
        length = self._random.choice([1, 2, 2, 3, 3, 4])
        is_independent = self._is(0.3)
        for position in range(length):
            stages.append(self._stage(stages, is_last=position == length - 1, is_independent=is_independent))
        return JobPlan(tuple(stages), self._random.choice([0, 0, 0, 1, 3]), is_independent)

    def _stage(self, before: list[StagePlan], *, is_last: bool, is_independent: bool) -> StagePlan:
        choice = self._random.choice
        is_growing = self._is(0.15)
        size = choice([0, 1, 4]) if is_growing else choice([1, 1, 2, 2, 3, 4, 5, 8, 25, 50])
        spec = StageSpec(
            0,
            range(0),
            attempts=choice([1, 2, 2, 3]),
            losses=choice([1, 2, 3]),
            concurrency=choice([0, 0, 0, 1, 2, 4]),
            kept=not is_growing and not is_last and self._is(0.8),
            growing=is_growing,
            retry=choice(RETRIES),
            priority=choice([0, 0, 0, 1, -1]),
            timeout=choice([0.0, 0.0, 0.0, 1.0]),
            scores=choice(SCORES) if is_independent and self._is(0.4) else {},
            max_failures=choice([0, 0, 1, 50]),
            speculate=self._is(0.3),
        )
        singles = range(size if self._is(0.3) else 0)
        return StagePlan(
            size,
            spec,
            () if is_growing else self._inputs(size, before),
            {} if is_growing else self._order(size, before),
            {index: choice([1, 2, 4]) for index in singles if self._is(0.3)},
            {index: choice([1, 2, -2]) for index in singles if self._is(0.3)},
            tuple(each for each in range(len(before)) if self._is(0.3)) if self._is(0.3) else None,
        )

    def _inputs(self, size: int, before: list[StagePlan]) -> tuple[tuple[Part, ...], ...]:
        """The same for all tasks, or for each something else."""
        sizes = {position: stage.size for position, stage in enumerate(before) if stage.spec.kept}
        if not sizes:
            return ()
        if self._is(0.4):
            return (tuple(self._parts(sizes, self._random.choice([1, 1, 2]))),) * size
        return tuple(tuple(self._parts(sizes, self._random.choice([0, 1, 1, 2]))) for _ in range(size))

    def _order(self, size: int, before: list[StagePlan]) -> Mapping[int, tuple[Part, ...]]:
        """Some come after others, of a stage before or of their own."""
        sizes = {position: stage.size for position, stage in enumerate(before) if not stage.spec.growing}
        order = {}
        for index in range(size if self._is(0.2) else 0):
            if self._is(0.4) and (sizes or index):
                own = {len(before): index} if index else {}
                order[index] = tuple(self._parts({**sizes, **own}, 1))
        return order

    def _parts(self, sizes: Mapping[int, int], number: int) -> Iterator[Part]:
        for _ in range(number):
            position, size = self._random.choice(list(sizes.items()))
            first, end = sorted(self._random.sample(range(size + 1), 2)) if self._is(0.5) else (0, size)
            yield Part(position, first, end)


def _size(job: JobPlan) -> tuple[int, int, int]:
    inputs = sum(len(parts) for stage in job.stages for parts in stage.inputs)
    return len(job.stages), sum(stage.size for stage in job.stages), inputs


_MAKER = _Maker(2)

#: Small ones first, because that is what examples are made smaller to.
jobs = st.sampled_from(sorted((_MAKER.job() for _ in range(1000)), key=_size))
