"""Results that are lost are made again: exactly those that are needed, upstream as far as needed."""

from __future__ import annotations

from collections.abc import Sequence

from bndl.schedule.instructions import End, Instruction, Launch, TaskOutcome
from tests.unit.scheduling import (
    Ended,
    Scheduling,
    attempt,
    cancelled,
    fail,
    failed,
    finish,
    launch,
    missed,
    note,
    settle,
    succeeded,
)


def launched(instructions: Sequence[Instruction]) -> list[tuple[int, int]]:
    launches = [each for each in instructions if isinstance(each, Launch)]
    return [(attempt.task, attempt.number) for each in launches for attempt in each.attempts]


def kept(task: int, number: int = 1) -> Ended:
    return succeeded(task, number, stored=True)


def chain() -> Scheduling:
    """Task 3 needs 1, and 4 needs 2; 6 needs 3, and 7 needs 4. Worker a has made 1 to 4 and executes 5."""
    scheduling = Scheduling()
    first = scheduling.stage(2, kept=True)
    second = scheduling.stage(2, {3: [range(1, 2)], 4: [range(2, 3)]}, kept=True)
    third = scheduling.stage(3, {6: [range(3, 4)], 7: [range(4, 5)]})
    scheduling.submit(first, second, third)
    scheduling.join("a")
    for task in range(1, 5):
        scheduling.finish("a", kept(task))
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == [*["done"] * 4, "pending", "ready", "ready"]
    return scheduling


def two_stages(attempts: int = 1) -> Scheduling:
    """Task 2 needs 1. Worker a has made 1 and executes 2."""
    scheduling = Scheduling()
    scheduling.join("a")
    first, second = scheduling.stage(1, kept=True), scheduling.stage(1, {2: [range(1, 2)]}, attempts=attempts)
    scheduling.submit(first, second)
    assert scheduling.finish("a", kept(1)) == [settle("a", 1, 1), launch("a", 2, attempt(2, a=[1]))]
    return scheduling


def rest(scheduling: Scheduling) -> list[tuple[int, int]]:
    """Let worker a do all that it is given, one after the other, beginning with task 5. Returns what that was."""
    todo = [(5, 1)]
    for task, number in todo:
        instructions = scheduling.finish("a", succeeded(task, number, stored=task < 5))
        todo += launched(instructions)
    assert instructions[-1] == finish(1)
    return todo


def test_what_a_task_needs_that_waits_is_made_again() -> None:
    scheduling = chain()
    assert scheduling.forget("a", 3) == []
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == ["done", "done", "ready", "done", "pending", "blocked", "ready"]
    assert rest(scheduling) == [(5, 1), (3, 2), (7, 1), (6, 1)]


def test_what_that_one_needs_is_made_again_too() -> None:
    scheduling = chain()
    assert scheduling.forget("a", 1, 3) == []
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == ["ready", "done", "blocked", "done", "pending", "blocked", "ready"]
    assert rest(scheduling) == [(5, 1), (1, 2), (3, 2), (7, 1), (6, 1)]


def test_what_nobody_needs_any_more_is_not_made_again() -> None:
    scheduling = chain()
    assert scheduling.forget("a", 1, 2) == []
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == [*["done"] * 4, "pending", "ready", "ready"]
    assert rest(scheduling) == [(5, 1), (6, 1), (7, 1)]


def test_it_is_made_again_if_it_turns_out_to_be_needed() -> None:
    scheduling = chain()
    scheduling.forget("a", 1)
    scheduling.forget("a", 3)
    assert scheduling.states(1, 3, 6) == ["ready", "blocked", "blocked"]
    assert rest(scheduling) == [(5, 1), (1, 2), (3, 2), (7, 1), (6, 1)]


def test_all_that_a_lost_worker_kept() -> None:
    """Task 6 runs on worker b and may have its input; 7 waits, so it and what it needs are made again."""
    scheduling = chain()
    assert scheduling.join("b") == [launch("b", 3, attempt(6, a=[3]))]
    assert scheduling.lose("a") == [note("a", 5, 1, End.LOST, "gone")]
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == [
        "done",
        "ready",
        "done",
        "blocked",
        "ready",
        "pending",
        "blocked",
    ]


def test_a_task_that_was_lost_with_its_inputs_waits_for_them() -> None:
    scheduling = two_stages()
    assert scheduling.states(1, 2) == ["done", "pending"]
    assert scheduling.lose("a") == [note("a", 2, 1, End.LOST, "gone")]
    assert scheduling.states(1, 2) == ["ready", "blocked"]
    assert scheduling.join("b") == [launch("b", 1, (1, 2))]
    assert scheduling.finish("b", kept(1, 2))[1:] == [launch("b", 2, attempt(2, 2, b=[1]))]


def test_a_task_that_failed_and_whose_inputs_are_lost_waits_for_them() -> None:
    scheduling = two_stages(attempts=2)
    scheduling.forget("a", 1)
    assert scheduling.states(1, 2) == ["done", "pending"]
    assert launched(scheduling.finish("a", failed(2))) == [(1, 2)]
    assert launched(scheduling.finish("a", kept(1, 2))) == [(2, 2)]


def test_a_task_that_was_given_back_and_whose_inputs_are_lost_waits_for_them() -> None:
    scheduling = two_stages()
    scheduling.forget("a", 1)
    assert launched(scheduling.give_back("a", (2, 1))) == [(1, 2)]
    assert launched(scheduling.finish("a", kept(1, 2))) == [(2, 2)]


def test_a_pending_task_may_have_its_inputs_already() -> None:
    scheduling = two_stages()
    assert scheduling.forget("a", 1) == []
    assert scheduling.states(1, 2) == ["done", "pending"]
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 2, 2), finish(1)]


def test_if_it_has_not_it_comes_back_with_what_it_misses() -> None:
    scheduling = two_stages()
    assert scheduling.finish("a", missed(2, 1, (1, "a"))) == [
        note("a", 2, 1, End.INPUTS_MISSING, "1 inputs were not found"),
        launch("a", 1, (1, 2)),
    ]
    assert scheduling.states(1, 2) == ["pending", "blocked"]
    assert scheduling.finish("a", kept(1, 2)) == [settle("a", 1, (1, 2)), launch("a", 2, attempt(2, 2, a=[1]))]
    assert scheduling.finish("a", succeeded(2, 2)) == [settle("a", 2, (2, 2)), finish(1)]


def test_what_it_misses_may_be_elsewhere_by_now() -> None:
    """Task 1 was made again for task 3, by worker b, while task 2 asked worker a for its result in vain."""
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(2, {2: [first.tasks], 3: [first.tasks]}))
    scheduling.finish("a", kept(1))
    scheduling.forget("a", 1)
    assert scheduling.join("b") == [launch("b", 1, (1, 2))]
    assert scheduling.finish("b", kept(1, 2))[1:] == [launch("b", 2, attempt(3, b=[1]))]
    assert scheduling.finish("a", missed(2, 1, (1, "a")))[1:] == [launch("a", 2, attempt(2, 2, b=[1]))]


def test_a_task_behind_a_closed_barrier_needs_its_inputs_too() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first, second = scheduling.stage(1, kept=True), scheduling.stage(2)
    scheduling.submit(first, second, scheduling.stage(1, {4: [first.tasks]}))
    scheduling.finish("a", kept(1))
    assert scheduling.forget("a", 1) == []
    assert scheduling.states(1, 2, 3, 4) == ["ready", "pending", "ready", "blocked"]
    assert launched(scheduling.finish("a", succeeded(2))) == [(1, 2)]
    assert launched(scheduling.finish("a", kept(1, 2))) == [(3, 1)]
    assert scheduling.finish("a", succeeded(3))[1:] == [launch("a", 3, attempt(4, a=[1]))]


def test_a_result_that_many_need_is_made_again_once() -> None:
    scheduling = Scheduling()
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(3, {task: [first.tasks] for task in (2, 3, 4)}))
    scheduling.join("a")
    scheduling.finish("a", kept(1))
    scheduling.lose("a")
    assert scheduling.states(1, 2, 3, 4) == ["ready", "blocked", "blocked", "blocked"]
    assert launched(scheduling.join("b", 4)) == [(1, 2)]
    assert sorted(launched(scheduling.finish("b", kept(1, 2)))) == [(2, 2), (3, 1), (4, 1)]


def test_a_task_that_needs_many_waits_for_all_that_are_lost_and_no_others() -> None:
    scheduling = Scheduling()
    first = scheduling.stage(5, kept=True)
    scheduling.submit(first, scheduling.stage(2, {7: [range(1, 3), range(2, 6)]}))
    scheduling.join("a")
    for task in first.tasks:
        scheduling.finish("a", kept(task))
    scheduling.forget("a", 2, 5)
    assert scheduling.states(1, 2, 3, 4, 5, 6, 7) == ["done", "ready", "done", "done", "ready", "pending", "blocked"]
    assert sorted(launched(scheduling.join("b", 3))) == [(2, 2), (5, 2)]
    assert launched(scheduling.finish("b", kept(5, 2))) == []
    assert launched(scheduling.finish("b", kept(2, 2))) == [(7, 1)]


def test_what_is_made_again_may_be_lost_again() -> None:
    scheduling = two_stages()
    for number in range(1, 5):
        assert launched(scheduling.finish("a", missed(2, number, (1, "a")))) == [(1, number + 1)]
        assert launched(scheduling.finish("a", kept(1, number + 1))) == [(2, number + 1)]
    assert scheduling.finish("a", succeeded(2, 5))[-1] == finish(1)


def test_the_worker_that_makes_it_again_may_be_lost_too() -> None:
    scheduling = two_stages()
    scheduling.finish("a", missed(2, 1, (1, "a")))
    scheduling.lose("a")
    assert scheduling.states(1, 2) == ["ready", "blocked"]
    assert scheduling.join("b") == [launch("b", 1, (1, 3))]
    assert launched(scheduling.finish("b", kept(1, 3))) == [(2, 2)]


def test_a_task_that_fails_when_it_is_made_again_ends_the_job() -> None:
    scheduling = two_stages()
    scheduling.finish("a", missed(2, 1, (1, "a")))
    assert scheduling.finish("a", failed(1, 2)) == [
        note("a", 1, 2, End.FAILED, "the task raised"),
        fail(1, 1, 2),
        cancelled(2, (2, 1)),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_a_job_may_be_cancelled_while_a_result_is_made_again() -> None:
    scheduling = two_stages()
    scheduling.finish("a", missed(2, 1, (1, "a")))
    assert [type(each).__name__ for each in scheduling.cancel(1)] == ["Settle", "Settle", "Abandon", "FinishJob"]
    assert scheduling.submit(scheduling.stage(1)) == []
    assert scheduling.finish("a", failed(1, 2)) == [launch("a", 3, 3)]


def test_each_job_makes_its_own_results_again() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    for _ in range(2):
        first = scheduling.stage(1, kept=True)
        needed = {first.tasks[0] + 1: [first.tasks]}
        scheduling.submit(first, scheduling.stage(2, needed, concurrency=1))
    scheduling.finish("a", kept(1), kept(4))
    scheduling.lose("a")
    assert scheduling.states(1, 2, 3, 4, 5, 6) == ["ready", "blocked", "ready"] * 2
