"""Stragglers get a second attempt on an idle slot, and the first one that succeeds counts."""

from __future__ import annotations

from typing import Any

from bndl.schedule.instructions import Attempt, End, Launch, NoteAttempt, WakeAt
from tests.unit.scheduling import Scheduling, abandon, fail, failed, finish, launch, note, settle, succeeded

TWIN = (End.ABANDONED, "its twin was first")


def straggling(**options: Any) -> Scheduling:
    """Task 4 runs on a for long, a is otherwise idle, and so is b: the other three took a second each."""
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(4, speculate=True, **options))
    for task in (1, 2, 3):
        scheduling.now += 1.0
        scheduling.finish("a", succeeded(task))
    scheduling.join("b")
    return scheduling


def twin(worker: str, task: int, number: int) -> Launch:
    return Launch(worker, 1, (Attempt(task, number, twin=True),))


def test_a_straggler_is_launched_again_after_twice_the_average() -> None:
    scheduling = straggling()
    scheduling.now = 3.0 + 1.9
    assert scheduling.wake() == [WakeAt(5.0)]
    scheduling.now = 3.0 + 2.0
    assert scheduling.wake() == [twin("b", 4, 2)]
    scheduling.now = 100.0
    assert scheduling.wake() == [], "once"


def test_a_stage_that_does_not_ask_for_it_is_left_alone() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2))
    scheduling.finish("a", succeeded(1))
    scheduling.join("b")
    scheduling.now = 100.0
    assert scheduling.wake() == []


def raced() -> Scheduling:
    scheduling = straggling(attempts=2)
    scheduling.now = 10.0
    assert scheduling.wake() == [twin("b", 4, 2)]
    return scheduling


def test_the_twin_wins() -> None:
    scheduling = raced()
    assert scheduling.finish("b", succeeded(4, 2)) == [
        note("a", 4, 1, *TWIN),
        abandon("a", (4, 1)),
        settle("b", 1, (4, 2)),
        finish(1),
    ]
    scheduling.submit(scheduling.stage(2))
    assert scheduling.states(5, 6) == ["pending", "ready"], "the slot of the loser is taken until it ended"
    assert scheduling.finish("a", failed(4, 1)) == [launch("a", 2, 6)]


def test_the_straggler_wins() -> None:
    scheduling = raced()
    assert scheduling.finish("a", succeeded(4)) == [
        note("b", 4, 2, *TWIN),
        abandon("b", (4, 2)),
        settle("a", 1, 4),
        finish(1),
    ]


def test_one_of_them_fails_and_the_other_goes_on() -> None:
    for first, number, other, last in (("a", 1, "b", 2), ("b", 2, "a", 1)):
        scheduling = raced()
        assert scheduling.finish(first, failed(4, number)) == [note(first, 4, number, End.FAILED, "the task raised")]
        assert scheduling.states(4) == ["pending"]
        assert scheduling.finish(other, succeeded(4, last)) == [settle(other, 1, (4, last)), finish(1)]


def test_both_fail() -> None:
    scheduling = raced()
    scheduling.finish("a", failed(4, 1))
    assert not scheduling.scheduler.jobs or scheduling.states(4) == ["pending"]
    scheduling.finish("b", failed(4, 2))
    assert not scheduling.scheduler.jobs


def test_one_of_their_workers_is_lost() -> None:
    for lost, other, number in (("a", "b", 2), ("b", "a", 1)):
        scheduling = raced()
        notes = [each for each in scheduling.lose(lost) if isinstance(each, NoteAttempt)]
        assert [each.worker for each in notes] == [lost]
        assert scheduling.states(4) == ["pending"]
        assert scheduling.finish(other, succeeded(4, number))[-1] == finish(1)


def test_an_attempt_after_both_has_a_new_number() -> None:
    scheduling = raced()
    scheduling.lose("a")
    scheduling.lose("b")
    assert scheduling.join("c") == [launch("c", 1, (4, 3))]


def test_a_job_that_is_cancelled_abandons_both() -> None:
    scheduling = raced()
    abandoned = [each for each in scheduling.cancel(1) if each in (abandon("a", (4, 1)), abandon("b", (4, 2)))]
    assert len(abandoned) == 2
    assert scheduling.scheduler.pending == 0


def test_a_straggler_waits_for_a_place() -> None:
    """The only idle slot is on its own worker, until another worker joins."""
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(4, speculate=True))
    for task in (1, 2, 3):
        scheduling.now += 1.0
        scheduling.finish("a", succeeded(task))
    scheduling.now = 10.0
    assert scheduling.wake() == []
    scheduling.now = 10.5
    assert twin("b", 4, 2) in scheduling.join("b")


def test_the_place_that_the_user_prefers() -> None:
    scheduling = straggling(scores={"a": 5, "c": 2, "d": 1, "e": -1})
    for worker in "decf":
        scheduling.join(worker)
    scheduling.now = 10.0
    assert scheduling.wake() == [twin("c", 4, 2)]


def test_a_suspect_gets_no_second_attempt() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(4, speculate=True))
    scheduling.join("a", 4)
    scheduling.finish("a", succeeded(1), succeeded(2), succeeded(3))
    scheduling.lose("a")
    scheduling.join("b")
    scheduling.join("c")
    scheduling.now = 100.0
    assert [each for each in scheduling.wake() if isinstance(each, Launch)] == []


def test_what_uses_up_a_budget_abandons_the_other_attempt() -> None:
    """Its worker is lost, and that was its own doing."""
    scheduling = straggling(losses=1)
    scheduling.now = 10.0
    assert scheduling.wake() == [twin("b", 4, 2)]
    instructions = scheduling.lose("a")
    assert abandon("b", (4, 2)) in instructions
    assert fail(1, 4, 2) in instructions


def test_a_straggler_whose_inputs_are_lost_gets_no_twin() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(3, {4: [first.tasks]}, speculate=True))
    scheduling.finish("a", succeeded(1, stored=True))
    for task in (2, 3):
        scheduling.finish("a", succeeded(task))
    assert scheduling.states(4) == ["pending"]
    scheduling.forget("a", 1)
    scheduling.join("b")
    scheduling.now = 100.0
    assert not [each for each in scheduling.wake() if isinstance(each, Launch)]


def test_a_twin_that_fails_does_not_fail_a_straggler_that_may_succeed() -> None:
    scheduling = straggling()
    scheduling.now = 10.0
    assert scheduling.wake() == [twin("b", 4, 2)]
    assert scheduling.finish("b", failed(4, 2)) == [note("b", 4, 2, End.FAILED, "the task raised")]
    assert scheduling.finish("a", succeeded(4)) == [settle("a", 1, 4), finish(1)]


def test_a_straggler_of_a_growing_stage_is_launched_again_and_forgotten() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(0, growing=True, speculate=True))
    scheduling.add(1, 4)
    for task in (1, 2, 3):
        scheduling.now += 1.0
        scheduling.finish("a", succeeded(task))
    scheduling.join("b")
    scheduling.now = 10.0
    assert scheduling.wake() == [twin("b", 4, 2)]
    assert scheduling.finish("b", succeeded(4, 2)) == [
        note("a", 4, 1, *TWIN),
        abandon("a", (4, 1)),
        settle("b", 1, (4, 2)),
    ]
    assert not scheduling.scheduler.tasks
    assert scheduling.add(1, 1) == [launch("b", 1, 5)]
    scheduling.finish("a", failed(4, 1))
    scheduling.close(1)
    assert scheduling.finish("b", succeeded(5)) == [settle("b", 1, 5), finish(1)]
