"""When attempts are told, interrupted and given up, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bndl.errors import TaskCancelled, TaskTimeout
from bndl.execute.slots import Prepared
from bndl.execute.watchdog import EARLIEST, LATEST, Watchdog
from tests.unit.attempts import GRACE, Bench, Bomb


def step(bench: Bench, prepared: Prepared) -> str:
    """How far it is with an attempt."""
    if prepared in bench.stuck:
        return "given up"
    if prepared in bench.pending:
        return "interrupted"
    return "told" if prepared.stop is not None else "let alone"


def steps(bench: Bench, prepared: Prepared, *times: float) -> list[str]:
    """How far it is at each of these times."""
    seen = []
    for when in times:
        bench.time.run_until(when)
        seen.append(step(bench, prepared))
    return seen


def test_an_abandoned_attempt_is_told_interrupted_and_given_up() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    bench.time.run_until(5.0)
    bench.interrupter.abandon(prepared)
    assert step(bench, prepared) == "told"
    assert steps(bench, prepared, 5.99, 6.01, 6.99, 7.01) == ["told", "interrupted", "interrupted", "given up"]
    assert prepared.stop is not None
    assert isinstance(prepared.stop.error, TaskCancelled)
    assert bench.stuck == [prepared]


def test_an_attempt_that_is_out_of_time_is_told_interrupted_and_given_up() -> None:
    bench = Bench()
    bench.time.run_until(3.0)
    prepared = bench.prepare(timeout=10.0)
    bench.begin(prepared)
    assert steps(bench, prepared, 12.99, 13.01, 13.99, 14.01, 14.99, 15.01) == [
        "let alone",
        "told",
        "told",
        "interrupted",
        "interrupted",
        "given up",
    ]
    assert prepared.stop is not None
    error = prepared.stop.error
    assert isinstance(error, TaskTimeout)
    assert (error.task, error.timeout) == ("stage[0]", 10.0)


def test_an_attempt_that_ends_in_time_is_let_alone() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=10.0)
    bench.begin(prepared)
    bench.time.run_until(9.9)
    bench.end(prepared)
    assert steps(bench, prepared, 100.0) == ["let alone"]


def test_an_attempt_that_ends_when_it_is_told_is_not_interrupted() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=10.0)
    bench.begin(prepared)
    bench.time.run_until(10.5)
    bench.end(prepared)
    assert steps(bench, prepared, 100.0) == ["told"]


def test_an_attempt_that_ends_when_it_is_interrupted_is_not_given_up() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    bench.interrupter.abandon(prepared)
    bench.time.run_until(1.5)
    bench.end(prepared)
    assert steps(bench, prepared, 100.0) == ["told"]


def test_an_interruption_that_went_nowhere_is_repeated() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    bench.interrupter.abandon(prepared)
    bench.time.run_until(1.1)
    for _ in range(3):
        bench.pending.pop(prepared)()  # it comes up in a finalizer, and the interpreter drops it
        bench.interrupter.miss(prepared)
        assert bench.pending == {}, "not there and then"
        bench.time.run_until(bench.now() + 0.1)
        assert step(bench, prepared) == "interrupted"
    bench.time.run_until(2.1)
    assert step(bench, prepared) == "given up"


def test_an_interruption_that_went_nowhere_is_not_repeated_when_the_attempt_is_over() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    bench.interrupter.abandon(prepared)
    bench.time.run_until(1.1)
    bench.pending.pop(prepared)()
    bench.interrupter.miss(prepared)
    bench.border.leave(prepared)
    bench.time.run_until(1.2)
    assert bench.pending == {}
    bench.end(prepared)
    bench.interrupter.miss(prepared)
    bench.time.run_until(5.0)
    assert (bench.pending, bench.stuck) == ({}, [])


def test_an_attempt_that_is_over_is_not_stopped() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    bench.end(prepared)
    bench.interrupter.abandon(prepared)
    assert steps(bench, prepared, 100.0) == ["told"]


def test_a_second_reason_to_stop_changes_nothing() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=2.0)
    bench.begin(prepared)
    bench.time.run_until(2.5)
    bench.interrupter.abandon(prepared)
    assert prepared.stop is not None
    assert isinstance(prepared.stop.error, TaskTimeout)
    assert steps(bench, prepared, 2.9, 3.01, 4.01) == ["told", "interrupted", "given up"]


def test_an_attempt_abandoned_before_its_timeout_is_stopped_from_then_on() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=1.5)
    bench.begin(prepared)
    bench.time.run_until(1.0)
    bench.interrupter.abandon(prepared)
    assert steps(bench, prepared, 1.9, 2.01, 3.01) == ["told", "interrupted", "given up"]
    assert prepared.stop is not None
    assert isinstance(prepared.stop.error, TaskCancelled)


def test_each_of_several_attempts_has_its_own_time() -> None:
    bench = Bench(shared=True)
    first, second, third = (bench.prepare(timeout=timeout) for timeout in (30.0, 10.0, 20.0))
    for prepared in (first, second, third):
        bench.begin(prepared)
    bench.time.run_until(10.5)
    assert [step(bench, each) for each in (first, second, third)] == ["let alone", "told", "let alone"]
    bench.end(second)
    bench.time.run_until(21.5)
    assert [step(bench, each) for each in (first, second, third)] == ["let alone", "told", "interrupted"]
    bench.end(third)
    bench.time.run_until(100.0)
    assert bench.stuck == [first]


def test_a_late_interrupter_gives_an_attempt_all_of_its_graces() -> None:
    """It could not run, because something held the interpreter's lock."""
    bench = Bench()
    prepared = bench.prepare(timeout=1.0)
    bench.begin(prepared)
    bench.loop.freeze()
    bench.time.run_until(10.0)
    bench.loop.thaw()
    assert steps(bench, prepared, 10.0, 10.99, 11.01, 12.01) == ["told", "told", "interrupted", "given up"]


def test_nothing_is_scheduled_while_there_is_nothing_to_stop() -> None:
    bench = Bench()
    for _ in range(10):
        prepared = bench.prepare()
        bench.begin(prepared)
        bench.end(prepared)
    assert bench.time.run(0.0)
    prepared = bench.prepare(timeout=5.0)
    bench.begin(prepared)
    bench.end(prepared)
    assert bench.time.run(5.0)


def test_many_short_attempts_with_a_timeout_take_one_timer_and_one_setting_of_the_watchdog() -> None:
    bench = Bench()
    posted: list[object] = []
    post = bench.loop.post

    def count(callback: Callable[..., object], *args: object) -> None:
        posted.append(callback)
        post(callback, *args)

    bench.loop.post = count  # type: ignore[method-assign]
    for number in range(1000):
        prepared = bench.prepare(timeout=10.0)
        bench.begin(prepared)
        bench.time.run_until(bench.now() + 0.0005)
        bench.end(prepared, last=number == 999)
    assert len(posted) == 1
    assert (bench.bomb.starts, bench.bomb.cancels) == (1, 1)


# The watchdog


def test_the_watchdog_strikes_after_all_other_steps() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=5.0)
    bench.begin(prepared)
    end = 5.0 + 2 * GRACE
    assert bench.bomb.at == pytest.approx(end + LATEST)
    for when in (5.5, 6.5):
        bench.time.run_until(when)
        assert bench.bomb.at is not None
        assert end + EARLIEST <= bench.bomb.at <= end + LATEST + 0.01


def test_the_watchdog_watches_an_abandoned_attempt_too() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.begin(prepared)
    assert bench.bomb.at is None
    bench.time.run_until(50.0)
    bench.interrupter.abandon(prepared)
    assert bench.bomb.at == pytest.approx(50.0 + 2 * GRACE + LATEST)
    bench.end(prepared)
    assert bench.bomb.at is None


def test_the_watchdog_does_not_strike_an_attempt_without_a_timeout_that_follows() -> None:
    bench = Bench()
    first = bench.prepare(timeout=5.0)
    bench.begin(first)
    bench.end(first, last=False)
    second = bench.prepare()
    bench.begin(second)
    assert bench.bomb.at is None


def test_the_watchdog_does_not_strike_an_attempt_with_a_longer_timeout_that_follows() -> None:
    bench = Bench()
    first = bench.prepare(timeout=1.0)
    bench.begin(first)
    bench.end(first, last=False)
    second = bench.prepare(timeout=60.0)
    bench.begin(second)
    assert bench.bomb.at == pytest.approx(60.0 + 2 * GRACE + LATEST)


def test_the_watchdog_is_off_when_the_worker_is_idle() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=5.0)
    bench.begin(prepared)
    bench.end(prepared, last=True)
    assert bench.bomb.at is None


def test_the_watchdog_is_off_in_the_end_if_nothing_follows_after_all() -> None:
    bench = Bench()
    prepared = bench.prepare(timeout=5.0)
    bench.begin(prepared)
    bench.end(prepared, last=False)
    assert bench.bomb.at is not None
    bench.time.run_until(5.1)
    assert bench.bomb.at is None


def test_with_two_slots_the_watchdog_is_for_the_one_that_is_due_first() -> None:
    bench = Bench(shared=True)
    long, short, free = bench.prepare(timeout=60.0), bench.prepare(timeout=5.0), bench.prepare()
    bench.begin(long)
    assert bench.bomb.at == pytest.approx(60.0 + 2 * GRACE + LATEST)
    bench.begin(short)
    assert bench.bomb.at == pytest.approx(5.0 + 2 * GRACE + LATEST)
    bench.begin(free)
    assert bench.bomb.at == pytest.approx(5.0 + 2 * GRACE + LATEST)
    bench.end(short, last=False)
    assert bench.bomb.at == pytest.approx(60.0 + 2 * GRACE + LATEST)
    bench.end(long, last=False)
    assert bench.bomb.at is None, "the third one may hold the lock as long as it wants"


def test_the_watchdog_is_moved_only_when_it_would_strike_too_early() -> None:
    now = [0.0]
    bomb = Bomb(lambda: now[0])
    watchdog = Watchdog(bomb, lambda: now[0])
    watchdog.keep(None)
    assert bomb.cancels == 0
    watchdog.keep(10.0)
    assert bomb.at == 10.0 + LATEST
    for limit in (10.1, 10.5, 10.0 + LATEST - EARLIEST):
        watchdog.keep(limit)
    assert bomb.starts == 1
    watchdog.keep(10.1 + LATEST - EARLIEST)
    assert bomb.starts == 2
    watchdog.keep(5.0)
    assert (bomb.starts, bomb.at) == (3, 5.0 + LATEST)
    watchdog.keep(None)
    watchdog.keep(None)
    assert bomb.cancels == 1
    assert not watchdog.is_set


def test_a_limit_that_has_passed_leaves_time_for_an_orderly_end() -> None:
    bomb = Bomb(lambda: 100.0)
    Watchdog(bomb, lambda: 100.0).keep(1.0)
    assert bomb.at == 100.0 + EARLIEST
