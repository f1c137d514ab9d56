"""The budget for errors of the user's code."""

from __future__ import annotations

from bndl.schedule.attempts import MISSES
from bndl.schedule.instructions import End, TaskOutcome
from tests.unit.scheduling import (
    Scheduling,
    abandon,
    cancelled,
    fail,
    failed,
    finish,
    gave_up,
    launch,
    note,
    settle,
    succeeded,
)

FAILED = TaskOutcome.FAILED
RAISED = (End.FAILED, "the task raised")


def test_a_task_is_tried_once_unless_more_is_asked_for() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), fail(1, 1), finish(1, FAILED, task=1)]


def test_it_is_tried_as_often_as_the_stage_says() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=3))
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), launch("a", 1, (1, 2))]
    assert scheduling.finish("a", failed(1, 2)) == [note("a", 1, 2, *RAISED), launch("a", 1, (1, 3))]
    last = [note("a", 1, 3, *RAISED), fail(1, 1, 3), finish(1, FAILED, task=1)]
    assert scheduling.finish("a", failed(1, 3)) == last


def test_it_may_succeed_at_last() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2))
    scheduling.finish("a", failed(1))
    assert scheduling.finish("a", succeeded(1, 2)) == [settle("a", 1, (1, 2)), finish(1)]


def test_a_task_may_have_a_budget_of_its_own() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(3, attempts=2, task_attempts={1: 1, 2: 3}), independent=True)
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), fail(1, 1)]
    for task in (2, 3):
        assert scheduling.finish("a", failed(task)) == [note("a", task, 1, *RAISED), launch("a", 1, (task, 2))]
    assert scheduling.finish("a", failed(2, 2)) == [note("a", 2, 2, *RAISED), launch("a", 1, (2, 3))]
    assert scheduling.finish("a", failed(3, 2)) == [note("a", 3, 2, *RAISED), fail(1, 3, 2)]


def test_each_task_has_the_budget_for_itself() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2, attempts=2))
    scheduling.finish("a", failed(1), failed(2))
    assert scheduling.states(1, 2) == ["pending", "pending"]
    assert scheduling.finish("a", succeeded(1, 2), succeeded(2, 2))[-1] == finish(1)


def test_what_was_given_back_or_given_up_does_not_count() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    for number in range(1, 2 * MISSES - 1, 2):
        assert scheduling.give_back("a", (1, number)) == [launch("a", 1, (1, number + 1))]
        assert scheduling.finish("a", gave_up(1, number + 1))[-1] == launch("a", 1, (1, number + 2))


def test_what_is_given_up_again_and_again_fails() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    for number in range(1, MISSES):
        assert scheduling.finish("a", gave_up(1, number))[-1] == launch("a", 1, (1, number + 1))
    assert scheduling.finish("a", gave_up(1, MISSES))[1:] == [
        fail(1, 1, MISSES),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_what_is_given_up_goes_to_another_worker() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.join("b")
    assert scheduling.finish("a", gave_up(1))[-1] == launch("b", 1, (1, 2))


def test_a_task_that_fails_ends_its_job() -> None:
    """What runs is abandoned, what waits is cancelled, what is done stays as it is."""
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.join("b")
    scheduling.submit(scheduling.stage(6), scheduling.stage(2))
    scheduling.finish("a", succeeded(1))
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7, 8) == ["done", *["pending"] * 3, *["ready"] * 2, *["blocked"] * 2]
    assert scheduling.finish("a", failed(2)) == [
        note("a", 2, 1, *RAISED),
        fail(1, 2),
        cancelled(1, (3, 1), (4, 1), 5, 6),
        cancelled(2, 7, 8),
        abandon("b", (3, 1)),
        abandon("a", (4, 1)),
        finish(1, FAILED, task=2),
    ]
    assert not scheduling.scheduler.tasks


def test_other_jobs_go_on() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", failed(1)) == [
        note("a", 1, 1, *RAISED),
        fail(1, 1),
        finish(1, FAILED, task=1),
        launch("a", 2, 2),
    ]


def test_what_succeeded_in_the_same_message_is_settled_before_the_job_ends() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(3))
    assert scheduling.finish("a", succeeded(1), failed(2), succeeded(3)) == [
        settle("a", 1, 1, 3),
        note("a", 2, 1, *RAISED),
        fail(1, 2),
        finish(1, FAILED, task=2),
    ]


def test_the_first_of_two_failures_in_one_message_is_the_reason() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    assert scheduling.finish("a", failed(2), failed(1)) == [
        note("a", 2, 1, *RAISED),
        fail(1, 2),
        cancelled(1, (1, 1)),
        abandon("a", (1, 1)),
        finish(1, FAILED, task=2),
    ]
