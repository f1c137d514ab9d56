"""Attempts that are queued behind a long one come back when slots are idle."""

from __future__ import annotations

import pytest

from bndl.schedule.instructions import End, Instruction, Launch, TakeBack, WakeAt
from bndl.schedule.rebalancing import PATIENCE
from tests.unit.scheduling import (
    Scheduling,
    gave_up,
    launch,
    note,
    release,
    settle,
    succeeded,
    take_back,
)

#: When worker a is heard for the last time.
HEARD = 1.0
DUE = HEARD + PATIENCE
QUEUED = [(3, 1), (4, 1), (5, 1), (6, 1)]


def with_queue(*, concurrency: int = 0) -> Scheduling:
    """Worker a has one slot: it executes task 2 and has tasks 3 to 6 in its queue. Tasks 7 to 11 are ready."""
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(11, concurrency=concurrency))
    scheduling.now = HEARD
    assert scheduling.finish("a", succeeded(1, seconds=0.005)) == [settle("a", 1, 1), launch("a", 1, 2, 3, 4, 5, 6)]
    return scheduling


def stuck(*, slots: int = 2) -> Scheduling:
    """The same, and worker b executes tasks 7 to 11 and has more slots that are idle."""
    scheduling = with_queue()
    assert scheduling.join("b", 5 + slots) == [launch("b", 1, 7, 8, 9, 10, 11), WakeAt(DUE)]
    return scheduling


def taken_back() -> Scheduling:
    """The same, and worker a was asked for what it has not started."""
    scheduling = stuck()
    scheduling.now = DUE
    assert scheduling.wake() == [take_back("a", *QUEUED)]
    return scheduling


def requests(instructions: list[Instruction]) -> list[Instruction]:
    return [each for each in instructions if isinstance(each, TakeBack)]


def test_a_silent_worker_is_asked_for_what_it_has_not_started() -> None:
    scheduling = stuck()
    scheduling.now = DUE - 0.001
    assert scheduling.wake() == [WakeAt(DUE)]
    scheduling.now = DUE
    assert scheduling.wake() == [take_back("a", *QUEUED)]


def test_the_idle_slots_get_what_comes_back() -> None:
    scheduling = taken_back()
    assert scheduling.give_back("a", (4, 1), (5, 1)) == [launch("b", 1, (4, 2), (5, 2))]
    assert scheduling.states(2, 3, 4, 5, 6) == ["pending"] * 5


def test_what_comes_back_keeps_its_order() -> None:
    scheduling = taken_back()
    assert scheduling.give_back("a", *QUEUED) == [launch("b", 1, (3, 2), (4, 2))]
    assert scheduling.states(5, 6) == ["ready", "ready"]
    assert scheduling.finish("b", succeeded(7)) == [settle("b", 1, 7), launch("b", 1, (5, 2))]


def test_it_is_asked_once() -> None:
    scheduling = taken_back()
    scheduling.now = DUE + 10 * PATIENCE
    assert scheduling.wake() == []
    assert scheduling.finish("b", succeeded(7)) == [settle("b", 1, 7)]


def test_it_is_asked_again_if_it_is_stuck_again() -> None:
    scheduling = taken_back()
    scheduling.now = DUE + 0.01
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2)]
    assert scheduling.give_back("a") == [WakeAt(DUE + 0.01 + PATIENCE)]
    scheduling.now = DUE + 0.01 + PATIENCE
    assert scheduling.wake() == [take_back("a", (4, 1), (5, 1), (6, 1))]


def test_a_worker_that_gives_nothing_back_is_not_asked_again_at_once() -> None:
    """It has started all of them, and what it tells of the first ones is on its way. Asking it would be a loop."""
    scheduling = taken_back()
    scheduling.now = DUE + 0.001
    assert scheduling.give_back("a") == [WakeAt(DUE + 0.001 + PATIENCE)]


def test_what_it_finished_meanwhile_is_as_good_as_any() -> None:
    scheduling = taken_back()
    assert scheduling.finish("a", succeeded(2), succeeded(3)) == [settle("a", 1, 2, 3)]
    assert scheduling.give_back("a", (5, 1), (6, 1)) == [launch("b", 1, (5, 2), (6, 2))]


def test_a_worker_that_speaks_is_not_stuck() -> None:
    scheduling = stuck()
    scheduling.now = DUE - 0.01
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2)]
    scheduling.now = DUE
    assert scheduling.wake() == [WakeAt(DUE - 0.01 + PATIENCE)]


def test_nothing_comes_back_while_no_slot_is_idle() -> None:
    scheduling = with_queue()
    assert scheduling.join("b", 2) == [launch("b", 1, 7, 8)]
    scheduling.now = DUE + 1.0
    assert scheduling.wake() == []


def test_a_worker_with_nothing_in_its_queue_is_left_alone() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    assert scheduling.join("b", 2) == []
    scheduling.now = 100.0
    assert scheduling.wake() == []


def test_a_worker_that_is_lost_while_it_is_asked_has_nothing_to_answer() -> None:
    scheduling = taken_back()
    instructions = scheduling.lose("a")
    assert [each for each in instructions if isinstance(each, Launch)] == [launch("b", 1, (2, 2), (3, 2))]
    assert scheduling.give_back("a", *QUEUED) == []
    scheduling.join("a")
    assert scheduling.states(2, 3, 4, 5, 6) == ["pending", "pending", "pending", "ready", "ready"]


def test_an_attempt_that_was_given_back_does_not_come_to_an_end() -> None:
    """A worker that says both is wrong; what it said first counts."""
    scheduling = taken_back()
    scheduling.give_back("a", *QUEUED)
    assert scheduling.finish("a", succeeded(3, stored=True), gave_up(4)) == [release("a", 3)]
    assert scheduling.states(3, 4) == ["pending", "pending"]


def test_an_attempt_that_is_given_back_without_being_asked_goes_elsewhere_too() -> None:
    scheduling = stuck()
    assert scheduling.give_back("a", (6, 1))[0] == launch("b", 1, (6, 2))


def test_an_attempt_that_the_worker_gives_up_is_launched_again() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.finish("a", gave_up(1)) == [
        note("a", 1, 1, End.ABANDONED, "the worker gave it up"),
        launch("a", 1, (1, 2)),
    ]


def test_what_was_cancelled_is_not_asked_for() -> None:
    scheduling = stuck()
    scheduling.cancel(1)
    scheduling.now = DUE
    assert scheduling.wake() == []


@pytest.mark.parametrize(("stage", "job"), [(1, 0), (0, 1)])
def test_tasks_that_may_not_run_are_no_reason_to_leave_others_in_a_queue(stage: int, job: int) -> None:
    """The first job has a task that is ready, and is at the limit of its stage or its own."""
    scheduling = Scheduling()
    scheduling.join("b")
    scheduling.submit(scheduling.stage(2, concurrency=stage), concurrency=job)
    scheduling.join("a")
    scheduling.submit(scheduling.stage(11))
    scheduling.now = HEARD
    assert scheduling.finish("a", succeeded(3, seconds=0.005)) == [settle("a", 2, 3), launch("a", 2, 4, 5, 6)]
    assert scheduling.states(2) == ["ready"]
    scheduling.now = DUE
    assert requests(scheduling.join("c", 20)) == [take_back("a", (5, 1), (6, 1))]


def test_what_is_queued_behind_an_abandoned_attempt_comes_back_too() -> None:
    """A slot of worker a is taken by an attempt that does not stop, so all that it has but one is queued."""
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(9))
    scheduling.cancel(1)
    scheduling.now = HEARD
    assert scheduling.finish("a", succeeded(2, seconds=0.005))[1:] == [launch("a", 2, 3, 4, 5, 6, 7)]
    scheduling.now = DUE
    assert requests(scheduling.join("b", 9)) == [take_back("a", (4, 1), (5, 1), (6, 1), (7, 1))]
