"""Faults drawn from a seed, and what has to be true whatever they are."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from bndl.driver.execution import StageRun
from bndl.driver.jobs import Job
from bndl.driver.tasks import Task
from bndl.errors import TaskCancelled, TaskFailed, WorkerLost
from bndl.execute.slots import Prepared
from bndl.schedule.instructions import TaskOutcome
from bndl.testing.runs import Growing, Run
from bndl.testing.workload import Drawn, draw_items, draw_job, effects, work
from bndl.testing.world import SMALL, World

__all__ = ["Plan"]

#: After a cut the slower side gives up after this many leases, and is connected again after so many seconds.
_SLOWEST_LEASE = 2.25
_RECONNECT = 2.0
#: Which part of the attempts takes longer, and by how many seconds.
_ODD = 0.02
_ODD_SECONDS = 1.0
#: How many jobs are begun at most.
_MOST_RUNS = 5
#: How many times a task may be lost with its worker before it fails.
_LOSSES = 3
#: How many times a task may be tried.
_ATTEMPTS = 2


class Plan:
    """A world, work and faults, all from one seed.

    Args:
        seed: of everything.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = generator = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self._means: dict[int, float] = {}
        self.world = World(
            generator.getrandbits(32),
            workers=generator.randrange(1, 6),
            concurrency=generator.randrange(1, 4),
            duration=self._duration,
            delay=generator.choice(((0.0001, 0.002), (0.001, 0.05))),
            is_stubborn=self._is_stubborn,
        )
        #: Which part of the attempts does not end when it is interrupted, so that its worker ends.
        self._stubborn = generator.choice((0.0, 0.0, 0.2))
        #: When the last fault is over, but for workers that end themselves.
        self.calm = 0.0
        #: Runs that were cancelled, and whether the driver heard of it before their end.
        self._cancelled: dict[Run, bool] = {}
        #: Runs of which single tasks were cancelled.
        self._meddled: set[Run] = set()

    def _duration(self, generator: random.Random, _worker: str, prepared: Prepared) -> float:
        """Tasks of one stage take about the same time, but for a few."""
        seconds = self._mean(prepared.attempt.task >> 32) * generator.uniform(0.5, 1.5)
        return seconds + (generator.random() < _ODD) * _ODD_SECONDS

    def _is_stubborn(self, _: Prepared) -> bool:
        return self._random.random() < self._stubborn

    def _mean(self, stage: int) -> float:
        if stage not in self._means:
            self._means[stage] = self._random.choice((0.0005, 0.005, 0.05, 0.5))
        return self._means[stage]

    def execute(self) -> None:
        """Run it, and assert all that has to be true."""
        effects.clear()
        world = self.world
        generator = self._random
        horizon = generator.choice((0.5, 2.0, 5.0))
        self._draw_faults(horizon)
        runs: list[tuple[Run, Drawn]] = []
        while not runs or (world.time.now() < horizon and len(runs) < _MOST_RUNS):
            if generator.random() < 0.2:  # noqa: PLR2004 - some, not all
                runs.append(self._grow())
            else:
                drawn = draw_job(generator)
                runs.append((world.submit(drawn.job), drawn))
            if generator.random() < 0.1:  # noqa: PLR2004 - seldom
                self._cancel_later(runs[-1][0])
            if generator.random() < 0.1:  # noqa: PLR2004 - seldom
                self._cancel_a_task_later(runs[-1][0])
            world.sleep(generator.uniform(0.0, 0.4 * horizon))
        slack = _SLOWEST_LEASE * SMALL.lease + _RECONNECT + 3.0 + 2.0 * sum(self._most_work(run) for run, _ in runs)
        begun = world.time.now()
        for run, _ in runs:
            self._wait_end(run, begun, slack)
        world.sleep(max(self.calm - world.time.now(), 0.0) + _RECONNECT + 1.0)
        for run, drawn in runs:
            self._check(run, drawn)
            run.execution.release()
        self._check_effects()
        world.wait(lambda: not world.leftovers(), _SLOWEST_LEASE * SMALL.lease + _RECONNECT, "nothing to be left")

    def _wait_end(self, run: Run, begun: float, slack: float) -> None:
        """Wait for the end of a run until so long after the last fault, which may be yet to come."""
        world = self.world
        now = world.time.now
        world.wait(
            lambda: run.ended or now() > max(self.calm, begun, world.last_end) + slack, math.inf, f"the end of {run!r}"
        )
        world.wait(lambda: run.ended, 0.0, f"the end of {run!r}")

    def _most_work(self, run: Run) -> float:
        """How many seconds a run takes one slot at most, if nothing is made again."""
        if isinstance(run, Growing):
            return self._most_seconds(run.execution.stages[0], len(run.tasks))
        return sum(self._most_seconds(stage, len(stage.tasks)) for stage in run.execution.stages)

    def _most_seconds(self, stage: StageRun, tasks: int) -> float:
        return tasks * (1.5 * self._mean(stage.number) + 2.0 * _ODD * _ODD_SECONDS) + _ODD_SECONDS

    def _grow(self) -> tuple[Growing, Drawn]:
        """A job to which tasks are added now and then."""
        run = self.world.grow(work, attempts=2)
        items = draw_items(self._random, 40)
        for first in range(0, 40, 10):
            run.add(items[first : first + 10])
            self.world.sleep(self._random.uniform(0.0, 0.5))
        run.close()
        values = {task.name: item.value for task, item in zip(run.tasks, items, strict=True)}
        return run, Drawn(Job("grown"), values)

    def _cancel_later(self, run: Run) -> None:
        def note() -> None:
            self._cancelled[run] = not run.ended

        def cancel() -> None:
            if not run.ended:
                self._cancelled[run] = False
                self.world.driver_loop.post(note)  # it comes right before the cancellation, if the driver is frozen too
                run.execution.cancel("the plan says so")

        self.world.time.call_later(self._random.uniform(0.0, 2.0), cancel)

    def _cancel_a_task_later(self, run: Run) -> None:
        def cancel() -> None:
            if not run.ended:
                stage = self._random.choice(run.execution.stages)
                tasks = list(stage.tasks.values())
                if tasks and self._random.choice(tasks).cancel("the plan says so"):
                    self._meddled.add(run)

        self.world.time.call_later(self._random.uniform(0.0, 2.0), cancel)

    # Faults

    def _draw_faults(self, horizon: float) -> None:
        generator = self._random
        kinds: list[Callable[[], float]] = [self._kill, self._freeze, self._cut, self._join, self._replace]
        for _ in range(generator.choice((0, 1, 2, 3, 4))):
            at = generator.uniform(0.05, horizon)
            self.calm = max(self.calm, at)
            self.world.time.call_at(at, partial(self._strike, generator.choice(kinds)))
        self.world.time.call_at(horizon, self._join_if_alone)
        self.calm = max(self.calm, horizon)

    def _strike(self, fault: Callable[[], float]) -> None:
        if self.world.workers:
            self.calm = max(self.calm, self.world.time.now() + fault())

    def _some_worker(self) -> str:
        return self._random.choice(list(self.world.workers))

    def _kill(self) -> float:
        self.world.kill(self._some_worker())
        return 0.0

    def _replace(self) -> float:
        """A worker dies and another one is started, with the same name or with a new one."""
        name = self._some_worker()
        self.world.kill(name)
        self.world.add_worker(name if self._random.random() < 0.5 else None)  # noqa: PLR2004 - a coin
        return 0.0

    def _join(self) -> float:
        self.world.add_worker()
        return 0.0

    def _join_if_alone(self) -> None:
        if not self.world.workers:
            self.world.add_worker()

    def _freeze(self) -> float:
        """A node stands still for less or more than the lease."""
        name = self._random.choice([World.DRIVER, *self.world.workers])
        seconds = self._random.uniform(0.1, 3.0 * SMALL.lease)
        self.world.freeze(name)

        def thaw() -> None:
            if name == World.DRIVER or name in self.world.workers:
                self.world.thaw(name)

        self.world.time.call_later(seconds, thaw)
        return seconds

    def _cut(self) -> float:
        """Some nodes, maybe the driver, are cut off for less or more than the lease."""
        nodes = [World.DRIVER, *self.world.workers]
        seconds = self._random.uniform(0.1, 4.0 * SMALL.lease)
        names = set(self._random.sample(nodes, self._random.randrange(1, len(nodes))))
        others = set(nodes[1:]) - names if self._random.random() < 0.3 else None  # noqa: PLR2004 - some, not all
        self.world.cut(names, others)
        self.world.time.call_later(seconds, self.world.heal)
        return seconds

    # What has to be true

    def _check(self, run: Run, drawn: Drawn) -> None:
        if isinstance(run.error, TaskCancelled):
            assert run in self._cancelled, f"{run!r} ended with {run.error!r}"
        elif self._cancelled.get(run):
            raise AssertionError(f"{run!r} was cancelled and ended with {run.error!r}")
        elif run.error is not None:
            self._check_failure(run)
        elif run not in self._meddled:
            succeeded = {task.name for task in run.settled if task.outcome is TaskOutcome.SUCCEEDED}
            assert not succeeded & drawn.doomed
            others = [task for task in run.settled if task.name not in succeeded | drawn.doomed]
            odd = [task for task in others if not (task.is_tolerated and _may_fail(task))]
            assert not odd, odd
            without = {task.name for task in others}
            values = {name: value for name, value in drawn.values.items() if name not in without}
            results = {task.name: task for task in run.settled if task.name in values}
            assert len(results) == len(values), f"{len(results)} of {len(values)} results came"
            wrong = [task.name for task in results.values() if task.result[0] != values[task.name]]
            assert not wrong, f"the results of {wrong} are wrong"
        stages = run.execution.stages
        tasks = [task for stage in stages for task in stage.tasks.values()]
        missed = [task for task in tasks if task.outcome is None]
        assert not missed, f"these were never settled: {missed}"
        if run.error is None:
            assert Counter(map(id, tasks)).keys() <= set(map(id, run.settled))

    def _check_failure(self, run: Run) -> None:
        """The good reasons to fail: lost with a worker too often, out of time, or an input that was cancelled.

        Besides, a task raises in its first attempt only, and may be tried twice; or it always raises, and its stage
        tolerates as many tasks as do. So it takes one of these reasons, in this task or another one, for more to fail.
        """
        failed: list[Task] = [
            task for task in run.settled if task.outcome is TaskOutcome.FAILED and not task.is_tolerated
        ]
        assert len(failed) == 1, f"{run!r} ended with {run.error!r}"
        (task,) = failed
        assert isinstance(run.error, TaskFailed), run.error
        if isinstance(run.error.__cause__, WorkerLost):
            lost = sum(record.outcome == "lost" for record in task.attempts)
            assert lost >= _LOSSES, f"{task.name} failed after {lost} lost attempts: {run.error}"
            return
        tried = sum(record.outcome in {"failed", "timed out"} for record in task.attempts)
        # The one that is one too many had a twin, which might have succeeded.
        most = _ATTEMPTS + bool(task.stage and task.stage.options.speculate)
        assert _ATTEMPTS <= tried <= most, f"{task.name} failed in {tried} attempts: {run.error}"
        tasks = [task for stage in run.execution.stages for task in stage.tasks.values()]
        causes = [record.cause for task in tasks for record in task.attempts]
        late = any("took longer than its timeout" in cause for cause in causes)
        cancelled = run in self._meddled and any("InputFailed" in cause for cause in causes)
        unlucky = any(sum(record.outcome == "lost" for record in task.attempts) >= _LOSSES for task in tasks)
        assert late or cancelled or unlucky, f"{run!r} failed without a reason: {run.error}"

    def _check_effects(self) -> None:
        twice = [call for call, times in Counter((each.task, each.attempt) for each in effects).items() if times > 1]
        assert not twice, f"these attempts were executed twice: {twice}"


def _may_fail(task: Task) -> bool:
    """Whether a task that would succeed has a reason not to: lost too often, out of time, or without an input."""
    lost = sum(record.outcome == "lost" for record in task.attempts)
    causes = [record.cause for record in task.attempts]
    return lost >= _LOSSES or any("took longer than its timeout" in each or "InputFailed" in each for each in causes)
