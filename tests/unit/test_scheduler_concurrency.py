"""How many attempts may be under way: of a worker, a stage, a job."""

from __future__ import annotations

from bndl.schedule.instructions import Launch, TaskOutcome
from tests.unit.scheduling import (
    Scheduling,
    abandon,
    cancelled,
    failed,
    finish,
    gave_up,
    launch,
    settle,
    succeeded,
)


def test_free_slots_are_filled_and_no_more() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    assert scheduling.submit(scheduling.stage(3)) == [launch("a", 1, 1, 2)]
    assert scheduling.finish("a", succeeded(2)) == [settle("a", 1, 2), launch("a", 1, 3)]


def test_a_worker_that_joins_is_given_what_is_ready() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(4))
    assert scheduling.join("b", 2) == [launch("b", 1, 2, 3)]


def test_few_tasks_are_spread_evenly_for_the_size_of_the_workers() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.join("b", 2)
    assert scheduling.submit(scheduling.stage(3)) == [launch("a", 1, 1, 2), launch("b", 1, 3)]


def test_workers_with_less_to_do_come_first() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1))
    scheduling.join("b", 2)
    assert scheduling.submit(scheduling.stage(1)) == [launch("b", 2, 2)]
    assert scheduling.submit(scheduling.stage(1)) == [launch("a", 3, 3)]


def test_the_slots_of_a_worker_are_for_all_jobs_together() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(2))
    assert scheduling.submit(scheduling.stage(2)) == [launch("a", 2, 3)]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 2, 4)]


def test_a_stage_has_no_more_under_way_than_its_concurrency() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.join("b", 2)
    assert scheduling.submit(scheduling.stage(4, concurrency=3)) == [launch("a", 1, 1, 2), launch("b", 1, 3)]
    assert scheduling.finish("b", succeeded(3)) == [settle("b", 1, 3), launch("b", 1, 4)]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1)]


def test_the_next_stage_has_a_concurrency_of_its_own() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(1, concurrency=1), scheduling.stage(4, concurrency=2))
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 2, 2, 3)]


def test_a_job_has_no_more_under_way_than_its_concurrency() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    assert scheduling.submit(scheduling.stage(3, concurrency=3), concurrency=2) == [launch("a", 1, 1, 2)]
    assert scheduling.finish("a", succeeded(1)) == [settle("a", 1, 1), launch("a", 1, 3)]


def test_a_job_at_its_limit_leaves_the_slots_to_others() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(5), concurrency=1)
    assert scheduling.submit(scheduling.stage(5)) == [launch("a", 2, 6, 7)]


def test_a_stage_at_its_limit_starts_one_for_each_attempt_that_ends_however_it_ends() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(6, attempts=2, concurrency=2))
    assert scheduling.finish("a", failed(1))[1:] == [launch("a", 1, (1, 2))]
    assert scheduling.finish("a", gave_up(2))[1:] == [launch("a", 1, (2, 2))]
    assert scheduling.give_back("a", (1, 2)) == [launch("a", 1, (1, 3))]
    lost = scheduling.lose("a")
    assert not [each for each in lost if isinstance(each, Launch)]
    assert scheduling.join("b", 4) == [launch("b", 1, (2, 3), (1, 4))]


def test_an_abandoned_attempt_takes_its_slot_until_the_worker_says_that_it_ended() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    assert scheduling.cancel(1) == [
        cancelled(1, (1, 1)),
        abandon("a", (1, 1)),
        finish(1, TaskOutcome.CANCELLED, reason="not wanted"),
    ]
    assert scheduling.states(2) == ["ready"]
    assert scheduling.finish("a", gave_up(1)) == [launch("a", 2, 2)]


def test_an_abandoned_attempt_that_was_given_back_takes_no_slot() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    assert scheduling.give_back("a", (1, 1)) == [launch("a", 2, 2)]
