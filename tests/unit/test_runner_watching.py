"""Attempts that are watched and stopped: what is raised to stop them comes up in their code and not in the watcher."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest

from bndl.errors import TaskCancelled
from bndl.execute.border import LEFT, QUEUED, Stop
from bndl.execute.current import CurrentTask, running
from bndl.execute.runner import ABANDONED, FAILED, SUCCEEDED
from bndl.execute.slots import Prepared
from bndl.execute.watching import Watch
from tests.unit.attempts import Bench

T = TypeVar("T")


class Onlooker:
    """Notes on which side of the border the attempt is when it is called."""

    def __init__(self) -> None:
        self.prepared: Prepared
        self.phases: list[int] = []
        self.task: CurrentTask

    def run(self, task: CurrentTask, call: Callable[[], T]) -> T:
        self.task = task
        self.phases.append(self.prepared.phase)
        outcome = call()
        self.phases.append(self.prepared.phase)
        return outcome

    def finish(self) -> bytes:
        self.phases.append(self.prepared.phase)
        return b"seen"

    def close(self) -> None:
        pass


onlooker = Onlooker()


def get_onlooker() -> Onlooker:
    return onlooker


@pytest.fixture
def bench() -> Bench:
    onlooker.phases.clear()
    made = Bench()
    made.tenancy.watch = Watch(pickle.dumps(get_onlooker))
    return made


def be_interrupted(_: object) -> None:
    """Like an exception that comes up here."""
    prepared = running()
    assert prepared is not None
    prepared.stop = Stop(TaskCancelled("it was cancelled"))
    raise prepared.stop.exception


def be_interrupted_on_the_way_back(_: object) -> None:
    """The exception is on its way, and has not come up when the task is over."""
    prepared = running()
    assert prepared is not None
    prepared.stop = Stop(TaskCancelled("it was cancelled"))
    prepared.stop.is_due = prepared.stop.sent = True


def fail(_: object) -> None:
    raise ValueError


@pytest.mark.parametrize(
    ("function", "kind"),
    [(abs, SUCCEEDED), (fail, FAILED), (be_interrupted, ABANDONED), (be_interrupted_on_the_way_back, ABANDONED)],
)
def test_the_watcher_is_outside_of_the_border(bench: Bench, function: Callable[[object], object], kind: int) -> None:
    prepared = onlooker.prepared = bench.prepare(function)
    bench.runner.begin(prepared)
    result = bench.runner.execute(prepared)
    assert result is not None
    assert (result.kind, result.notes) == (kind, b"seen")
    assert onlooker.phases == [QUEUED, LEFT, LEFT]
    assert (onlooker.task.name, onlooker.task.attempt) == ("stage[0]", 1)
    assert not bench.pending


def test_an_attempt_that_was_stopped_before_it_began_is_told_of(bench: Bench) -> None:
    prepared = onlooker.prepared = bench.prepare(abs)
    bench.runner.begin(prepared)
    prepared.stop = Stop(TaskCancelled("it was cancelled"))
    result = bench.runner.execute(prepared)
    assert result is not None
    assert (result.kind, result.notes) == (ABANDONED, b"seen")
    assert onlooker.phases == [QUEUED, LEFT, LEFT]


def test_an_attempt_that_is_not_watched_has_no_notes(bench: Bench) -> None:
    bench.tenancy.watch = None
    prepared = onlooker.prepared = bench.prepare(abs)
    bench.runner.begin(prepared)
    result = bench.runner.execute(prepared)
    assert result is not None
    assert (result.kind, result.notes, onlooker.phases) == (SUCCEEDED, b"", [])
