"""A worker that leaves: nothing new goes there, what is needed of it is moved, and then it is dismissed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bndl.schedule import events
from bndl.schedule.instructions import Dismiss, Instruction, Launch, Move
from bndl.schedule.transitions import State
from tests.unit.scheduling import (
    Scheduling,
    attempt,
    failed,
    finish,
    launch,
    missed,
    release,
    settle,
    succeeded,
    take_back,
)


@pytest.fixture
def world() -> Scheduling:
    return Scheduling()


def drain(world: Scheduling, worker: str) -> list[Instruction]:
    return world.handle(events.WorkerDraining(worker))


def moved(
    world: Scheduling, source: str, target: str, tasks: Sequence[int], came: Sequence[int] | None = None
) -> list[Instruction]:
    return world.handle(events.ResultsMoved(source, target, tasks, tasks if came is None else came))


def two_stages(world: Scheduling, *workers: str) -> None:
    """Tasks 1 and 2, whose results 3 needs, on workers of one slot each; all is launched that can be."""
    for worker in workers:
        world.join(worker)
    first = world.stage(2, kept=True)
    second = world.stage(1, {3: [range(1, 3)]})
    world.submit(first, second)


def test_an_idle_worker_is_dismissed_at_once_and_gets_nothing(world: Scheduling) -> None:
    world.join("a")
    assert drain(world, "a") == [Dismiss("a")]
    assert world.submit(world.stage(1)) == []
    assert world.join("b") == [launch("b", 1, 1)]
    assert drain(world, "a") == []
    assert world.lose("a") == []


def test_a_worker_that_is_not_known_is_no_matter(world: Scheduling) -> None:
    assert drain(world, "a") == []


def test_what_runs_is_finished_and_what_is_queued_goes_elsewhere(world: Scheduling) -> None:
    world.join("a", 1)
    world.submit(world.stage(5))
    world.finish("a", succeeded(1, seconds=0.001))
    assert list(world.scheduler.workers["a"].running) == [2, 3, 4]  # two of them in advance
    assert drain(world, "a") == [take_back("a", (3, 1), (4, 1))]
    assert world.join("b", 3) == [launch("b", 1, 5)]
    assert world.give_back("a", (3, 1), (4, 1)) == [launch("b", 1, (3, 2), (4, 2))]
    assert world.finish("a", succeeded(2)) == [settle("a", 1, 2), Dismiss("a")]


def test_what_it_did_not_give_back_is_not_asked_for_again(world: Scheduling) -> None:
    world.join("a", 1)
    world.submit(world.stage(5))
    world.finish("a", succeeded(1, seconds=0.001))
    drain(world, "a")
    assert world.give_back("a") == []
    assert world.finish("a", succeeded(2)) == [settle("a", 1, 2)]
    assert world.finish("a", succeeded(3), succeeded(4)) == [settle("a", 1, 3, 4), Dismiss("a")]


def test_a_task_that_fails_there_is_tried_elsewhere(world: Scheduling) -> None:
    world.join("a")
    world.submit(world.stage(1, attempts=2))
    drain(world, "a")
    out = world.finish("a", failed(1))
    assert Dismiss("a") in out
    assert not any(isinstance(each, Launch) for each in out)
    assert launch("b", 1, (1, 2)) in world.join("b")


def test_results_that_are_needed_are_moved_first(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    assert drain(world, "a") == [Move("a", "b", (1,))]
    assert moved(world, "a", "b", [1]) == [Dismiss("a")]
    assert world.lose("a") == []
    out = world.finish("b", succeeded(2, stored=True))
    assert launch("b", 2, attempt(3, b=[1, 2])) in out


def test_they_are_divided_over_the_workers_that_stay(world: Scheduling) -> None:
    for worker in ("a", "b", "c", "d"):
        world.join(worker, 4)
    drain(world, "d")
    for worker in ("b", "c"):
        drain(world, worker)
    first = world.stage(4, kept=True)
    world.submit(first, world.stage(1, {5: [range(1, 5)]}))
    world.join("e")
    world.join("f")
    world.finish("a", *(succeeded(task, stored=True) for task in range(1, 4)))
    assert drain(world, "a") == [Move("a", "e", (1, 3)), Move("a", "f", (2,))]
    assert moved(world, "a", "e", [1, 3]) == []
    assert moved(world, "a", "f", [2]) == []
    # The last of them is only made now; it is moved, too.
    assert world.finish("a", succeeded(4, stored=True))[-1] == Move("a", "e", (4,))
    assert moved(world, "a", "e", [4]) == []
    worker = next(name for name in ("e", "f") if 5 in world.scheduler.workers[name].running)
    assert Dismiss("a") in world.finish(worker, succeeded(5))


def test_without_another_worker_it_waits_for_one(world: Scheduling) -> None:
    two_stages(world, "a")
    world.finish("a", succeeded(1, stored=True))
    assert drain(world, "a") == []
    out = world.finish("a", succeeded(2, stored=True))
    assert Dismiss("a") not in out
    assert world.join("b")[-1] == Move("a", "b", (1, 2))


def test_who_may_be_fetching_there_is_waited_for(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    world.finish("b", succeeded(2, stored=True))
    (worker,) = (name for name in ("a", "b") if 3 in world.scheduler.workers[name].running)
    other = "b" if worker == "a" else "a"
    assert drain(world, other)[-1] == Move(other, worker, (1 if other == "a" else 2,))
    assert moved(world, other, worker, [1 if other == "a" else 2]) == []
    out = world.finish(worker, succeeded(3))
    assert Dismiss(other) in out


def test_results_that_nobody_waits_for_are_left(world: Scheduling) -> None:
    world.join("a", 2)
    first = world.stage(1, kept=True)
    second = world.stage(1, {2: [range(1, 2)]}, kept=True)
    third = world.stage(1, {3: [range(2, 3)]})
    world.submit(first, second, third)
    world.finish("a", succeeded(1, stored=True))
    world.finish("a", succeeded(2, stored=True))
    world.join("b")
    assert drain(world, "a") == [Move("a", "b", (2,))]
    assert list(world.scheduler.workers["a"].kept) == [1, 2]


def test_a_result_that_is_on_its_way_to_the_driver_is_waited_for(world: Scheduling) -> None:
    world.join("a")
    world.submit(world.stage(2))
    world.join("b")
    world.finish("a", succeeded(1, stored=True))
    assert drain(world, "a") == []
    assert world.deliver(1) == [release("a", 1), Dismiss("a")]


def test_what_cannot_be_moved_is_made_again_when_the_worker_has_gone(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    drain(world, "a")
    assert moved(world, "a", "b", [1], []) == [Dismiss("a")]
    world.lose("a")
    assert world.states(1) == [State.READY]


def test_when_the_target_is_lost_another_one_is_asked(world: Scheduling) -> None:
    two_stages(world, "a", "b", "c")
    world.finish("a", succeeded(1, stored=True))
    assert drain(world, "a") == [Move("a", "b", (1,))]
    world.lose("b")
    assert moved(world, "a", "b", [1], []) == [Move("a", "c", (1,))]


def test_what_was_moved_for_nothing_is_dropped(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    drain(world, "a")
    world.lose("a")
    assert moved(world, "a", "b", [1])[:1] == [release("b", 1)]


def test_a_job_that_is_over_needs_nothing(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    drain(world, "a")
    assert Dismiss("a") not in world.cancel(1)  # the results are still on their way
    assert moved(world, "a", "b", [1]) == [release("b", 1), Dismiss("a")]


def test_a_worker_that_comes_back_is_as_good_as_new(world: Scheduling) -> None:
    world.join("a")
    drain(world, "a")
    world.lose("a")
    world.join("a")
    assert world.submit(world.stage(1)) == [launch("a", 1, 1)]
    assert finish(1) in world.finish("a", succeeded(1))


def test_inputs_that_were_missed_after_a_move_are_no_loss(world: Scheduling) -> None:
    two_stages(world, "a", "b")
    world.finish("a", succeeded(1, stored=True))
    world.finish("b", succeeded(2, stored=True))
    worker = next(name for name in ("a", "b") if 3 in world.scheduler.workers[name].running)
    other = "b" if worker == "a" else "a"
    number = 1 if other == "a" else 2
    drain(world, other)
    moved(world, other, worker, [number])
    out = world.finish(worker, missed(3, 1, (number, other)))
    assert launch(worker, 2, attempt(3, 2, **{worker: [1, 2]})) in out
    assert world.states(1, 2) == [State.DONE, State.DONE]


def test_a_suspect_is_not_given_a_worker_that_leaves(world: Scheduling) -> None:
    world.submit(world.stage(1, losses=3))
    for worker in ("a", "b"):
        world.join(worker)
        world.lose(worker)
    world.join("c", 2)
    world.lose("c")
    world.submit(world.stage(2))
    world.join("d", 2)
    drain(world, "d")
    world.join("e")
    assert not any(isinstance(each, Launch) and each.worker == "d" for each in world.wake())
