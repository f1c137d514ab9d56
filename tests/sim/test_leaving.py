"""Workers that leave in order while jobs run: nothing is lost and nothing is made again."""

from __future__ import annotations

import random

import pytest

from bndl.driver.jobs import Job
from bndl.testing.runs import Run
from bndl.testing.workload import Item, effects, work
from bndl.testing.world import World


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()


def leave(world: World, name: str) -> None:
    """Let a worker leave; its process ends when it may."""

    def end() -> None:
        node = world.workers.pop(name)
        node.fabric.close()
        node.loop.kill()
        node.worker.store.drop_where(lambda _: True)  # its files go with its process

    world.workers[name].worker.leave.begin(end)


def three_stages(tasks: int, size: int) -> Job:
    job = Job()
    first = job.stage(work, [Item(index, size=size) for index in range(tasks)], name="first")
    middle = [Item(index, inputs=part, size=size) for index, part in enumerate(first.split(max(tasks // 3, 1)))]
    second = job.stage(work, middle, name="second")
    job.stage(work, [Item(0, inputs=second.results)], name="last")
    return job


def last_value(run: Run) -> int:
    (value,) = [task.result[0] for task in run.settled if task.name.startswith("last[")]
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize("seed", range(40))
def test_workers_leave_and_join_while_a_job_runs(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    world = World(seed, workers=4)
    world.wait_connected()
    tasks = chance.randint(4, 40)
    run = world.submit(three_stages(tasks, chance.choice([0, 500, 5000])))
    leaving = chance.sample(sorted(world.workers), chance.randint(1, 3))
    for name in leaving:
        world.sleep(chance.uniform(0.0, 0.3))
        if chance.random() < 0.4:
            world.add_worker()
        leave(world, name)
    world.finish(run, limit=60.0)
    world.wait(lambda: not set(leaving) & set(world.workers), limit=10.0, what="those that leave to be gone")
    expected = World(seed, workers=2)
    again = expected.run(three_stages(tasks, 0))
    assert last_value(run) == last_value(again)
    for stage in run.execution.report().stages:
        assert (stage.lost, stage.made_again, stage.inputs_missing) == (0, 0, 0)
    assert world.leftovers() == []


def test_a_driver_that_comes_while_a_worker_leaves_is_told() -> None:
    """The worker may say so before the driver has answered its greeting."""
    world = World(1, workers=0)
    name = world.add_worker()
    leave(world, name)
    world.wait(lambda: name not in world.workers, limit=5.0)
    run = world.submit(three_stages(3, 0))
    world.sleep(1.0)
    world.add_worker()
    world.finish(run, limit=10.0)
    assert not run.execution.error


def test_a_worker_that_cannot_hand_over_stays_until_another_one_comes() -> None:
    world = World(3, workers=1, concurrency=1)
    run = world.submit(three_stages(6, 500))
    world.wait(lambda: len(run.settled) >= 3)
    (name,) = world.workers
    leave(world, name)
    world.sleep(3.0)
    assert name in world.workers
    assert not run.ended
    world.add_worker()
    world.finish(run, limit=10.0)
    world.wait(lambda: name not in world.workers, limit=5.0)
    assert all(stage.made_again == 0 for stage in run.execution.report().stages)


@pytest.mark.parametrize("seed", range(10))
def test_the_one_that_adopts_is_lost(seed: int) -> None:
    world = World(seed, workers=3)
    world.wait_connected()
    run = world.submit(three_stages(30, 3000))
    world.wait(lambda: len(run.settled) >= 20)
    first, second, _ = sorted(world.workers)
    leave(world, first)
    world.sleep(0.003)
    world.kill(second)
    world.finish(run, limit=30.0)
    world.wait(lambda: first not in world.workers, limit=10.0)
    assert not run.execution.error
    assert world.leftovers() == []
