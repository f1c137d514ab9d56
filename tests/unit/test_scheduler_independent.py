"""Jobs whose tasks have nothing to do with each other."""

from __future__ import annotations

from bndl.schedule.instructions import Attempt, End
from tests.unit.scheduling import Scheduling, fail, failed, finish, launch, missed, note, settle, succeeded

RAISED = (End.FAILED, "the task raised")


def test_a_task_that_fails_leaves_the_others_alone() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2), independent=True)
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), fail(1, 1), launch("a", 1, 2)]
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2), finish(1)]


def test_the_job_ends_when_the_last_task_fails() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1), independent=True)
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), fail(1, 1), finish(1)]


def test_a_task_that_loses_too_many_workers_leaves_the_others_alone() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2, losses=1), independent=True)
    scheduling.join("a")
    assert scheduling.lose("a") == [note("a", 1, 1, End.LOST, "gone"), fail(1, 1)]
    assert scheduling.join("b") == [launch("b", 1, 2)]


def test_what_succeeded_in_the_same_message_is_settled_before_the_job_ends() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2), independent=True)
    assert scheduling.finish("a", succeeded(1), failed(2)) == [
        settle("a", 1, 1),
        note("a", 2, 1, *RAISED),
        fail(1, 2),
        finish(1),
    ]


def test_a_task_goes_on_without_the_inputs_that_failed() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(2, kept=True)
    scheduling.submit(first, scheduling.stage(1, {3: [first.tasks]}), independent=True)
    scheduling.finish("a", failed(1))
    nothing = Attempt(3, 1, (("", (1,)), ("a", (2,))))
    assert scheduling.finish("a", succeeded(2, stored=True)) == [settle("a", 1, 2), launch("a", 2, nothing)]
    assert scheduling.finish("a", succeeded(3)) == [settle("a", 2, 3), finish(1)]


def test_an_input_that_failed_is_not_made_again_with_one_that_was_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(2, kept=True)
    scheduling.submit(first, scheduling.stage(1, {3: [first.tasks]}), independent=True)
    scheduling.finish("a", failed(1), succeeded(2, stored=True))
    assert scheduling.finish("a", missed(3, 1, (2, "a")))[1:] == [launch("a", 1, (2, 2))]
    assert scheduling.states(1, 2, 3) == ["done", "pending", "blocked"]


def test_a_growing_stage_forgets_what_failed() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, growing=True), independent=True)
    scheduling.finish("a", failed(1))
    assert not scheduling.scheduler.tasks
    assert scheduling.add(1, 1) == [launch("a", 1, 2)]
    assert scheduling.close(1) == []
    assert scheduling.finish("a", failed(2)) == [note("a", 2, 1, *RAISED), fail(1, 2), finish(1)]
