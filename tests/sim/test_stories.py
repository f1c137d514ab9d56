"""Stories without losses: what travels, what is taken back, cancelled, ignored or refused."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from bndl.driver.jobs import Job
from bndl.errors import TaskCancelled, TaskFailed
from bndl.execute.slots import Prepared
from bndl.schedule.instructions import TaskOutcome
from bndl.testing.workload import Item, effects, work
from bndl.testing.world import World


def sent(world: World, kind: str, to: str | None = None) -> list[tuple[str, str]]:
    """(sender, receiver) of all messages of a kind."""
    trace = [details for _, what, details in world.trace if what == "sent"]
    return [(sender, receiver) for sender, receiver, name, _ in trace if name == kind and to in (None, receiver)]


def first_is_long(_random: random.Random, _worker: str, prepared: Prepared) -> float:
    return 0.001 if prepared.attempt.task & 0xFFFFFFFF != 100 else 30.0


def make_large_function() -> Any:
    table = bytes(range(256)) * 40

    def look_up(index: int) -> int:
        return table[index]

    return look_up


def test_a_large_function_is_fetched_once_by_each_worker() -> None:
    world = World(1, workers=3, concurrency=2)
    run = world.run(Job().stage(make_large_function(), range(60)).job)
    assert sorted(task.result for task in run.settled) == list(range(60))
    chunks = -(-(10 * 1024 + 1000) // world.config.chunk_bytes)
    fetches = {name: len([1 for sender, _ in sent(world, "Fetch") if sender == name]) for name in world.workers}
    assert all(1 <= count <= chunks for count in fetches.values()), fetches
    assert len(sent(world, "Define")) == 3
    assert world.leftovers() == []


def test_large_arguments_of_a_growing_stage_are_dropped_as_its_tasks_are_done() -> None:
    world = World(1)
    run = world.grow(work)
    run.add([Item(index, padding=bytes(3000)) for index in range(10)])
    world.wait(lambda: len(run.settled) == 10)
    assert len(world.driver._store) == 0  # noqa: SLF001
    run.close()
    world.finish(run)
    assert world.leftovers() == []


def test_large_results_of_a_growing_stage_are_dropped_as_its_tasks_are_done() -> None:
    world = World(1, workers=1)
    run = world.grow(work)
    run.add([Item(index, size=3000) for index in range(10)])
    world.wait(lambda: len(run.settled) == 10)
    world.sleep(0.1)
    worker = world.workers["worker-1"].worker
    assert len(worker.store) == 0
    (definition,) = worker._tenancies[world.DRIVER].definitions.values()  # noqa: SLF001
    assert definition.stored == {}
    run.close()
    world.finish(run)


def test_tasks_queued_behind_a_long_one_move_to_an_idle_worker() -> None:
    world = World(1, workers=2, concurrency=1, duration=first_is_long)
    run = world.submit(Job().stage(work, [Item(index) for index in range(200)]).job)
    world.wait(lambda: len(run.settled) == 199, limit=5.0, what="all but the long one")
    world.finish(run)
    assert sorted(task.result[0] for task in run.settled) == list(range(200))
    (report,) = run.execution.report().stages
    assert report.returned > 0
    assert len({effect.worker for effect in effects}) == 2
    assert world.leftovers() == []


def test_a_job_is_cancelled_while_tasks_run_and_their_slots_stay_taken_until_they_are_interrupted() -> None:
    world = World(1, workers=1, concurrency=2, duration=lambda *_: 10.0)
    run = world.submit(Job().stage(work, [Item(index) for index in range(4)]).job)
    world.sleep(5.0)
    run.execution.cancel("changed my mind")
    world.sleep(0.5)
    assert isinstance(run.error, TaskCancelled)
    assert {task.outcome for task in run.settled} == {TaskOutcome.CANCELLED}
    assert len(run.settled) == 4
    started = world.time.now()
    again = world.run(Job().stage(work, [Item(1)]).job)
    assert again.settled[0].result[0] == 1
    assert world.time.now() - started == pytest.approx(world.config.cancel_grace - 0.5 + 10.0, abs=0.2)
    assert world.leftovers() == []


def test_the_report_tells_tasks_that_were_cancelled_from_those_that_are_done() -> None:
    world = World(1, workers=2, concurrency=1, duration=lambda *_: 1.0)
    run = world.submit(Job().stage(work, [Item(index) for index in range(20)]).job)
    world.wait(lambda: len(run.settled) >= 2)
    run.execution.cancel("changed my mind")
    world.finish(run)
    (stage,) = run.execution.report().stages
    succeeded = [task for task in run.settled if task.outcome is TaskOutcome.SUCCEEDED]
    assert stage.done == len(succeeded) >= 2
    assert stage.cancelled == 20 - stage.done


def test_a_job_is_cancelled_while_its_result_is_on_its_way() -> None:
    world = World(1)
    run = world.submit(Job().stage(work, [Item(1, size=30_000)]).job)
    world.wait(lambda: bool(world.driver._calls._open))  # noqa: SLF001
    run.execution.cancel("changed my mind")
    world.finish(run)
    assert [task.outcome for task in run.settled] == [TaskOutcome.CANCELLED]
    assert world.leftovers() == []


def test_a_task_that_is_made_again_when_its_job_is_cancelled_stays_as_it_was_told() -> None:
    def duration(_random: random.Random, _worker: str, prepared: Prepared) -> float:
        return 0.01 if prepared.attempt.number == 1 else 10.0

    world = World(1, workers=2, concurrency=1, duration=duration)
    job = Job()
    first = job.stage(work, [Item(1), Item(2)], name="first")
    job.stage(work, [Item(0, inputs=first.results)], name="last")
    run = world.submit(job)
    world.wait(lambda: len(run.settled) == 2)
    world.kill("worker-1")
    world.sleep(1.0)
    run.execution.cancel("changed my mind")
    world.finish(run)
    assert sorted((task.name, str(task.outcome)) for task in run.settled) == [
        ("first[0]", "succeeded"),
        ("first[1]", "succeeded"),
        ("last[0]", "cancelled"),
    ]


def test_a_task_that_fails_once_is_tried_again_and_one_that_always_fails_ends_the_job() -> None:
    world = World(1)
    run = world.run(Job(attempts=2).stage(work, [Item(1, fails=1)]).job)
    assert [record.outcome for record in run.settled[0].attempts] == ["failed", "succeeded"]
    run = world.run(Job().stage(work, [Item(1, fails=1), Item(2)]).job)
    assert isinstance(run.error, TaskFailed)
    assert isinstance(run.error.__cause__, ValueError)
    assert world.leftovers() == []


GARBAGE = [b"", b"\xc1 garbage", msgspec.msgpack.encode([99, 1, 2]), b"\x93\x02\x01"]


@pytest.mark.parametrize("frame", GARBAGE)
def test_garbage_of_strangers_is_logged_and_ignored(frame: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world = World(1, workers=1)
    world.wait_connected()
    stranger = world.network.fabric("stranger")
    stranger.start(lambda _: None)
    for name in ("driver", "worker-1"):
        stranger.send(name, frame)
    world.sleep(0.1)
    assert len([record for record in caplog.records if "is no message" in record.message]) == 2
    run = world.run(Job().stage(work, [Item(5)]).job)
    assert run.settled[0].result[0] == 5
    assert world.cluster.lost == []


@pytest.mark.parametrize("names", [("driver", "worker-1"), ("worker-1", "driver")])
@pytest.mark.parametrize("frame", GARBAGE)
def test_after_garbage_of_a_peer_both_begin_anew(
    names: tuple[str, str], frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(1, workers=1)
    world.wait_connected()
    run = world.submit(Job().stage(work, [Item(index) for index in range(9)]).job)
    world.network._nodes[names[0]].send(names[1], frame)  # noqa: SLF001 - no node sends such a thing
    world.finish(run)
    assert sorted(task.result[0] for task in run.settled) == list(range(9))
    assert len([record for record in caplog.records if "is no message" in record.message]) == 1
    assert [name for name, _ in world.cluster.lost] == ["worker-1"]
    assert world.leftovers() == []


def test_a_peer_of_another_version_is_refused_on_both_sides(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1, workers=1)
    info = world.node_info("old", "worker", 2)
    world.add_worker("old", msgspec.structs.replace(info, versions={"bndl": "0.1", "python": "2.7"}))
    world.sleep(5.0)
    assert [refused.name for refused in world.cluster.refused] == ["old"]
    assert world.driver.peers.names == ["worker-1"]
    assert world.workers["old"].worker.peers.names == []
    assert world.workers["old"].worker.peers.reach("worker-1") is False  # workers have to do with each other on demand
    world.sleep(5.0)
    assert sorted(record.message.partition(" ")[0] for record in caplog.records) == ["driver", "old", "worker-1"]
    run = world.run(Job().stage(work, [Item(index) for index in range(9)]).job)
    assert {task.attempts[0].worker for task in run.settled} == {"worker-1"}


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()
