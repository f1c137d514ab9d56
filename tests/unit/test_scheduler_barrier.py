"""Stages run one after the other."""

from __future__ import annotations

from tests.unit.scheduling import Scheduling, attempt, finish, launch, settle, succeeded


def test_a_job_without_workers_waits() -> None:
    scheduling = Scheduling()
    assert scheduling.submit(scheduling.stage(2)) == []
    assert scheduling.states(1, 2) == ["ready", "ready"]
    assert scheduling.join("a", 2) == [launch("a", 1, 1, 2)]


def test_the_next_stage_begins_when_all_tasks_of_the_one_before_are_done() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    first, second = scheduling.stage(2), scheduling.stage(2)
    assert scheduling.submit(first, second) == [launch("a", 1, 1, 2)]
    assert scheduling.states(3, 4) == ["blocked", "blocked"]
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2)]
    assert scheduling.states(3, 4) == ["blocked", "blocked"]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 2, 3, 4)]


def test_a_job_is_finished_when_its_last_stage_is() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    assert scheduling.finish("a", succeeded(1), succeeded(2)) == [settle("a", 1, 1, 2), finish(1)]
    assert not scheduling.scheduler.tasks
    assert not scheduling.scheduler.jobs


def test_results_that_are_kept_open_the_next_stage_and_become_its_sources() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(2, kept=True)
    second = scheduling.stage(2, {3: [first.tasks], 4: [range(2, 3)]})
    scheduling.submit(first, second)
    scheduling.finish("a", succeeded(2, stored=True))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [
        settle("a", 1, 1),
        launch("a", 2, attempt(3, a=[1, 2]), attempt(4, a=[2])),
    ]


def test_results_that_are_to_be_delivered_hold_the_next_stage_up_until_they_are() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1), scheduling.stage(1))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1, stored=True)]
    assert scheduling.states(1, 2) == ["done", "blocked"]
    release_and_launch = scheduling.deliver(1)
    assert launch("a", 2, 2) in release_and_launch


def test_a_stage_without_tasks_is_passed() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    stages = [scheduling.stage(0), scheduling.stage(1), scheduling.stage(0), scheduling.stage(0)]
    assert scheduling.submit(*stages) == [launch("a", 2, 1)]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 2, 1), finish(1)]


def test_a_job_without_tasks_is_finished_at_once() -> None:
    scheduling = Scheduling()
    assert scheduling.submit(scheduling.stage(0)) == [finish(1)]
    assert scheduling.submit() == [finish(2)]


def test_a_stage_stays_open_when_a_result_before_it_is_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(2, kept=True)
    second = scheduling.stage(2, {4: [range(2, 3)]})
    scheduling.submit(first, second)
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.finish("a", succeeded(2, stored=True))
    scheduling.forget("a", 2)
    assert scheduling.states(2, 3, 4) == ["ready", "pending", "blocked"]
    assert scheduling.join("b", 2) == [launch("b", 1, (2, 2))]


def test_a_stage_that_is_finished_again_opens_nothing() -> None:
    """The third stage waits for the second one, however often the first one is finished."""
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(2, {2: [first.tasks]}), scheduling.stage(1))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.forget("a", 1)
    scheduling.give_back("a", (2, 1))
    assert scheduling.states(1, 2, 3, 4) == ["pending", "blocked", "pending", "blocked"]
    scheduling.finish("a", succeeded(1, 2, stored=True))
    assert scheduling.states(1, 2, 3, 4) == ["done", "pending", "pending", "blocked"]
    scheduling.finish("a", succeeded(2, 2))
    assert scheduling.finish("a", succeeded(3))[1:] == [launch("a", 3, 4)]


def test_a_stage_that_is_not_open_does_not_open_the_next_one() -> None:
    """All its tasks are cancelled while it waits for the first stage, and the third stage comes after it."""
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first, second = scheduling.stage(1), scheduling.stage(2)
    scheduling.submit(first, second, scheduling.stage(1, after=(second.stage,)))
    scheduling.cancel_tasks(2, 3)
    assert scheduling.states(1, 2, 3, 4) == ["pending", "done", "done", "blocked"]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 3, 4)]


def test_a_long_row_of_empty_stages_is_passed_without_a_deep_recursion() -> None:
    scheduling = Scheduling()
    assert scheduling.submit(*(scheduling.stage(0) for _ in range(1500))) == [finish(1)]


def test_a_job_is_finished_when_the_results_that_are_made_again_are_there_too() -> None:
    """The consumer of task 1 that waits for it is not the last task that ends."""
    scheduling = Scheduling()
    scheduling.join("a")
    first, second = scheduling.stage(1, kept=True), scheduling.stage(2, {2: [range(1, 2)]})
    scheduling.submit(first, second)
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.join("b")
    scheduling.lose("a")
    assert scheduling.states(1, 2, 3) == ["ready", "blocked", "pending"]
    assert scheduling.finish("b", succeeded(3)) == [settle("b", 2, 3), launch("b", 1, (1, 2))]
    assert scheduling.finish("b", succeeded(1, 2, stored=True)) == [
        settle("b", 1, (1, 2)),
        launch("b", 2, attempt(2, 2, b=[1])),
    ]
    assert scheduling.finish("b", succeeded(2, 2)) == [settle("b", 2, (2, 2)), finish(1)]
