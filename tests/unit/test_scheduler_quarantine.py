"""A task that twice was on a lost worker, and not alone, gets a worker for itself; meanwhile nothing else suffers."""

from __future__ import annotations

from bndl.schedule import events
from bndl.schedule.instructions import Instruction, Launch
from tests.unit.scheduling import Scheduling, fail, failed, launch, settle, succeeded


def launches(instructions: list[Instruction]) -> list[Instruction]:
    return [each for each in instructions if isinstance(each, Launch)]


def lose_twice(scheduling: Scheduling) -> None:
    """The first tasks of the first two jobs are twice beside each other on a worker that is lost."""
    for _ in range(2):
        scheduling.join("x", 2)
        scheduling.lose("x")


def to_be_isolated(tasks: int = 1, *, attempts: int = 1, concurrency: int = 0) -> Scheduling:
    """Task 1, and no other, is to get a worker for itself. Its job, of so many tasks, is paused; job 3 has 9 tasks."""
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(tasks, attempts=attempts, concurrency=concurrency))
    scheduling.submit(scheduling.stage(1))
    lose_twice(scheduling)
    scheduling.cancel(2)
    scheduling.handle(events.JobPaused(1))
    scheduling.submit(scheduling.stage(9))
    return scheduling


def emptied(attempts: int = 1) -> Scheduling:
    """Task 1, and no other, is to get a worker for itself. Worker a is emptied for it: it has two slots and task 3."""
    scheduling = to_be_isolated(attempts=attempts)
    assert scheduling.join("a", 2) == [launch("a", 3, 3, 4)]
    scheduling.handle(events.JobResumed(1))
    assert scheduling.finish("a", succeeded(4)) == [settle("a", 3, 4)]
    return scheduling


def test_a_worker_is_emptied_and_then_it_has_it() -> None:
    scheduling = emptied()
    assert scheduling.finish("a", succeeded(3)) == [settle("a", 3, 3), launch("a", 1, (1, 3))]
    assert scheduling.join("b") == [launch("b", 3, 5)], "other workers are not emptied"
    assert scheduling.finish("a", succeeded(1, 3))[-1] == launch("a", 3, 6, 7), "it is nobody's any more"


def test_once_it_is_alone_all_three_losses_count() -> None:
    scheduling = emptied()
    scheduling.finish("a", succeeded(3))
    assert fail(1, 1, 3) in scheduling.lose("a")


def test_an_empty_worker_that_joins_is_better_than_one_that_is_yet_to_be_emptied() -> None:
    scheduling = emptied()
    assert launches(scheduling.join("b")) == [launch("b", 1, (1, 3)), launch("a", 3, 5)]


def test_it_has_it_even_if_another_task_came_to_wait_for_one() -> None:
    """Worker a is emptied for task 1. Then task 2 is to get a worker too, and is the first in the queue."""
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2))
    scheduling.submit(scheduling.stage(1))
    scheduling.join("x", 3)
    scheduling.lose("x")
    scheduling.join("x", 2)
    scheduling.lose("x")
    scheduling.cancel(2)
    scheduling.handle(events.JobPaused(1))
    scheduling.submit(scheduling.stage(9))
    assert scheduling.join("a") == [launch("a", 3, 4)]
    assert scheduling.join("b", 2) == [launch("b", 3, 5, 6)]
    scheduling.handle(events.JobResumed(1))
    assert scheduling.finish("b", succeeded(5))[1:] == [launch("b", 1, (2, 2))]
    assert launches(scheduling.lose("b")) == []
    assert scheduling.states(1, 2) == ["ready", "ready"]
    assert scheduling.finish("a", succeeded(4))[1:] == [launch("a", 1, (1, 3))]


def test_what_failed_there_is_tried_elsewhere_first() -> None:
    scheduling = emptied(attempts=2)
    scheduling.finish("a", succeeded(3))
    scheduling.cancel(3)
    assert launches(scheduling.join("b")) == []
    assert scheduling.finish("a", failed(1, 3))[1:] == [launch("b", 1, (1, 4))]


def test_nobody_waits_for_a_task_of_a_paused_job() -> None:
    scheduling = emptied()
    assert scheduling.handle(events.JobPaused(1)) == [launch("a", 3, 5)]
    assert scheduling.finish("a", succeeded(3))[1:] == [launch("a", 3, 6)]


def test_nobody_waits_for_a_task_that_may_not_be_launched() -> None:
    """Worker a is emptied for task 1, and then task 2 is launched elsewhere, which is all that their stage may have."""
    scheduling = to_be_isolated(2, concurrency=1)
    assert scheduling.join("a") == [launch("a", 3, 4)]
    assert scheduling.join("b", 2) == [launch("b", 3, 5, 6)]
    scheduling.handle(events.JobResumed(1))
    assert scheduling.finish("b", succeeded(6))[1:] == [launch("b", 1, 2)]
    assert scheduling.finish("a", succeeded(4))[1:] == [launch("a", 3, 7)]


def test_a_worker_is_nobody_s_when_the_job_of_its_task_is_over() -> None:
    scheduling = emptied()
    assert launches(scheduling.cancel(1)) == [launch("a", 3, 5)]


def two_busy_workers() -> Scheduling:
    """Task 1 is to get a worker for itself. Workers a and b execute tasks 3 and 4, and more are waiting."""
    scheduling = to_be_isolated()
    assert scheduling.join("a") == [launch("a", 3, 3)]
    assert scheduling.join("b") == [launch("b", 3, 4)]
    return scheduling


def test_a_worker_that_leaves_is_not_emptied() -> None:
    scheduling = two_busy_workers()
    scheduling.drain("a")
    scheduling.handle(events.JobResumed(1))
    assert launches(scheduling.finish("b", succeeded(4))) == [launch("b", 1, (1, 3))]


def test_an_empty_worker_that_leaves_is_no_reason_not_to_empty_another_one() -> None:
    scheduling = two_busy_workers()
    scheduling.handle(events.JobResumed(1))
    scheduling.drain("b")
    assert launches(scheduling.finish("b", succeeded(4))) == []
    assert launches(scheduling.finish("a", succeeded(3))) == [launch("a", 1, (1, 3))]


def test_a_worker_that_another_such_task_has_just_left_is_better_than_one_that_is_yet_to_be_emptied() -> None:
    """Worker a is emptied for task 2 for long, while task 1 has worker b for itself and ends."""
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    lose_twice(scheduling)
    for job in (1, 2):
        scheduling.handle(events.JobPaused(job))
    scheduling.submit(scheduling.stage(9))
    assert scheduling.join("a", 2) == [launch("a", 3, 3, 4)]
    assert scheduling.join("b", 2) == [launch("b", 3, 5, 6)]
    scheduling.handle(events.JobResumed(2))
    assert launches(scheduling.finish("a", succeeded(3))) == []
    scheduling.handle(events.JobResumed(1))
    assert launches(scheduling.finish("b", succeeded(5))) == []
    assert launches(scheduling.finish("b", succeeded(6))) == [launch("b", 1, (1, 3))]
    assert launches(scheduling.finish("b", succeeded(1, 3))) == [launch("b", 2, (2, 3)), launch("a", 3, 7)]


def test_an_empty_worker_on_which_it_failed_is_no_choice_while_another_one_can_be_emptied() -> None:
    scheduling = emptied(attempts=2)
    scheduling.finish("a", succeeded(3))
    assert launches(scheduling.join("b")) == [launch("b", 3, 5)]
    assert launches(scheduling.finish("a", failed(1, 3))) == [launch("a", 3, 6), launch("a", 3, 7)], (
        "b is emptied, and a is nobody's"
    )
    assert launches(scheduling.finish("b", succeeded(5))) == [launch("b", 1, (1, 4))]
