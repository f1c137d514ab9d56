"""How much time the loss of a worker costs that others fetch from: its lease, and no more, whoever notices first."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bndl.driver.jobs import Job
from bndl.execute.slots import Prepared
from bndl.testing.workload import Item, work
from bndl.testing.world import SMALL, World

LEASE = SMALL.lease
#: Virtual seconds that a task takes.
SECONDS = 0.05


def duration(_random: random.Random, _worker: str, _prepared: Prepared) -> float:
    return SECONDS


def shuffle(stages: int, width: int) -> Job:
    """Stages each of whose tasks needs all results of the stage before."""
    job = Job(attempts=1)
    before = job.stage(work, [Item(1) for _ in range(width)])
    for _ in range(stages - 1):
        before = job.stage(work, [Item(0, lists=[before.results]) for _ in range(width)])
    return job


FAULTS: dict[str, Callable[[World], None]] = {
    "cut": lambda world: world.cut({"worker-3"}),
    "frozen": lambda world: world.freeze("worker-3"),
    "killed": lambda world: world.kill("worker-3"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(60))
def test_the_job_goes_on_as_soon_as_the_driver_knows(seed: int, fault: str) -> None:
    world = World(seed, workers=4, concurrency=2, duration=duration)
    world.wait_connected()
    run = world.submit(shuffle(8, 16))
    world.sleep(random.Random(seed).uniform(0.15, 0.8))  # noqa: S311 - to be repeatable, not secret
    start = world.time.now()
    FAULTS[fault](world)
    world.wait(lambda: bool(world.cluster.lost), limit=3 * LEASE)
    noticed = world.time.now()
    world.finish(run, limit=60.0)
    assert len(run.settled) == 8 * 16
    # The stage that is under way, one that is made again, and what is left, with three workers of two slots.
    left = (8 + 2) * 3 * SECONDS
    assert world.time.now() - noticed < left + 0.2, f"noticed after {noticed - start}, seed {seed}"
    world.heal()
    if fault == "frozen":
        world.thaw("worker-3")
    world.wait_connected()
    world.sleep(2 * LEASE)  # questions to who is gone are held for as long
    assert world.leftovers() == []
