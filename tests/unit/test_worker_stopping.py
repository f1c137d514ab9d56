"""A worker's attempts that are cancelled or take too long, in virtual time."""

from __future__ import annotations

import sys

import pytest

from bndl.errors import TaskInterrupted, TaskTimeout
from bndl.execute import failures
from bndl.execute.capture import Capture, TaskStream
from bndl.execute.current import check_cancelled, current_task, running
from bndl.execute.slots import Prepared
from bndl.net import messages
from bndl.net.messages import Finished, Said
from tests.unit.workers import (
    CONFIG,
    STAGE,
    TASK,
    WorkerBench,
    abandon,
    define,
    launch,
    launch_many,
    meanwhile,
)

SUCCEEDED, FAILED, MISSING, ABANDONED = range(4)
GRACE = CONFIG.cancel_grace


def third_is_stubborn(prepared: Prepared) -> bool:
    return prepared.attempt.task == TASK + 2


def write(text: str) -> None:
    """Print, as a task does it in a real worker."""
    prepared = running()
    assert prepared is not None
    prepared.tenancy.write(prepared, "stdout", text)


def test_an_attempt_that_is_abandoned_is_confirmed_when_it_has_been_interrupted() -> None:
    bench = WorkerBench(seconds=100.0)
    bench.receive(define(), launch())
    bench.time.run_until(5.0)
    bench.receive(abandon(0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, ABANDONED, 5.0 + GRACE)]
    assert bench.results[0].seconds == pytest.approx(5.0 + GRACE)


def test_an_abandoned_attempt_that_ends_by_itself_is_confirmed_then_and_leaves_no_result() -> None:
    bench = WorkerBench(seconds=5.5)
    bench.receive(define(kept=True), launch())
    bench.time.run_until(5.0)
    bench.receive(abandon(0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, ABANDONED, 5.5)]
    assert len(bench.store) == 0


def test_an_attempt_that_did_not_begin_is_abandoned_at_once() -> None:
    bench = WorkerBench(seconds=10.0)
    bench.receive(define(), launch_many(3))
    bench.receive(abandon(1, 2))
    bench.time.run_until(50.0)
    assert bench.reported == [(1, ABANDONED, 0.0), (2, ABANDONED, 0.0), (0, SUCCEEDED, 10.0)]


def test_an_attempt_that_is_over_is_not_confirmed_twice() -> None:
    bench = WorkerBench(seconds=1.0)
    bench.receive(define(), launch())
    bench.time.run_until(2.0)
    bench.receive(abandon(0), abandon(0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, SUCCEEDED, 1.0)]


def test_the_other_slot_and_the_next_attempt_are_not_harmed() -> None:
    bench = WorkerBench(seconds=5.0, concurrency=2)
    bench.receive(define(), launch_many(3))
    bench.time.run_until(1.0)
    bench.receive(abandon(0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, ABANDONED, 2.0), (1, SUCCEEDED, 5.0), (2, SUCCEEDED, 7.0)]


def test_an_attempt_that_takes_too_long_fails() -> None:
    bench = WorkerBench(seconds=100.0)
    bench.receive(define(), launch_many(1, timeout=10.0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, FAILED, 10.0 + GRACE)]
    failure, error = failures.rebuild(bench.results[0].payload)
    assert isinstance(error, TaskTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.task, error.timeout) == ("stage[0]", 10.0)
    assert "stage[0] took longer than its timeout of 10 s" in failure.line
    assert failures.matches(bench.results[0].payload, [TimeoutError])


def test_the_time_in_the_queue_does_not_count() -> None:
    bench = WorkerBench(seconds=9.0)
    bench.receive(define(), launch_many(3, timeout=10.0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, SUCCEEDED, 9.0), (1, SUCCEEDED, 18.0), (2, SUCCEEDED, 27.0)]


def test_an_attempt_that_returns_when_its_time_is_over_has_failed() -> None:
    bench = WorkerBench(seconds=10.5)
    bench.receive(define(), launch_many(1, timeout=10.0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, FAILED, 10.5)]


def test_the_time_of_an_attempt_runs_out_while_its_function_returns() -> None:
    bench = WorkerBench(seconds=10.0)
    bench.receive(define(), launch_many(1, timeout=10.0))
    meanwhile.append(bench.worker._interrupter._look)  # noqa: SLF001 - in the very moment
    bench.time.run_until(50.0)
    assert bench.reported == [(0, FAILED, 10.0)]
    assert isinstance(failures.rebuild(bench.results[0].payload)[1], TaskTimeout)


def test_a_task_can_ask_whether_it_was_cancelled_or_is_out_of_time() -> None:
    bench = WorkerBench()
    asked: list[str] = []

    def ask() -> None:
        check_cancelled()
        bench.receive(abandon(current_task().index))
        try:
            check_cancelled()
        except Exception as error:
            asked.append(f"{type(error).__name__}: {error}")
            raise

    meanwhile.append(ask)
    bench.receive(define(), launch())
    bench.time.run_until(50.0)
    assert asked == ["TaskCancelled: stage[0] was cancelled: nobody waits for its result any more"]
    assert bench.kinds == [ABANDONED]


def test_what_the_user_makes_of_a_timeout_is_in_the_traceback() -> None:
    bench = WorkerBench()

    def convert() -> None:
        prepared = running()
        assert prepared is not None
        bench.worker._interrupter._due[prepared] = 0.0  # noqa: SLF001 - its time is over now
        bench.worker._interrupter._look()  # noqa: SLF001
        try:
            check_cancelled()
        except TimeoutError as error:
            raise KeyError("my own") from error

    meanwhile.append(convert)
    bench.receive(define(), launch_many(1, timeout=10.0))
    bench.time.run_until(50.0)
    failure, error = failures.rebuild(bench.results[0].payload)
    assert isinstance(error, TaskTimeout)
    assert "KeyError: 'my own'" in failure.trace
    assert "in convert" in failure.trace


# An attempt that nothing stops


def test_with_a_stubborn_attempt_the_worker_ends_and_says_why() -> None:
    bench = WorkerBench(seconds=100.0, is_stubborn=lambda _: True)
    bench.receive(define(), launch())
    bench.time.run_until(5.0)
    bench.receive(abandon(0))
    bench.time.run_until(5.0 + 2 * GRACE - 0.01)
    assert bench.ends == []
    bench.time.run_until(50.0)
    (reason,) = bench.ends
    assert "stage[0] of job 'job' did not end after it was cancelled" in reason
    assert bench.reported == [], "the end of its process is the confirmation"


def test_a_stubborn_attempt_that_is_out_of_time_fails_before_the_worker_ends() -> None:
    bench = WorkerBench(seconds=100.0, is_stubborn=lambda _: True)
    bench.receive(define(), launch_many(1, timeout=10.0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, FAILED, 10.0 + 2 * GRACE)]
    assert isinstance(failures.rebuild(bench.results[0].payload)[1], TaskTimeout)
    assert len(bench.ends) == 1


def test_what_is_finished_and_said_is_sent_before_the_worker_ends() -> None:
    bench = WorkerBench(
        lambda prepared: 100.0 if third_is_stubborn(prepared) else 0.0, concurrency=2, is_stubborn=third_is_stubborn
    )
    bench.receive(define(), launch_many(1))
    bench.time.run_until(0.0)
    (tenancy,) = bench.worker._tenancies.values()  # noqa: SLF001
    bench.sent.clear()
    bench.times.clear()
    bench.receive(launch_many(3))
    bench.time.run_until(3.0)
    bench.receive(abandon(2))
    bench.time.run_until(3.0 + 2 * GRACE - 0.01)
    assert [kind for _, kind, _ in bench.reported] == [SUCCEEDED, SUCCEEDED]
    prepared = tenancy.attempts[TASK + 2, 1]
    with pytest.raises(TaskInterrupted):
        tenancy.write(prepared, "stdout", "0\n")
    for number in range(1, 100):
        tenancy.write(prepared, "stdout", f"{number}\n")
    tenancy.outbox.add(messages.Result(TASK + 9, 1, SUCCEEDED, 0.0), more=True)
    bench.time.run_until(50.0)
    assert len(bench.ends) == 1
    assert bench.texts == [f"{number}" for number in range(100)]
    assert bench.reported[-1][0] == 9


def test_attempts_for_a_driver_that_is_lost_are_stopped_and_not_reported() -> None:
    bench = WorkerBench(seconds=100.0, is_stubborn=third_is_stubborn, concurrency=3)
    bench.receive(define(), launch_many(5))
    bench.time.run_until(1.0)
    bench.lose_driver()
    bench.time.run_until(2.5)
    assert len(bench.parts.slots.running) == 1
    bench.time.run_until(50.0)
    assert bench.reported == []
    assert len(bench.ends) == 1


def test_stopping_one_drivers_attempts_leaves_those_of_another_alone() -> None:
    bench = WorkerBench(seconds=3.0, concurrency=2)
    bench.receive(define(), launch())
    bench.receive(define(), launch(), driver="another")
    bench.time.run_until(0.5)
    bench.receive(abandon(0))
    bench.time.run_until(50.0)
    assert bench.reported == [(0, ABANDONED, 0.5 + GRACE), (0, SUCCEEDED, 3.0)]


def test_a_stage_that_is_forgotten_leaves_no_attempt_to_watch() -> None:
    bench = WorkerBench(seconds=5.0)
    bench.receive(define(), launch_many(3, timeout=100.0))
    bench.time.run_until(1.0)
    bench.receive(messages.Forget([STAGE]))
    bench.time.run_until(20.0)
    assert bench.kinds == [ABANDONED] * 3
    assert bench.worker._interrupter._due == {}  # noqa: SLF001
    (tenancy,) = bench.worker._tenancies.values()  # noqa: SLF001
    assert tenancy.attempts == {}


# What tasks say


def test_what_a_task_says_comes_before_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture()
    monkeypatch.setattr(sys, "stdout", TaskStream("stdout", capture))
    bench = WorkerBench()
    meanwhile.append(lambda: sys.stdout.write("one\ntwo"))
    bench.receive(define(), launch())
    bench.time.run_until(1.0)
    kinds = [type(message) for message in bench.sent]
    assert kinds.index(Finished) == len(kinds) - 1
    assert set(kinds[:-1]) == {Said}
    assert bench.texts == ["one", "two"]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_what_a_task_says_before_it_fails_arrives(ending: str) -> None:
    bench = WorkerBench()

    def fail() -> None:
        write(f"last words{ending}")
        raise SystemExit(3)

    meanwhile.append(fail)
    bench.receive(define(), launch(1), launch(2))
    bench.time.run_until(1.0)
    assert bench.texts == ["last words"] * 2
    assert bench.kinds == [FAILED] * 2
    assert "SystemExit: 3" in failures.rebuild(bench.results[0].payload)[0].line


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, MemoryError, RecursionError])
def test_whatever_a_task_raises_is_reported(error: type[BaseException]) -> None:
    bench = WorkerBench()

    def fail() -> None:
        raise error

    meanwhile.append(fail)
    bench.receive(define(), launch())
    bench.time.run_until(1.0)
    assert bench.kinds == [FAILED]
    assert isinstance(failures.rebuild(bench.results[0].payload)[1], error)
