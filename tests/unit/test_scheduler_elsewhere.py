"""A task that failed on a worker is tried on another one first, and the last one is never excluded."""

from __future__ import annotations

from bndl.schedule.delay_scheduling import ELSEWHERE_PATIENCE, PLACE_PATIENCE
from bndl.schedule.events import RetryRule
from bndl.schedule.instructions import Attempt, Launch, Locality, WakeAt
from tests.unit.scheduling import Scheduling, failed, launch, missed, settle, succeeded


def test_another_worker_is_first() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1, attempts=3))
    scheduling.join("b")
    assert scheduling.finish("a", failed(1))[1:] == [launch("b", 1, (1, 2))]


def test_the_same_worker_will_do_if_there_is_no_other_one() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=3))
    assert scheduling.finish("a", failed(1))[1:] == [launch("a", 1, (1, 2))]


def test_so_will_any_if_it_failed_on_all_of_them() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=3))
    scheduling.join("b")
    assert scheduling.finish("a", failed(1))[1:] == [launch("b", 1, (1, 2))]
    assert len(scheduling.finish("b", failed(1, 2))[1:]) == 1
    assert scheduling.states(1) == ["pending"]


def test_it_waits_for_a_worker_that_is_busy_but_not_for_long() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, attempts=3))
    scheduling.join("b")
    scheduling.now = 10.0
    assert scheduling.finish("a", failed(1))[1:] == [WakeAt(10.0 + PLACE_PATIENCE)]  # an attempt takes a second
    assert scheduling.states(1) == ["ready"]
    scheduling.now = 10.0 + PLACE_PATIENCE
    assert scheduling.wake() == [launch("a", 1, (1, 2))]


def test_tasks_of_microseconds_wait_for_seconds() -> None:
    """Five times a microsecond is over before any other worker has a free slot."""
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, attempts=2))
    scheduling.join("b")
    scheduling.now = 10.0
    assert scheduling.finish("a", failed(1, seconds=1e-6))[1:] == [WakeAt(10.0 + ELSEWHERE_PATIENCE)]
    scheduling.now = 10.0 + 0.99 * ELSEWHERE_PATIENCE
    assert scheduling.wake() == [WakeAt(10.0 + ELSEWHERE_PATIENCE)]
    assert scheduling.finish("b", succeeded(2, seconds=1e-6))[-1] == launch("b", 1, (1, 2))


def test_not_for_good() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, attempts=2))
    scheduling.join("b")
    scheduling.finish("a", failed(1, seconds=1e-6))
    scheduling.now = ELSEWHERE_PATIENCE
    assert scheduling.wake() == [launch("a", 1, (1, 2))]


def test_a_worker_with_a_lower_score_is_better_than_one_on_which_the_task_failed() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    scheduling.join("c")
    scheduling.submit(scheduling.stage(2, scores={"a": 2, "b": 2, "c": 1}, attempts=3))
    assert scheduling.states(1, 2) == ["pending", "pending"]
    scheduling.now = 10.0
    scheduling.finish("a", failed(1, seconds=0.1))
    assert scheduling.states(1) == ["ready"], "it prefers b, and waits for it"
    scheduling.now = 10.0 + 0.1 * PLACE_PATIENCE
    assert scheduling.wake() == [launch("c", 1, Attempt(1, 2, (), Locality.OTHER))]


def test_both_attempts_of_a_straggler_fail_and_the_next_one_avoids_both_workers() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3, attempts=3, speculate=True))
    scheduling.finish("a", succeeded(1))
    scheduling.finish("a", succeeded(2))
    scheduling.join("b")
    scheduling.now = 10.0
    assert scheduling.wake()[0] == Launch("b", 1, (Attempt(3, 2, twin=True),))
    scheduling.finish("a", failed(3, 1))
    scheduling.finish("b", failed(3, 2))
    assert scheduling.scheduler.tasks[3].avoid == ("a", "b")


def test_a_task_that_came_later_does_not_make_it_wait_longer() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(3, attempts=3))
    scheduling.join("b")
    scheduling.now = 10.0
    scheduling.finish("a", failed(1))
    scheduling.now = 12.0
    scheduling.finish("a", failed(2))
    assert scheduling.states(1, 2, 3) == ["ready", "ready", "pending"]
    scheduling.now = 10.0 + PLACE_PATIENCE
    assert scheduling.wake() == [launch("a", 1, (2, 2), (1, 2))]


def test_the_next_best_worker_is_next() -> None:
    scheduling = Scheduling()
    for worker in "abcd":
        scheduling.join(worker)
    scheduling.submit(scheduling.stage(2, scores={"c": 2, "d": 1}))
    running = {name: list(worker.running) for name, worker in scheduling.scheduler.workers.items()}
    assert running == {"a": [], "b": [], "c": [1], "d": [2]}, "no task was measured yet, so none waits"


def test_meanwhile_others_use_the_slot() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3, attempts=3))
    scheduling.join("b")
    assert scheduling.finish("a", failed(1))[1] == launch("a", 1, 3)
    assert scheduling.finish("b", succeeded(2)) == [settle("b", 1, 2), launch("b", 1, (1, 2))]


def test_it_does_not_wait_for_a_worker_that_is_gone() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=3))
    scheduling.join("b")
    scheduling.submit(scheduling.stage(1))
    scheduling.finish("a", failed(1))
    assert scheduling.states(1, 2) == ["ready", "pending"]
    assert scheduling.lose("b")[1:] == [launch("a", 1, (1, 2))]


def test_a_stage_may_do_without() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1, attempts=3, retry=RetryRule(elsewhere=False)))
    scheduling.join("b")
    assert scheduling.finish("a", failed(1))[1:] == [launch("a", 1, (1, 2))]


def test_a_task_and_what_it_missed_meet_on_another_worker() -> None:
    """Worker a may be cut off from the others."""
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(2, {2: [first.tasks], 3: [first.tasks]}))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.join("b")
    assert scheduling.finish("b", missed(3, 1, (1, "a")))[1:] == [launch("b", 1, (1, 2))]
