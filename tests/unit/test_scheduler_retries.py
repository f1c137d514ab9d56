"""Failed tasks are tried again after a time, elsewhere first, unless there is no hope."""

from __future__ import annotations

import pytest

from bndl.schedule.events import AttemptsFinished, Kind, RetryRule
from bndl.schedule.instructions import End, Launch, NoteAttempt, TaskOutcome, WakeAt
from bndl.schedule.retrying import delay_of
from tests.unit.scheduling import Ended, Scheduling, fail, failed, finish, launch, note, settle, succeeded

RAISED = (End.FAILED, "the task raised")


def test_the_waits_grow_and_vary_within_the_jitter() -> None:
    rule = RetryRule(backoff=0.5, factor=2.0, jitter=0.1)
    for failures, expected in ((1, 0.5), (2, 1.0), (3, 2.0)):
        delays = [delay_of(rule, task, failures) for task in range(1000)]
        assert min(delays) >= 0.9 * expected
        assert max(delays) <= 1.1 * expected
        assert len(set(delays)) > 990
        assert sum(delays) / len(delays) == pytest.approx(expected, rel=0.01)
    assert delay_of(rule, 7, 2) == delay_of(rule, 7, 2), "the same events give the same instructions"
    assert delay_of(RetryRule(backoff=0.5, jitter=0.0), 7, 1) == 0.5
    assert delay_of(RetryRule(), 7, 5) == 0.0


def test_a_task_waits_for_the_time_of_its_next_attempt() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2, retry=RetryRule(backoff=1.0, jitter=0.0)))
    scheduling.now = 10.0
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), WakeAt(11.0)]
    assert scheduling.states(1) == ["blocked"]
    scheduling.now = 10.9
    assert scheduling.wake() == [WakeAt(11.0)], "too early, so it is asked for again"
    scheduling.now = 11.0
    assert scheduling.wake() == [launch("a", 1, (1, 2))]


def test_what_comes_between_a_time_and_its_alarm_leaves_no_task_waiting() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    rule = RetryRule(backoff=1.0, jitter=0.0)
    scheduling.submit(scheduling.stage(3, attempts=2, retry=rule))
    assert WakeAt(1.0) in scheduling.finish("a", failed(1))
    scheduling.now = 0.5
    scheduling.finish("a", failed(2))
    scheduling.now = 1.01  # the alarm is late
    assert scheduling.finish("a", succeeded(3))[-2:] == [launch("a", 1, (1, 2)), WakeAt(1.5)]
    scheduling.now = 1.02
    assert scheduling.wake() == [WakeAt(1.5)], "whoever lets an alarm ring for the first time only is told again"
    scheduling.now = 1.5
    assert scheduling.wake() == [launch("a", 1, (2, 2))]


def test_others_go_on_meanwhile() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, attempts=2, retry=RetryRule(backoff=1.0)))
    assert launch("a", 1, 2) in scheduling.finish("a", failed(1))


def test_a_task_waits_for_its_time_and_for_its_inputs() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    retry = RetryRule(backoff=1.0, jitter=0.0)
    scheduling.submit(first, scheduling.stage(1, {2: [first.tasks]}, attempts=2, retry=retry))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.forget("a", 1)
    assert launch("a", 1, (1, 2)) in scheduling.finish("a", failed(2))
    scheduling.now = 2.0
    assert scheduling.wake() == []
    assert scheduling.states(1, 2) == ["pending", "blocked"]
    scheduling.finish("a", succeeded(1, 2, stored=True))
    assert scheduling.states(1, 2) == ["done", "pending"]


def test_a_task_that_waits_for_its_time_may_be_cancelled() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2, retry=RetryRule(backoff=1.0)))
    scheduling.finish("a", failed(1))
    assert scheduling.cancel(1)[-1] == finish(1, TaskOutcome.CANCELLED, reason="not wanted")
    scheduling.now = 100.0
    assert scheduling.wake() == []


def test_another_worker_first() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=3))
    scheduling.join("b")
    assert scheduling.finish("a", failed(1)) == [note("a", 1, 1, *RAISED), launch("b", 1, (1, 2))]
    assert scheduling.finish("b", failed(1, 2))[-1] == launch("a", 1, (1, 3)), "the last worker is never excluded"


def test_it_waits_for_another_worker_only_so_long() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.join("b")
    scheduling.submit(scheduling.stage(2, attempts=2))
    assert scheduling.finish("a", Ended(1, kind=Kind.FAILED, seconds=1.0))[1:] == [WakeAt(5.0)], (
        "five times what a task took"
    )
    scheduling.now = 5.0
    assert scheduling.wake() == [launch("a", 1, (1, 2))]


def test_anywhere_if_it_does_not_matter() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2, retry=RetryRule(elsewhere=False)))
    assert scheduling.finish("a", failed(1))[-1] == launch("a", 1, (1, 2))


def test_an_error_without_hope_ends_the_task_at_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=5))
    assert scheduling.handle(AttemptsFinished("a", [failed(1)], hopeless=[1])) == [
        note("a", 1, 1, *RAISED),
        fail(1, 1),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_single_tasks_may_differ() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    never = RetryRule(backoff=1.0, jitter=0.0)
    scheduling.submit(scheduling.stage(2, attempts=2, task_retries={2: never}, task_losses={2: 1}))
    assert scheduling.finish("a", failed(1))[-1] == launch("a", 1, (1, 2))
    scheduling.finish("a", failed(2))
    assert scheduling.states(1, 2) == ["pending", "blocked"]


def test_a_stage_tolerates_failures() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(3, max_failures=1))
    assert scheduling.finish("a", failed(1))[1:] == [fail(1, 1)]
    assert scheduling.finish("a", succeeded(2), succeeded(3)) == [settle("a", 1, 2, 3), finish(1)]


def test_one_failure_more_than_that_ends_the_job() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(3, max_failures=1))
    assert scheduling.finish("a", failed(1), failed(2))[-1] == finish(1, TaskOutcome.FAILED, task=2)


def test_a_task_that_was_out_of_time_when_its_worker_was_lost_has_failed() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2, timeout=5.0))
    scheduling.now = 6.0
    (noted,) = (each for each in scheduling.lose("a") if isinstance(each, NoteAttempt))
    assert noted.end is End.TIMED_OUT
    scheduling.join("a")
    scheduling.now = 7.0
    assert next(each for each in scheduling.lose("a") if isinstance(each, NoteAttempt)).end is End.LOST


def test_nothing_with_a_timeout_is_queued() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(50, timeout=5.0))
    scheduling.finish("a", succeeded(1, seconds=0.001))
    (batch,) = [each for each in scheduling.finish("a", succeeded(2, seconds=0.001)) if isinstance(each, Launch)]
    assert len(batch.attempts) == 1
