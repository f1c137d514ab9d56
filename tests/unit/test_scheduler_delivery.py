"""Results that the driver is to have: in the message, or stored on the worker until it has fetched them."""

from __future__ import annotations

from bndl.schedule.instructions import End, TaskOutcome
from tests.unit.scheduling import Scheduling, attempt, fail, failed, finish, launch, note, release, settle, succeeded


def stored(tasks: int = 2) -> Scheduling:
    """Worker a has made tasks and has their results in its store."""
    scheduling = Scheduling()
    scheduling.join("a", tasks)
    scheduling.submit(scheduling.stage(tasks))
    scheduling.finish("a", *(succeeded(task, stored=True) for task in range(1, tasks + 1)))
    return scheduling


def test_a_result_in_the_message_is_all_that_is_needed() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), finish(1)]


def test_a_result_that_is_stored_is_to_be_fetched_and_then_released() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1, stored=True)]
    assert set(map(repr, scheduling.deliver(1))) == {repr(release("a", 1)), repr(finish(1))}


def test_results_in_one_message_are_settled_apart_by_where_they_are() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(5))
    outcomes = [succeeded(2), succeeded(1, stored=True), succeeded(4), succeeded(3, stored=True)]
    assert scheduling.finish("a", *outcomes) == [
        settle("a", 1, 2, 4),
        settle("a", 1, 1, 3, stored=True),
        launch("a", 1, 5),
    ]


def test_a_slot_is_free_when_the_task_is_done_and_not_when_the_result_is_here() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2))
    assert scheduling.finish("a", succeeded(1, stored=True))[1:] == [launch("a", 1, 2)]


def test_the_job_goes_on_until_the_last_one_is_here() -> None:
    scheduling = stored(3)
    assert scheduling.deliver(2) == [release("a", 2)]
    assert scheduling.deliver(1) == [release("a", 1)]
    assert finish(1) in scheduling.deliver(3)


def test_results_of_several_workers_are_released_on_each() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    scheduling.submit(scheduling.stage(3))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.finish("b", succeeded(2, stored=True))
    assert scheduling.deliver(2, 1) == [release("b", 2), release("a", 1)]


def test_a_result_that_is_lost_on_its_way_is_made_again() -> None:
    scheduling = stored()
    scheduling.deliver(1)
    assert scheduling.lose("a") == []
    assert scheduling.states(1, 2) == ["done", "ready"]
    assert scheduling.join("b", 2) == [launch("b", 1, (2, 2))]
    assert scheduling.finish("b", succeeded(2, 2)) == [settle("b", 1, (2, 2)), finish(1)]


def test_so_is_one_that_the_worker_does_not_have() -> None:
    scheduling = stored()
    assert scheduling.forget("a", 2) == [launch("a", 1, (2, 2))]
    assert scheduling.finish("a", succeeded(2, 2, stored=True)) == [settle("a", 1, (2, 2), stored=True)]
    assert scheduling.deliver(1) == [release("a", 1)]
    assert finish(1) in scheduling.deliver(2)


def test_with_its_inputs_if_they_are_lost_too() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first, second = scheduling.stage(1, kept=True), scheduling.stage(1, {2: [range(1, 2)]})
    scheduling.submit(first, second)
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.finish("a", succeeded(2, stored=True))
    assert scheduling.lose("a") == []
    assert scheduling.states(1, 2) == ["ready", "blocked"]
    assert scheduling.join("b") == [launch("b", 1, (1, 2))]
    assert scheduling.finish("b", succeeded(1, 2, stored=True))[1:] == [launch("b", 2, attempt(2, 2, b=[1]))]
    assert scheduling.finish("b", succeeded(2, 2)) == [settle("b", 2, (2, 2)), finish(1)]


def test_a_result_that_arrives_although_it_was_lost_does_not_count() -> None:
    """The driver had it when the worker was lost; the task runs again, and the driver takes no notice of the result."""
    scheduling = stored(1)
    scheduling.lose("a")
    assert scheduling.deliver(1) == []
    assert scheduling.states(1) == ["ready"]


def test_a_task_that_fails_when_it_is_made_again_fails() -> None:
    scheduling = stored(1)
    scheduling.forget("a", 1)
    assert scheduling.finish("a", failed(1, 2)) == [
        note("a", 1, 2, End.FAILED, "the task raised"),
        fail(1, 1, 2),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_results_that_are_kept_stay() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, kept=True), scheduling.stage(1))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1), launch("a", 2, 2)]


def test_results_that_were_kept_go_with_the_job() -> None:
    """Workers forget all of a job when it is over, so there is nothing to release."""
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, kept=True))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1), finish(1)]
    assert scheduling.lose("a") == []
