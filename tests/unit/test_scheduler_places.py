"""Tasks run where they want to, wait a while for it, and never run where they must not."""

from __future__ import annotations

from bndl.schedule.events import PlacesScored
from bndl.schedule.instructions import Attempt, Launch, Locality, Settle, TaskOutcome, WakeAt
from bndl.schedule.placement import NOTABLE_BYTES, preferred_by_inputs
from tests.unit.scheduling import Ended, Scheduling, finish, succeeded


def at(worker: str, stage: int, *tasks: int, locality: Locality = Locality.BEST) -> Launch:
    return Launch(worker, stage, tuple(Attempt(task, 1, locality=locality) for task in tasks))


def test_a_task_goes_where_it_is_wanted_most() -> None:
    scheduling = Scheduling()
    for worker in "abc":
        scheduling.join(worker)
    assert scheduling.submit(scheduling.stage(1, scores={"b": 1, "c": 2})) == [at("c", 1, 1)]


def test_it_waits_for_a_better_worker_five_times_what_its_stage_s_tasks_take() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    scheduling.submit(scheduling.stage(3, scores={"a": 1}))
    assert scheduling.states(1, 2) == ["pending", "pending"], "nothing is known of them yet, so none waits"
    assert scheduling.finish("a", succeeded(1, seconds=0.1))[-1] == at("a", 1, 3)
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3, scores={"a": 1}))
    scheduling.finish("a", succeeded(1, seconds=1.0))
    assert scheduling.join("b") == [WakeAt(5.0)]
    scheduling.now = 5.0
    assert scheduling.wake() == [at("b", 1, 3, locality=Locality.OTHER)]


def test_it_never_runs_where_it_must_not() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, scores={"b": -1}))
    assert scheduling.join("b") == []
    scheduling.now = 1000.0
    assert scheduling.wake() == []


def test_a_task_that_no_worker_may_run_fails_at_once_and_says_why() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1, scores={"a": -1, "b": -2}))
    assert scheduling.states(1) == ["ready"], "there is none yet"
    settled, finished = scheduling.join("a")
    assert isinstance(settled, Settle)
    assert settled.reason == "its locality forbids all workers: a (score -1)"
    assert finished == finish(1, TaskOutcome.FAILED, task=1)


def test_the_last_worker_that_was_allowed_is_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, scores={"b": -1}))
    scheduling.join("b")
    assert scheduling.lose("a")[-1] == finish(1, TaskOutcome.FAILED, task=1)


def test_single_tasks_may_differ() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    launches = scheduling.submit(scheduling.stage(2, scores={"a": 1}, task_scores={1: {"b": 3}}))
    assert sorted(launches, key=repr) == [at("a", 1, 2), at("b", 1, 1)]


def test_users_may_change_their_minds() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3, scores={"b": -1}))
    scheduling.join("b")
    assert scheduling.handle(PlacesScored(1, {}, {3: {"b": 1}})) != []
    assert scheduling.states(3) == ["pending"]


def test_where_most_bytes_of_the_inputs_are() -> None:
    assert preferred_by_inputs({}) == ({}, False)
    assert preferred_by_inputs({"a": 0}) == ({}, False)
    assert preferred_by_inputs({"a": NOTABLE_BYTES, "b": 0}) == ({"a": 1}, True)
    assert preferred_by_inputs({"a": NOTABLE_BYTES, "b": 1}) == ({"a": 1}, False), "not worth a wait"
    assert preferred_by_inputs({"a": 60, "b": 40}) == ({}, False)


def with_inputs(size: int) -> Scheduling:
    """Both workers are there, a keeps the result of task 1 and is busy, and task 2 needs it."""
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    second = scheduling.stage(2, {2: [first.tasks], 3: [first.tasks]}, after=())
    scheduling.submit(first, second)
    scheduling.finish("a", Ended(1, stored=True, size=size))
    return scheduling


def test_a_task_waits_for_the_worker_that_has_its_large_inputs() -> None:
    scheduling = with_inputs(10 * NOTABLE_BYTES)
    scheduling.finish("a", Ended(2, seconds=1.0))
    scheduling = with_inputs(10 * NOTABLE_BYTES)
    stage = scheduling.scheduler.stages[2]
    stage.note_seconds(1.0, 1)
    assert scheduling.join("b") == [WakeAt(5.0)]


def test_it_does_not_wait_for_small_ones() -> None:
    scheduling = with_inputs(10)
    scheduling.scheduler.stages[2].note_seconds(1.0, 1)
    (batch,) = scheduling.join("b")
    assert isinstance(batch, Launch)
    assert batch.worker == "b"
    assert batch.attempts[0].locality is Locality.OTHER
