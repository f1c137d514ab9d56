"""An exception raised from outside comes up in the user's code, or not at all."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import bndl.execute
from bndl.errors import TaskCancelled, TaskInterrupted
from bndl.execute.border import INSIDE, LEFT, SHIELDED, Stop
from bndl.execute.current import running
from bndl.execute.payloads import Packer
from bndl.execute.runner import ABANDONED, SUCCEEDED
from bndl.execute.slots import Prepared
from tests.unit.attempts import Bench


def stop(prepared: Prepared) -> Stop:
    prepared.stop = Stop(TaskCancelled("stop it"))
    return prepared.stop


def test_an_attempt_inside_is_interrupted_at_once() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    assert bench.pending == {prepared: why.exception}


def test_an_attempt_is_woken_as_long_as_the_exception_has_not_come_up() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    assert bench.border.wake(prepared, why)
    assert bench.wakes == [prepared] * 2
    with pytest.raises(TaskInterrupted):
        raise why.exception
    assert not bench.border.wake(prepared, why)
    assert bench.wakes == [prepared] * 2


def test_code_of_bndl_is_not_woken() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    assert bench.border.shield(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    assert bench.border.wake(prepared, why)
    bench.border.leave(prepared)
    assert not bench.border.wake(prepared, why)
    assert bench.wakes == []


def test_what_has_not_come_up_is_withdrawn_at_the_border() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    bench.border.interrupt(prepared, stop(prepared))
    bench.border.leave(prepared)
    assert (bench.pending, prepared.phase) == ({}, LEFT)


def test_an_attempt_that_has_left_is_not_interrupted() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    bench.border.leave(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    assert bench.pending == {}
    assert not bench.border.give_up(prepared, why)


def test_an_attempt_that_is_stopped_before_it_begins_does_not_enter() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.interrupt(prepared, stop(prepared))
    assert bench.pending == {}
    with pytest.raises(TaskInterrupted, match="stop it"):
        bench.border.enter(prepared)


def test_a_shielded_attempt_is_interrupted_when_its_shield_is_gone() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    assert bench.border.shield(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    assert (bench.pending, prepared.phase) == ({}, SHIELDED)
    with pytest.raises(TaskInterrupted):
        bench.border.unshield(prepared)
    assert (why.delivered, prepared.phase) == (True, INSIDE)


def test_what_was_sent_before_a_shield_comes_up_after_it() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    bench.border.interrupt(prepared, stop(prepared))
    assert bench.border.shield(prepared)
    assert bench.pending == {}
    with pytest.raises(TaskInterrupted):
        bench.border.unshield(prepared)


def test_what_came_up_before_a_shield_does_not_come_up_again() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    why = stop(prepared)
    bench.border.interrupt(prepared, why)
    bench.pending.pop(prepared)()  # as the interpreter does it
    assert why.delivered
    assert bench.border.shield(prepared)
    bench.border.unshield(prepared)


def test_a_shield_inside_a_shield_changes_nothing() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    assert bench.border.shield(prepared)
    assert not bench.border.shield(prepared)
    assert prepared.phase == SHIELDED


def test_only_the_thread_of_the_attempt_can_shield_it() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.border.enter(prepared)
    prepared.thread += 1
    assert not bench.border.shield(prepared)
    assert prepared.phase == INSIDE


# Every instruction at which an exception can come up

#: The interpreter looks for exceptions from outside after these. ``with`` is safe, because it looks nowhere between
#: the lock and the block.
LOOKS_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"}
#: Where it must never come up: what of bndl's the user's code calls, and what comes after it.
SACRED = {"lines.py", "outbox.py", "texts.py"}
PACKAGE = Path(bndl.execute.__file__).parent

_names: dict[CodeType, dict[int, str]] = {}


def name_at(code: CodeType, offset: int) -> str:
    names = _names.get(code)
    if names is None:
        names = _names[code] = {each.offset: each.opname for each in dis.get_instructions(code)}
    return names.get(offset, "")


class Saboteur:
    """Interrupts an attempt at one instruction, and lets the exception come up at a later one.

    Args:
        bench: where the attempt is executed.
        prepared: the attempt.
        at: at which of the instructions it is interrupted, counted from 0.
        later: after how many more the exception comes up.
    """

    def __init__(self, bench: Bench, prepared: Prepared, at: int, later: int) -> None:
        self._bench = bench
        self._prepared = prepared
        self._at = at
        self._later = later
        self._last: dict[FrameType, str] = {}
        self.seen = 0
        self.came_up_in = ""

    def trace(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(str(PACKAGE)) and frame.f_code.co_name != "user":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before = self._last.get(frame, "RESUME")
            self._last[frame] = name_at(frame.f_code, frame.f_lasti)
            if before in LOOKS_AFTER:
                self._look(frame)
        return self.trace

    def _look(self, frame: FrameType) -> None:
        bench, prepared = self._bench, self._prepared
        if self.seen == self._at:
            if bench.border._lock.locked():  # noqa: SLF001 - the other thread would wait, and be next
                self._at += 1
            else:
                if prepared.stop is None:
                    prepared.stop = Stop(TaskCancelled("stop it"))
                bench.border.interrupt(prepared, prepared.stop)
        if self.seen >= self._at + self._later and prepared in bench.pending:
            self.came_up_in = Path(frame.f_code.co_filename).name
            raise bench.pending.pop(prepared)
        self.seen += 1


def user(item: int) -> list[object]:
    """Prints something in the middle of its work."""
    prepared = running()
    assert prepared is not None
    prepared.tenancy.write(prepared, "stdout", f"{item}\n")
    return [item + 1, "more" * (3 - item)]


def execute(bench: Bench, prepared: Prepared, at: int, later: int) -> tuple[Saboteur, Any]:
    saboteur = Saboteur(bench, prepared, at, later)
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # noqa: SLF001 - Python 3.12 traces none if no frame asks for it before
    sys.settrace(saboteur.trace)
    try:
        result = bench.runner.execute(prepared)
    finally:
        sys.settrace(before)
    return saboteur, result


def cases() -> Iterator[tuple[int, int]]:
    """All instructions of an attempt, with some more or less late exceptions for each."""
    bench = Bench()
    count = execute(bench, bench.prepare(user, 1), sys.maxsize, 0)[0].seen
    assert count > 50
    for at in range(count + 1):
        for later in (0, 1, 2, 3, 5, 8, 13, 30, count):
            yield at, later


@pytest.mark.timeout(120)
def test_wherever_an_exception_comes_up_the_attempt_ends_and_the_next_one_is_well() -> None:
    ended = {SUCCEEDED: 0, ABANDONED: 0}
    came_up = 0
    expected = Packer().pack([3, "more"])
    for at, later in cases():
        bench = Bench()
        prepared = bench.prepare(user, 1)
        saboteur, result = execute(bench, prepared, at, later)
        came_up += bool(saboteur.came_up_in)
        where = f"interrupted at {at}, {later} later"
        assert saboteur.came_up_in not in SACRED, where
        assert bench.pending == {}, where
        assert prepared.phase == LEFT, where
        assert not bench.border._lock.locked(), where  # noqa: SLF001
        ended[result.kind] += 1
        after = bench.runner.execute(bench.prepare(user, 2))
        assert after is not None
        assert after.payload == expected, where
    # All ways of it were taken: too late to be of effect, in time, and in time without having come up.
    assert ended[SUCCEEDED] > 10
    assert came_up > 100
    assert ended[ABANDONED] > came_up
