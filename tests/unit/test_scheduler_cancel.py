"""Jobs that are cancelled."""

from __future__ import annotations

from bndl.schedule import events
from bndl.schedule.instructions import TaskOutcome
from tests.unit.scheduling import (
    Scheduling,
    abandon,
    cancelled,
    failed,
    finish,
    gave_up,
    launch,
    release,
    settle,
    succeeded,
)

OVER = finish(1, TaskOutcome.CANCELLED, reason="not wanted")


def test_what_waits_is_cancelled_and_what_runs_is_abandoned() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    scheduling.submit(scheduling.stage(4), scheduling.stage(1))
    scheduling.finish("a", succeeded(1))
    assert scheduling.states(1, 2, 3, 4, 5) == ["done", "pending", "pending", "ready", "blocked"]
    assert scheduling.cancel(1) == [
        cancelled(1, (2, 1), (3, 1), 4),
        cancelled(2, 5),
        abandon("b", (2, 1)),
        abandon("a", (3, 1)),
        OVER,
    ]
    assert not scheduling.scheduler.tasks
    assert not scheduling.scheduler.stages
    assert not scheduling.scheduler.jobs


def test_a_job_that_has_not_begun() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2))
    assert scheduling.cancel(1) == [cancelled(1, 1, 2), OVER]
    assert scheduling.join("a") == []


def test_tasks_that_are_done_were_settled_already() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1, kept=True), scheduling.stage(1))
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.cancel(1) == [cancelled(2, (2, 1)), abandon("a", (2, 1)), OVER]


def test_results_on_their_way_to_the_driver_are_not_waited_for() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", succeeded(1, stored=True)) == [settle("a", 1, 1, stored=True)]
    assert scheduling.cancel(1) == [OVER]
    assert scheduling.deliver(1) == []


def test_what_is_kept_of_a_cancelled_job_is_lost_without_effect() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1, kept=True), scheduling.stage(1, {2: [range(1, 2)]}))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.cancel(1)
    assert scheduling.forget("a", 1) == []
    assert scheduling.lose("a") == []


def test_attempts_that_end_after_all_leave_nothing_behind() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(3))
    scheduling.cancel(1)
    assert scheduling.finish("a", succeeded(1, stored=True), failed(2), gave_up(3)) == [release("a", 1)]
    assert scheduling.submit(scheduling.stage(3)) == [launch("a", 2, 4, 5, 6)]


def test_slots_of_abandoned_attempts_come_back_one_by_one() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    scheduling.cancel(1)
    assert scheduling.submit(scheduling.stage(2)) == []
    assert scheduling.finish("a", gave_up(2)) == [launch("a", 2, 3)]
    assert scheduling.give_back("a", (1, 1)) == [launch("a", 2, 4)]


def test_other_jobs_take_the_slots_that_are_free() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    assert scheduling.join("a") == [launch("a", 2, 2)]


def test_many_of_several_stages_are_cancelled_at_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(20, priority=1), scheduling.stage(20, after=()))
    scheduling.handle(events.TasksCancelled([*range(1, 16), *range(21, 41)], "not wanted"))
    assert scheduling.states(*range(16, 21)) == ["ready"] * 5
    assert set(scheduling.states(*range(1, 16), *range(21, 41))) == {"done"}
    assert scheduling.finish("a", gave_up(1), gave_up(2)) == [launch("a", 1, 16, 17)]


def test_a_task_is_cancelled_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2))
    assert len(scheduling.cancel_tasks(2, 2)) == 1
    assert scheduling.cancel_tasks(2) == []
    assert scheduling.states(1, 2) == ["pending", "done"]


def test_a_growing_job() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, growing=True))
    scheduling.finish("a", succeeded(1))
    assert scheduling.cancel(1) == [cancelled(1, (2, 1)), abandon("a", (2, 1)), OVER]
