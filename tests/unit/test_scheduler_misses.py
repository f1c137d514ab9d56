"""How often a task may come back because its inputs were not where they should have been."""

from __future__ import annotations

from bndl.schedule.attempts import MISSES
from bndl.schedule.instructions import End, Instruction, TaskOutcome
from tests.unit.scheduling import Scheduling, attempt, fail, failed, finish, launch, missed, note, settle, succeeded

NOT_FOUND = (End.INPUTS_MISSING, "1 inputs were not found")


def consumer(attempts: int = 1) -> Scheduling:
    """Task 2 needs 1, which worker a has. Worker a executes 2."""
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(1, {2: [first.tasks]}, attempts=attempts))
    assert scheduling.finish("a", succeeded(1, stored=True))[1:] == [launch("a", 2, attempt(2, a=[1]))]
    return scheduling


def miss_and_make_again(scheduling: Scheduling, miss: int) -> list[Instruction]:
    """Attempt ``miss`` of task 2 does not find its input, which is made again. Returns what comes of it.

    Both tasks have had as many attempts, then.
    """
    instructions = scheduling.finish("a", missed(2, miss, (1, "a")))
    if miss < MISSES:
        assert instructions == [note("a", 2, miss, *NOT_FOUND), launch("a", 1, (1, miss + 1))]
        instructions = scheduling.finish("a", succeeded(1, miss + 1, stored=True))
        assert instructions == [settle("a", 1, (1, miss + 1)), launch("a", 2, attempt(2, miss + 1, a=[1]))]
    return instructions


def test_a_task_fails_when_its_inputs_were_missing_too_often() -> None:
    scheduling = consumer()
    for miss in range(1, MISSES):
        miss_and_make_again(scheduling, miss)
    assert miss_and_make_again(scheduling, MISSES) == [
        note("a", 2, MISSES, *NOT_FOUND),
        fail(2, 2, MISSES),
        finish(1, TaskOutcome.FAILED, task=2),
    ]


def test_it_may_find_them_at_last() -> None:
    scheduling = consumer()
    for miss in range(1, MISSES):
        miss_and_make_again(scheduling, miss)
    assert scheduling.finish("a", succeeded(2, MISSES)) == [settle("a", 2, (2, MISSES)), finish(1)]


def test_a_miss_is_no_error_of_the_user_s() -> None:
    scheduling = consumer(attempts=2)
    miss_and_make_again(scheduling, 1)
    miss_and_make_again(scheduling, 2)
    assert scheduling.finish("a", failed(2, 3))[1:] == [launch("a", 2, attempt(2, 4, a=[1]))]
    assert scheduling.finish("a", failed(2, 4))[1] == fail(2, 2, 4)


def test_making_it_again_costs_the_producer_nothing() -> None:
    """It has one attempt, and uses none of it by succeeding five times."""
    scheduling = consumer()
    for miss in range(1, 5):
        miss_and_make_again(scheduling, miss)
    assert scheduling.states(1, 2) == ["done", "pending"]


def test_inputs_that_are_there_by_the_scheduler_s_account_are_asked_for_again() -> None:
    """A worker that does not reach another one for a moment says that it misses what it did not find the way to."""
    scheduling = consumer()
    assert scheduling.finish("a", missed(2, 1)) == [
        note("a", 2, 1, End.INPUTS_MISSING, "0 inputs were not found"),
        launch("a", 2, attempt(2, 2, a=[1])),
    ]
    assert scheduling.states(1, 2) == ["done", "pending"]
