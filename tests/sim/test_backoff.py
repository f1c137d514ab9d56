"""Tasks that wait for the time of their next attempt, on a simulated cluster: none of them waits for good."""

from __future__ import annotations

import random

import pytest

from bndl.driver.jobs import Job
from bndl.driver.options import Retry
from bndl.execute.slots import Prepared
from bndl.testing.workload import Item, effects, work
from bndl.testing.world import World


def be_quick(generator: random.Random, _worker: str, _prepared: Prepared) -> float:
    return generator.uniform(0.0001, 0.0005)


@pytest.mark.parametrize("seed", range(5))
def test_times_that_come_at_almost_the_same_time(seed: int) -> None:
    # Results come between the time of one task and the moment in which the driver's timer goes off; then the time of
    # the next one is asked for, and nothing else happens until then.
    effects.clear()
    world = World(seed, workers=2, concurrency=1, duration=be_quick, delay=(0.00005, 0.0001))
    for backoff in (0.005, 0.01, 0.02, 0.04) * 10:
        job = Job("patient", retry=Retry(attempts=4, backoff=backoff, jitter=0.5))
        run = world.run(job.stage(work, [Item(index, fails=1) for index in range(6)]).job)
        assert run.error is None
    assert world.leftovers() == []
