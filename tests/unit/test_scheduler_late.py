"""Events that come late, twice, or about what is not there any more."""

from __future__ import annotations

from bndl.schedule.instructions import End
from tests.unit.scheduling import (
    Scheduling,
    attempt,
    failed,
    finish,
    gave_up,
    launch,
    missed,
    note,
    release,
    settle,
    succeeded,
)


def moved() -> Scheduling:
    """Task 1 was on worker a, which was lost and is back; it is on worker b now."""
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.join("b")
    assert scheduling.lose("a")[-1] == launch("b", 1, (1, 2))
    scheduling.join("a")
    return scheduling


def test_the_result_of_an_attempt_that_was_lost_is_ignored() -> None:
    scheduling = moved()
    assert scheduling.finish("a", succeeded(1)) == []
    assert scheduling.states(1) == ["pending"]
    assert scheduling.finish("b", succeeded(1, 2)) == [settle("b", 1, (1, 2)), finish(1)]


def test_and_released_if_it_is_stored() -> None:
    scheduling = moved()
    assert scheduling.finish("a", succeeded(1, stored=True)) == [release("a", 1)]
    assert scheduling.states(1) == ["pending"]


def test_its_failure_counts_for_nothing() -> None:
    scheduling = moved()
    assert scheduling.finish("a", failed(1), missed(1, 1, (0, "x")), gave_up(1)) == []
    assert scheduling.states(1) == ["pending"]


def test_an_attempt_is_not_known_by_its_number_alone() -> None:
    """Worker a claims the attempt that worker b has."""
    scheduling = moved()
    assert scheduling.finish("a", succeeded(1, 2)) == []
    assert scheduling.finish("b", succeeded(1, 1)) == []
    assert scheduling.states(1) == ["pending"]


def test_a_second_report_is_ignored() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(3))
    assert scheduling.finish("a", succeeded(1), succeeded(1), failed(1)) == [settle("a", 1, 1), launch("a", 1, 3)]
    assert scheduling.finish("a", succeeded(1)) == []
    assert scheduling.states(1, 2, 3) == ["done", "pending", "pending"]


def test_a_second_failure_costs_nothing() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2))
    assert scheduling.finish("a", failed(1), failed(1)) == [
        note("a", 1, 1, End.FAILED, "the task raised"),
        launch("a", 1, (1, 2)),
    ]
    assert scheduling.finish("a", failed(1)) == []


def test_a_second_report_does_not_release_what_is_kept() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(1, {2: [first.tasks]}))
    scheduling.finish("a", succeeded(1, stored=True), succeeded(1, stored=True))
    assert scheduling.finish("a", succeeded(1, stored=True)) == []
    assert scheduling.give_back("a", (2, 1)) == [launch("a", 2, attempt(2, 2, a=[1]))]


def test_an_old_result_does_not_release_what_a_new_attempt_will_store_in_its_place() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, kept=True), scheduling.stage(1))
    assert scheduling.give_back("a", (1, 1)) == [launch("a", 1, (1, 2))]
    assert scheduling.finish("a", succeeded(1, 1, stored=True)) == []
    assert scheduling.states(1) == ["pending"]


def test_results_of_jobs_that_are_over_are_released() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    scheduling.finish("a", failed(1))
    assert scheduling.finish("a", succeeded(2, stored=True)) == [release("a", 2)]
    scheduling.submit(scheduling.stage(1, kept=True))
    assert scheduling.finish("a", succeeded(3, stored=True)) == [settle("a", 2, 3), finish(2)]
    assert scheduling.finish("a", succeeded(3, stored=True)) == [release("a", 3)]


def test_workers_that_are_not_there_say_nothing() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("x", succeeded(1, stored=True)) == []
    assert scheduling.give_back("x", (1, 1)) == []
    assert scheduling.forget("x", 1) == []
    assert scheduling.states(1) == ["pending"]
    scheduling.lose("a")
    assert scheduling.finish("a", succeeded(1, stored=True)) == []
    assert scheduling.states(1) == ["ready"]


def test_an_attempt_is_given_back_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.give_back("a", (1, 1), (1, 1)) == [launch("a", 1, (1, 2))]
    assert scheduling.give_back("a", (1, 1)) == []
    assert scheduling.states(1) == ["pending"]


def test_a_result_is_delivered_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.deliver(1, 1) == [release("a", 1)]
    assert scheduling.deliver(1) == []
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2), finish(1)]
    assert scheduling.deliver(1, 2) == []


def test_a_result_is_lost_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.forget("a", 1, 1) == [launch("a", 1, (1, 2))]
    assert scheduling.forget("a", 1) == []


def test_a_result_that_is_missed_where_it_is_no_longer_thought_to_be_is_not_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(2, {2: [first.tasks]}))
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.finish("a", missed(2, 1, (1, "x"), (77, "a")))[-1] == launch("a", 2, attempt(2, 2, a=[1]))


def test_jobs_and_stages_that_are_over_are_left_in_peace() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, growing=True))
    scheduling.cancel(1)
    assert scheduling.cancel(1) == []
    assert scheduling.add(1, 1) == []
    assert scheduling.close(1) == []
    assert scheduling.cancel(99) == []
    assert not scheduling.scheduler.tasks


def test_time_passes() -> None:
    scheduling = Scheduling()
    assert scheduling.wake() == []
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.now = 1000.0
    assert scheduling.wake() == []
