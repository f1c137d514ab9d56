"""A world does the same again for the same seed, and nothing of a node runs while it is frozen or after its death."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bndl.driver.jobs import Job
from bndl.execute.slots import Prepared
from bndl.testing.nodes import NodeLoop
from bndl.testing.plans import Plan
from bndl.testing.workload import Item, effects, work
from bndl.testing.world import Stuck, World


def trace_of(seed: int) -> list[tuple[float, str, Any]]:
    plan = Plan(seed)
    plan.execute()
    return plan.world.trace


@pytest.mark.parametrize("seed", [3, 11])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    trace = trace_of(seed)
    assert {what for _, what, _ in trace} >= {"sent", "started", "settled"}
    assert trace_of(seed) == trace


def test_different_seeds_give_different_traces() -> None:
    traces = []
    for seed in (1, 2):
        world = World(seed)
        world.run(Job().stage(work, [Item(index) for index in range(20)]).job)
        traces.append(world.trace)
    assert traces[0] != traces[1]


def test_seconds_are_virtual() -> None:
    def duration(_random: random.Random, _worker: str, prepared: Prepared) -> float:
        return 100.0 * (1 + (prepared.attempt.task & 1))

    run = World(1, duration=duration).run(Job().stage(work, [Item(1), Item(2)]).job, limit=1000.0)
    assert {task.name: task.seconds for task in run.settled} == pytest.approx(
        {"work[0]": 100.0, "work[1]": 200.0}, abs=0.003
    )


def test_a_killed_worker_has_not_called_what_it_was_executing() -> None:
    effects.clear()
    world = World(1, workers=1, duration=lambda *_: 10.0)
    world.submit(Job().stage(work, [Item(1)]).job)
    world.sleep(9.0)
    world.kill("worker-1")
    world.sleep(30.0)
    assert effects == []


def test_who_waits_too_long_is_told_what_is_outstanding() -> None:
    world = World(1, workers=1, duration=lambda *_: 50.0)
    run = world.submit(Job().stage(work, [Item(1)]).job)
    with pytest.raises(
        Stuck, match=r"seed 1, at 0.*\n(.*\n)*.*2\[0\] is pending \(1\) at worker-1\n(.*\n)*.*executing"
    ):
        world.finish(run, limit=20.0)


def test_a_frozen_loop_runs_later_what_was_due_and_a_dead_one_never() -> None:
    world = World(1, workers=0)
    loop = NodeLoop(world.time)
    ran: list[tuple[str, float]] = []
    loop.call_later(1.0, lambda: ran.append(("due while frozen", world.time.now())))
    cancelled = loop.call_later(1.5, lambda: ran.append(("cancelled", world.time.now())))
    loop.call_later(4.0, lambda: ran.append(("due later", world.time.now())))
    loop.freeze()
    world.sleep(3.0)
    assert ran == []
    cancelled.cancel()
    loop.thaw()
    world.sleep(2.0)
    assert ran == [("due while frozen", 3.0), ("due later", 4.0)]
    loop.post(lambda: ran.append(("after death", world.time.now())))
    loop.kill()
    world.sleep(1.0)
    assert len(ran) == 2
