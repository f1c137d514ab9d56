"""Stages whose tasks come while it runs, and are forgotten when they are done."""

from __future__ import annotations

from bndl.schedule.instructions import TaskOutcome
from tests.unit.scheduling import Scheduling, fail, failed, finish, launch, release, settle, succeeded


def growing(slots: int = 1, concurrency: int = 0) -> Scheduling:
    scheduling = Scheduling()
    scheduling.join("a", slots)
    scheduling.submit(scheduling.stage(0, growing=True, concurrency=concurrency))
    return scheduling


def test_tasks_are_launched_as_they_come() -> None:
    scheduling = growing(slots=3)
    assert scheduling.add(1, 2) == [launch("a", 1, 1, 2)]
    assert scheduling.add(1, 2) == [launch("a", 1, 3)]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 1, 4)]


def test_a_stage_that_grows_does_not_end() -> None:
    scheduling = growing()
    scheduling.add(1, 1)
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1)]
    assert scheduling.add(1, 1) == [launch("a", 1, 2)]


def test_it_ends_when_it_is_closed_and_its_last_task_is_done() -> None:
    scheduling = growing()
    scheduling.add(1, 1)
    assert scheduling.close(1) == []
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), finish(1)]


def test_it_ends_at_once_if_nothing_is_left_when_it_is_closed() -> None:
    scheduling = growing()
    assert scheduling.close(1) == [finish(1)]


def test_done_tasks_are_forgotten() -> None:
    scheduling = growing(slots=3)
    scheduling.add(1, 3)
    scheduling.finish("a", succeeded(2))
    assert set(scheduling.scheduler.tasks) == {1, 3}


def test_tasks_with_stored_results_are_forgotten_when_the_driver_has_them() -> None:
    scheduling = growing()
    scheduling.add(1, 1)
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1, stored=True)]
    assert set(scheduling.scheduler.tasks) == {1}
    assert scheduling.deliver(1) == [release("a", 1)]
    assert not scheduling.scheduler.tasks


def test_results_that_are_lost_on_their_way_are_made_again() -> None:
    scheduling = growing()
    scheduling.add(1, 1)
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.lose("a") == []
    assert scheduling.join("b") == [launch("b", 1, (1, 2))]


def test_a_task_that_fails_ends_it() -> None:
    scheduling = growing()
    scheduling.add(1, 1)
    assert scheduling.finish("a", failed(1))[1:] == [fail(1, 1), finish(1, TaskOutcome.FAILED, task=1)]
    assert scheduling.add(1, 1) == []


def test_a_closed_stage_that_a_stage_follows() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, growing=True), scheduling.stage(1))
    scheduling.finish("a", succeeded(1))
    assert scheduling.states(2) == ["blocked"]
    assert scheduling.close(1) == [launch("a", 2, 2)]


def test_tasks_that_come_before_the_stage_is_open_wait_for_the_barrier() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1), scheduling.stage(0, growing=True))
    assert scheduling.add(2, 1) == []
    assert scheduling.states(2) == ["blocked"]
    assert scheduling.close(2) == []
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 2, 2)]


def test_it_keeps_to_its_concurrency() -> None:
    scheduling = growing(slots=3, concurrency=2)
    assert scheduling.add(1, 3) == [launch("a", 1, 1, 2)]
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2), launch("a", 1, 3)]
