"""Watched attempts: each that ends is told of, with its result, wherever and whenever its worker came."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import pytest

from bndl.driver.jobs import Job
from bndl.execute.current import CurrentTask
from bndl.execute.watching import Watch, Watcher
from bndl.testing.workload import Item, work
from bndl.testing.world import World

TASKS = 60

T = TypeVar("T")


class Notary:
    """Notes which attempt it ran last."""

    closed = 0

    def __init__(self) -> None:
        self._last = b""

    def run(self, task: CurrentTask, call: Callable[[], T]) -> T:
        self._last = pickle.dumps((task.number, task.attempt))
        return call()

    def finish(self) -> bytes:
        return self._last

    def close(self) -> None:
        Notary.closed += 1


class Told:
    """What a driver is told, and which results it gets."""

    def __init__(self, world: World) -> None:
        self.notes: list[tuple[int, int]] = []
        self.results: list[tuple[int, int]] = []
        watching = world.driver.watching
        original = watching.attempts_ended

        def attempts_ended(worker: str, results: object) -> None:
            self.results += [(each.task, each.number) for each in results if each.kind <= 1]  # type: ignore[attr-defined]
            original(worker, results)  # type: ignore[arg-type]

        watching.attempts_ended = attempts_ended  # type: ignore[method-assign]
        watching.begin(pickle.dumps(Notary), lambda _, notes: self.notes.append(pickle.loads(notes)))


def job() -> Job:
    return Job("watched", attempts=8).stage(work, [Item(index) for index in range(TASKS)]).job


@pytest.mark.parametrize("seed", range(8))
def test_every_attempt_that_ends_is_told_of(seed: int) -> None:
    world = World(seed, workers=2)
    told = Told(world)
    run = world.submit(job())
    world.sleep(0.3)
    world.add_worker()
    world.sleep(0.3)
    world.kill("worker-1")
    world.add_worker()
    world.finish(run)
    assert run.error is None
    assert sorted(told.notes) == sorted(told.results)
    assert len(set(told.notes)) >= TASKS


def test_nothing_is_told_when_nobody_wants_to_know() -> None:
    world = World(1)
    told = Told(world)
    world.run(job())
    seen = len(told.notes)
    world.driver.watching.end()
    closed = Notary.closed
    world.sleep(0.1)
    assert Notary.closed == closed + 3
    world.run(job())
    assert len(told.notes) == seen


def test_workers_watch_no_more_when_their_driver_is_gone() -> None:
    world = World(1, workers=1)
    Told(world)
    world.run(job())
    closed = Notary.closed
    world.cut({World.DRIVER})
    world.sleep(10.0)
    assert Notary.closed == closed + 1


def test_a_watcher_that_cannot_be_made_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    world.driver.watching.begin(pickle.dumps(partial(int, "no number")), lambda *_: None)
    run = world.run(job())
    assert run.error is None
    assert "attempts cannot be watched" in caplog.text


def test_a_watcher_that_breaks_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Notary):
        def finish(self) -> bytes:
            raise RuntimeError

    watch = Watch(pickle.dumps(Notary))
    broken: Watcher = Broken()
    watch._watcher = broken  # noqa: SLF001 - a local class does not travel
    assert watch.finish() == b""
    assert "there is nothing to say of an attempt" in caplog.text


class Startled(Notary):
    """Breaks before the attempt, or after it."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self._after = after

    def run(self, task: CurrentTask, call: Callable[[], T]) -> T:
        if self._after:
            super().run(task, call)
        raise RuntimeError


@pytest.mark.parametrize("after", [False, True])
def test_an_attempt_is_executed_once_if_its_watcher_breaks(after: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    world = World(1)
    world.driver.watching.begin(pickle.dumps(partial(Startled, after=after)), lambda *_: None)
    executed.clear()
    run = world.run(Job("once").stage(note, range(5)).job)
    assert run.error is None
    assert sorted(executed) == list(range(5))
    assert "an attempt cannot be watched" in caplog.text


executed: list[int] = []


def note(index: int) -> None:
    executed.append(index)


def test_an_attempt_waits_for_the_watcher_that_another_thread_makes() -> None:
    making.clear()
    made.clear()
    watch = Watch(pickle.dumps(make_slowly))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(watch.watcher)
        assert making.wait(10)
        second = pool.submit(watch.watcher)
        assert not wait([second], 0.1).done  # it does not go on without
        made.set()
        assert isinstance(first.result(10), Notary)
        assert second.result(10) is first.result(10)


making = threading.Event()
made = threading.Event()


def make_slowly() -> Notary:
    making.set()
    if not made.wait(10):
        raise TimeoutError
    return Notary()
