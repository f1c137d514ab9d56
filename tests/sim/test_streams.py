"""``map`` and ``submit`` of a context, with the world going on where a user's thread would wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from bndl.context import streams
from bndl.context.calls import Calls
from bndl.context.streams import stream
from bndl.context.waiting import Ended, Mailbox
from bndl.driver.options import NO_OPTIONS, Options
from bndl.driver.tasks import Task
from bndl.errors import ItemsFailed, NoWorkers, TaskFailed
from bndl.execute.slots import Prepared
from bndl.testing.world import World


def square(value: int) -> int:
    if value < 0:
        raise ValueError(value)
    return value * value


class Mapping:
    """Maps in a world."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world

        class VirtualMailbox(Mailbox):
            def take(self, while_waiting: Callable[[], object] = bool) -> Sequence[Task] | Ended:
                world.wait(lambda: not self._queue.empty(), what="something in the mailbox")
                return super().take(while_waiting)

        monkeypatch.setattr(streams, "Mailbox", VirtualMailbox)

    def map(self, items: Iterable[int], *, ordered: bool = True, options: Options = NO_OPTIONS) -> Iterator[int]:
        slots = self.world.driver.peers.names.__len__
        return stream(self.world.driver, square, items, ordered=ordered, options=options, slots=slots)


Start = Callable[[int], Mapping]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda seed: Mapping(World(seed), monkeypatch)


@pytest.mark.parametrize("seed", range(5))
def test_results_come_in_order_although_workers_come_and_go(seed: int, start: Start) -> None:
    mapping = start(seed)
    world = mapping.world
    results = mapping.map(range(500))
    assert [next(results) for _ in range(100)] == [value * value for value in range(100)]
    world.kill("worker-1")
    world.add_worker()
    assert list(results) == [value * value for value in range(100, 500)]
    world.sleep(1.0)
    assert world.leftovers() == []


def test_results_come_as_they_are_done(start: Start) -> None:
    mapping = start(1)
    results = list(mapping.map(range(200), ordered=False))
    assert results != sorted(results)
    assert sorted(results) == [value * value for value in range(200)]


def test_items_are_pulled_as_results_are_taken(start: Start) -> None:
    mapping = start(1)
    pulled = []

    def items() -> Iterator[int]:
        for number in range(10**9):
            pulled.append(number)
            yield number

    results = mapping.map(items())
    assert [next(results) for _ in range(50)] == [value * value for value in range(50)]
    assert len(pulled) < 500
    results.close()  # type: ignore[attr-defined]
    mapping.world.sleep(1.0)
    assert mapping.world.leftovers() == []


def test_a_task_that_fails_ends_the_stream(start: Start) -> None:
    mapping = start(1)
    with pytest.raises(TaskFailed, match="ValueError: -7"):
        list(mapping.map([1, 2, -7, *range(100)]))
    mapping.world.sleep(1.0)
    assert mapping.world.leftovers() == []


@pytest.mark.parametrize("ordered", [True, False])
def test_tasks_that_may_fail_are_left_out(start: Start, *, ordered: bool) -> None:
    mapping = start(1)
    items = [-1, *range(100), -2]
    results = list(mapping.map(items, ordered=ordered, options=Options(max_failures=2)))
    assert sorted(results) == [value * value for value in range(100)]
    assert results == sorted(results) or not ordered
    with pytest.raises(TaskFailed, match="ValueError"):
        list(mapping.map(items, ordered=ordered, options=Options(max_failures=1)))
    mapping.world.sleep(1.0)
    assert mapping.world.leftovers() == []


def test_a_straggler_is_started_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def duration(_: object, __: object, prepared: Prepared) -> float:
        return 40.0 if prepared.attempt.task & 0xFFFFFFFF == 9 and prepared.attempt.number == 1 else 1.0

    taken = {}
    for speculate in (False, True):
        mapping = Mapping(World(1, workers=2, concurrency=1, duration=duration), monkeypatch)
        began = mapping.world.driver.now()
        results = mapping.map(range(10), options=Options(speculate=speculate))
        assert list(results) == [value * value for value in range(10)]
        taken[speculate] = mapping.world.driver.now() - began
    assert taken[False] > 40
    assert taken[True] < 20


def test_the_results_before_an_error_of_the_items_are_given_first(start: Start) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("the file ended")

    results = start(1).map(items())
    taken: list[int] = []
    with pytest.raises(ItemsFailed, match="OSError: the file ended") as caught:
        taken.extend(results)
    assert caught.value.pulled == 20


def test_single_calls_survive_the_loss_of_their_worker() -> None:
    world = World(1, workers=2, concurrency=2, duration=lambda *_: 1.0)
    calls = Calls(world.driver)
    futures = [calls.submit(square, (value,), {}) for value in range(-1, 10)]
    world.sleep(0.5)
    world.kill("worker-1")
    world.wait(lambda: all(future.done() for future in futures))
    assert isinstance(futures[0].exception(0), TaskFailed)
    assert [future.result(0) for future in futures[1:]] == [value * value for value in range(10)]
    calls.close()
    world.sleep(1.0)
    assert world.leftovers() == []


def test_single_calls_without_workers_say_so() -> None:
    world = World(1, workers=0)
    calls = Calls(world.driver)
    futures = [calls.submit(square, (value,), {}) for value in range(3)]
    world.wait(lambda: all(future.done() for future in futures))
    for future in futures:
        with pytest.raises(NoWorkers, match="there was no worker"):
            future.result(0)
    assert calls.is_over
    with pytest.raises(NoWorkers):
        calls.submit(square, (1,), {})
    world.sleep(1.0)
    assert world.leftovers() == []
