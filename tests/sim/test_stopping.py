"""Cancelled tasks and tasks out of time, on a simulated cluster: what the driver makes of how workers stop them."""

from __future__ import annotations

import random

import pytest

from bndl.driver.jobs import Job
from bndl.driver.options import Retry
from bndl.errors import TaskCancelled, TaskFailed, TaskTimeout
from bndl.execute.slots import Prepared
from bndl.testing.workload import Effect, Item, effects, work
from bndl.testing.world import World


def first_is_long(_random: random.Random, _worker: str, prepared: Prepared) -> float:
    """The first attempt of the first task takes very long, all else takes a second."""
    return 100.0 if (prepared.attempt.task & 0xFFFFFFFF, prepared.attempt.number) == (0, 1) else 1.0


def is_first(prepared: Prepared) -> bool:
    return prepared.attempt.task & 0xFFFFFFFF == 0


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()


def test_a_task_that_is_out_of_time_is_tried_again() -> None:
    world = World(1, workers=2, concurrency=1, duration=first_is_long)
    run = world.run(Job(timeout=5.0, attempts=2).stage(work, [Item(7)]).job)
    assert run.error is None
    assert run.settled[0].result[0] == 7
    first, second = run.settled[0].attempts
    assert (first.outcome, second.outcome) == ("failed", "succeeded")
    assert "took longer than its timeout of 5 s" in first.cause
    assert first.duration == pytest.approx(5.0 + world.config.cancel_grace, abs=0.003)
    assert world.leftovers() == []


def test_a_task_that_is_always_out_of_time_fails() -> None:
    world = World(1, workers=1, duration=lambda *_: 100.0)
    run = world.run(Job(timeout=5.0).stage(work, [Item(7)]).job)
    assert isinstance(run.error, TaskFailed)
    assert isinstance(run.error.__cause__, TaskTimeout)
    assert effects == [], "it was never at its end"
    assert world.leftovers() == []


def test_a_time_out_can_be_what_a_task_is_tried_again_for() -> None:
    world = World(1, workers=2, concurrency=1, duration=first_is_long)
    run = world.run(Job(timeout=5.0, retry=Retry(attempts=2, on=(TimeoutError,))).stage(work, [Item(7)]).job)
    assert run.error is None
    run = world.run(Job(timeout=5.0, retry=Retry(attempts=2, on=(ValueError,))).stage(work, [Item(7)]).job)
    assert isinstance(run.error, TaskFailed)
    assert len(run.error.attempts) == 1


def test_a_worker_with_an_attempt_that_nothing_stops_ends_itself_after_it_said_what_became_of_it() -> None:
    world = World(1, workers=1, concurrency=2, duration=first_is_long, is_stubborn=is_first)
    job = Job(attempts=2)
    job.stage(work, [Item(index) for index in range(2)], timeout=5.0)
    run = world.submit(job)
    world.wait(lambda: "worker-1" not in world.workers, limit=10.0)
    assert world.time.now() == pytest.approx(5.0 + 2 * world.config.cancel_grace, abs=0.2)
    world.finish(run)
    assert run.error is None
    first, second = job.stages[0].tasks
    assert [record.outcome for record in first.attempts] == ["failed", "succeeded"]
    assert [record.outcome for record in second.attempts] == ["succeeded"]
    (reason,) = [details for _, what, details in world.trace if what == "ended itself"]
    assert "work[0] of job 'job' did not end after its timeout of 5 s" in reason[1]
    assert world.leftovers() == []


def is_guilty(prepared: Prepared) -> bool:
    return prepared.definition.message.job_name == "guilty"


def test_a_task_beside_one_that_nothing_stops_is_executed_again_though_it_has_one_attempt() -> None:
    def duration(_random: random.Random, _worker: str, prepared: Prepared) -> float:
        return 100.0 if is_guilty(prepared) else 6.5

    world = World(1, workers=1, concurrency=2, duration=duration, is_stubborn=is_guilty)
    guilty = world.submit(Job("guilty", timeout=5.0).stage(work, [Item(1)]).job)
    world.sleep(1.0)
    innocent = world.submit(Job("innocent").stage(work, [Item(2)]).job)
    world.finish(guilty)
    assert isinstance(guilty.error, TaskFailed)
    assert isinstance(guilty.error.__cause__, TaskTimeout)
    world.finish(innocent)
    assert innocent.error is None
    assert [record.outcome for record in innocent.settled[0].attempts] == ["lost", "succeeded"]
    assert world.leftovers() == []


def test_a_job_is_cancelling_until_the_worker_with_an_attempt_that_nothing_stops_is_gone() -> None:
    world = World(1, workers=1, concurrency=1, duration=lambda *_: 100.0, is_stubborn=lambda _: True)
    run = world.submit(Job().stage(work, [Item(1)]).job)
    world.sleep(1.0)
    run.execution.cancel("changed my mind")
    world.sleep(0.5)
    assert isinstance(run.error, TaskCancelled)
    states = []
    for _ in range(30):
        states.append(run.execution.report().state)
        world.sleep(0.1)
    assert states.index("cancelled") == pytest.approx(10 * (2 * world.config.cancel_grace - 0.5), abs=2)
    assert set(states) == {"cancelling", "cancelled"}
    assert "worker-1" not in world.workers
    world.finish(run)
    again = world.submit(Job().stage(work, [Item(2)]).job)
    world.wait(lambda: bool(again.settled), limit=200.0)
    assert again.settled[0].result[0] == 2
    assert effects == [Effect(effects[0].task, 1, "worker-2")]
