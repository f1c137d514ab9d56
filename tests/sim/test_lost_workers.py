"""Stories of workers that are lost, one each."""

from __future__ import annotations

import random

import pytest

from bndl.driver.jobs import Job
from bndl.errors import NoWorkers, TaskFailed, WorkerLost
from bndl.execute.slots import Prepared
from bndl.testing.runs import Run
from bndl.testing.workload import Item, effects, work
from bndl.testing.world import SMALL, World

LEASE = SMALL.lease


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()


def index_of(prepared: Prepared) -> int:
    return prepared.attempt.task & 0xFFFFFFFF


def values(run: Run, stage: str) -> list[int]:
    done = {task.index: task.result[0] for task in run.settled if task.name.startswith(f"{stage}[")}
    return [done[index] for index in sorted(done)]


def two_stages(count: int, size: int = 0) -> Job:
    """``count`` tasks, and one that needs all of their results."""
    job = Job()
    first = job.stage(work, [Item(index, size=size) for index in range(count)], name="first")
    job.stage(work, [Item(0, inputs=first.results)], name="last")
    return job


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_is_killed_while_a_consumer_fetches_from_it(seed: int) -> None:
    world = World(seed, workers=2, concurrency=1)
    run = world.submit(two_stages(4, size=30_000))
    world.wait(lambda: any(node.worker._calls._open for node in world.workers.values()))  # noqa: SLF001
    (consumer,) = (name for name, node in world.workers.items() if node.worker._calls._open)  # noqa: SLF001
    (source,) = world.workers.keys() - {consumer}
    kept = run.execution.report().stages[0].by_worker[source]
    world.kill(source)
    world.finish(run, limit=5.0)
    assert values(run, "last") == [6]
    first, last = run.execution.report().stages
    assert first.made_again == kept, "only what was on the killed worker is made again"
    assert (last.inputs_missing, last.failed, last.lost) == (1, 0, 0)
    assert world.leftovers() == []


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_is_killed_while_the_driver_fetches_from_it(seed: int) -> None:
    world = World(seed, workers=1)
    run = world.submit(Job().stage(work, [Item(7, size=30_000)]).job)
    world.wait(lambda: bool(world.driver._calls._open))  # noqa: SLF001
    world.kill("worker-1")
    world.add_worker()
    world.finish(run, limit=5.0)
    (task,) = run.settled
    assert task.result[0] == 7
    assert [record.outcome for record in task.attempts] == ["succeeded"], "it is not launched on the dead one again"
    assert run.execution.report().stages[0].attempts == 2
    assert world.leftovers() == []


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_is_killed_when_the_driver_has_some_of_its_results(seed: int) -> None:
    world = World(seed, workers=1, concurrency=8, duration=lambda *_: 0.1)
    run = world.submit(Job().stage(work, [Item(index, size=2000) for index in range(8)]).job)
    world.wait(lambda: 0 < len(run.settled) < 8)
    world.kill("worker-1")
    world.add_worker()
    world.finish(run, limit=5.0)
    assert values(run, "work") == list(range(8))
    (report,) = run.execution.report().stages
    assert report.attempts == 16 - report.by_worker["worker-1"], "what the driver has is not made again"
    assert world.leftovers() == []


def test_the_driver_is_cut_from_a_worker_that_finishes_meanwhile_and_begins_anew() -> None:
    world = World(1, workers=2, concurrency=1, duration=lambda *_: 1.5 * LEASE)
    run = world.submit(Job().stage(work, [Item(index) for index in range(2)]).job)
    world.sleep(0.5)
    world.cut({"driver"}, {"worker-1"})
    world.wait(lambda: len(run.settled) == 1)
    world.wait(lambda: any(name == "worker-1" for name, _ in world.cluster.lost))
    world.heal()
    world.wait_connected()
    world.finish(run)
    assert sorted(values(run, "work")) == [0, 1]
    task = next(task for task in run.settled if len(task.attempts) > 1)
    assert [record.outcome for record in task.attempts] == ["lost", "succeeded"]
    assert world.leftovers() == []
    again = world.run(Job().stage(work, [Item(index) for index in range(4)]).job)
    assert {task.attempts[-1].worker for task in again.settled} == {"worker-1", "worker-2"}


def test_what_ran_for_a_driver_that_was_lost_leaves_nothing_behind() -> None:
    """The worker gives the driver up and finds it again while it executes one task of it."""
    world = World(3, workers=1, concurrency=1, duration=lambda *_: 6.0 * LEASE)
    run = world.submit(Job().stage(work, [Item(0, size=5000)], attempts=1).job)
    world.sleep(0.5)
    world.cut({"driver"})
    world.sleep(2.5 * LEASE)
    world.heal()
    world.wait_connected()
    run.execution.cancel("not wanted")
    world.finish(run)
    world.sleep(10.0 * LEASE)
    assert world.leftovers() == []
    assert effects == []


def test_two_workers_that_cannot_see_each_other_still_get_it_done() -> None:
    world = World(1, workers=2, concurrency=1)
    world.wait_connected()
    world.cut({"worker-1"}, {"worker-2"})
    run = world.submit(two_stages(6))
    world.finish(run, limit=60.0)
    assert values(run, "last") == [15]
    assert world.leftovers() == []


def test_a_new_worker_fetches_from_one_that_it_has_not_met() -> None:
    """Only the driver knows both of them when the task is launched."""

    def duration(_random: random.Random, _worker: str, prepared: Prepared) -> float:
        return 5.0 if index_of(prepared) else 0.001

    world = World(1, workers=1, concurrency=1, duration=duration)
    job = Job()
    first = job.stage(work, [Item(1)], name="first")
    job.stage(work, [Item(10, inputs=[first.results[0]]), Item(20, inputs=[first.results[0]])], name="last")
    run = world.submit(job)
    world.wait(lambda: len(run.settled) == 1)
    world.network.cut({"worker-1"}, {"worker-2"})
    world.add_worker()
    world.sleep(0.2)
    world.heal()
    world.finish(run, limit=10.0)
    assert values(run, "last") == [11, 21]
    assert run.execution.report().stages[1].inputs_missing == 0


def test_a_frozen_worker_with_queued_attempts() -> None:
    world = World(1, workers=2, concurrency=1, duration=lambda *_: 0.001)
    run = world.submit(Job().stage(work, [Item(index) for index in range(200)]).job)
    world.wait(lambda: len(world.workers["worker-1"].parts.slots.queue) > 2)
    world.freeze("worker-1")
    world.finish(run, limit=2.0 * LEASE)
    assert values(run, "work") == list(range(200))
    world.thaw("worker-1")
    world.wait_connected()
    world.sleep(1.0)
    assert len(run.settled) == 200
    assert len({(each.task, each.attempt) for each in effects}) == len(effects)
    assert world.leftovers() == []


def test_a_task_that_kills_its_worker_each_time_fails_after_its_budget() -> None:
    world = World(1, workers=4, concurrency=2, duration=lambda *_: 1.0)
    run = world.submit(Job().stage(work, [Item(0)]).job)
    killed = []
    while not run.ended:
        world.sleep(0.5)
        killed += [name for name, node in world.workers.items() if node.parts.slots.running]
        world.cluster.reasons[killed[-1]] = "SIGSEGV"
        world.kill(killed[-1])
        world.sleep(0.1)
    assert len(killed) == 3
    assert isinstance(run.error, TaskFailed)
    assert [record.worker for record in run.error.attempts] == killed
    assert {record.cause for record in run.error.attempts} == {"SIGSEGV"}
    cause = run.error.__cause__
    assert isinstance(cause, WorkerLost)
    assert (cause.worker, cause.reason) == (killed[-1], "SIGSEGV")
    assert cause.certificate is not None
    assert (cause.certificate.worker, cause.certificate.reason) == (killed[-1], "SIGSEGV")
    assert cause.certificate.executing == ((run.settled[0].number, 3),)
    assert str(cause.certificate) in str(run.error)
    assert f"{killed[-1]} was lost: SIGSEGV" in run.execution.report().notes
    run.execution.release()
    world.sleep(1.0)
    assert world.leftovers() == []


def test_the_certificate_is_of_the_worker_that_was_lost() -> None:
    world = World(1, workers=2, concurrency=1, duration=lambda *_: 1.0)
    run = world.submit(Job().stage(work, [Item(0)]).job)
    world.sleep(0.5)
    (first,) = [name for name, node in world.workers.items() if node.parts.slots.running]
    assert world.cluster.end_worker(first, "it does not answer")
    assert not world.cluster.end_worker(first, "it is gone")
    for _ in range(2):
        world.sleep(0.5)
        world.add_worker()
        (name,) = [name for name, node in world.workers.items() if node.parts.slots.running]
        world.kill(name)
        del world.cluster.executing[name]  # as if it were on another machine
    world.wait(lambda: run.ended)
    assert isinstance(run.error, TaskFailed)
    assert run.error.attempts[0].cause == "bndl ended it: it does not answer"
    cause = run.error.__cause__
    assert isinstance(cause, WorkerLost)
    assert cause.certificate is None  # of the last one nothing is known


def test_no_worker_is_left_and_none_comes_back() -> None:
    world = World(1, workers=2, duration=lambda *_: 1.0)
    run = world.submit(Job().stage(work, [Item(index) for index in range(8)]).job)
    world.sleep(0.5)
    for name in list(world.workers):
        world.kill(name)
    killed = world.time.now()
    world.finish(run, limit=2.0 * SMALL.no_workers_timeout)
    assert isinstance(run.error, NoWorkers)
    assert world.time.now() - killed == pytest.approx(SMALL.no_workers_timeout, abs=0.5)
    world.add_worker()
    again = world.run(Job().stage(work, [Item(index) for index in range(8)]).job)
    assert values(again, "work") == list(range(8))
    assert world.leftovers() == []


def test_work_waits_for_workers_anew_each_time() -> None:
    """The patience of a job does not run while another one waited that was cancelled."""
    world = World(1, workers=0)
    first = world.submit(Job().stage(work, [Item(0)]).job)
    world.sleep(0.9 * SMALL.no_workers_timeout)
    first.execution.cancel("not wanted")
    world.finish(first)
    second = world.submit(Job().stage(work, [Item(0)]).job)
    world.sleep(0.5 * SMALL.no_workers_timeout)
    assert not second.ended
    world.add_worker()
    world.finish(second)
    assert second.error is None


def test_a_report_says_of_each_lost_worker_whether_attempts_were_lost_with_it() -> None:
    world = World(3, workers=3, concurrency=1, duration=lambda *_: 1.0)
    run = world.submit(Job().stage(work, [Item(0), Item(1)]).job)
    world.sleep(0.5)
    busy = next(name for name, node in world.workers.items() if node.parts.slots.running)
    idle = next(name for name, node in world.workers.items() if not node.parts.slots.running)
    world.cluster.reasons |= {busy: "SIGSEGV", idle: "SIGKILL"}
    world.kill(idle)
    world.sleep(0.2)
    world.kill(busy)
    world.finish(run, limit=10.0)
    report = run.execution.report()
    assert report.notes == (
        f"{idle} was lost: SIGKILL; no attempt of this job was lost with it",
        f"{busy} was lost: SIGSEGV",
    )
    assert report.stages[0].lost == 1
