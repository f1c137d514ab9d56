"""How far ahead ``map`` pulls: by work, by items and by bytes."""

from __future__ import annotations

import pytest

from bndl.context.window import Window
from bndl.execute.trimming import Trimmer, trim_heap
from bndl.net.virtual import VirtualTime

MIB = 1 << 20


def pull(window: Window, size: int = 0) -> int:
    """Pull as ``map`` does; returns how many items."""
    pulled = 0
    room = window.room
    while pulled < room and not window.is_full:
        window.pulled(size)
        pulled += 1
    return pulled


def run(window: Window, count: int, *, arguments: int = 0, results: int = 0, seconds: float = 1e-4) -> None:
    for _ in range(count):
        window.done(arguments, results)
    window.adapt(2, seconds)


def test_a_few_items_are_pulled_at_first_and_more_when_they_are_quick() -> None:
    window = Window(2, 100 * MIB)
    assert pull(window) == 8
    assert pull(window) == 0
    run(window, 8)
    for _ in range(8):
        window.taken(0)
    assert pull(window) == 16


def test_slow_tasks_are_not_pulled_far_ahead() -> None:
    window = Window(2, 100 * MIB)
    for _ in range(20):
        count = pull(window)
        run(window, count, seconds=10.0)
        for _ in range(count):
            window.taken(0)
    assert pull(window) == 8


def test_results_that_are_not_taken_hold_it_back() -> None:
    window = Window(2, 100 * MIB)
    pulled = 0
    for _ in range(100):
        count = pull(window)
        pulled += count
        run(window, count, results=MIB)
    assert 4 <= pulled <= 110
    for _ in range(pulled // 2):
        window.taken(MIB)
    assert 0 < pull(window) <= 60


def test_arguments_of_what_is_not_done_hold_it_back() -> None:
    window = Window(2, 100 * MIB)
    run(window, pull(window, MIB), arguments=MIB)
    for _ in range(8):
        window.taken(0)
    for _ in range(20):
        run(window, 0)
    assert pull(window, MIB) == 101, "up to the first that is over the limit"
    assert pull(window, MIB) == 0
    run(window, 50, arguments=MIB)
    for _ in range(50):
        window.taken(0)
    assert pull(window, MIB) == 50


@pytest.mark.parametrize("size", [MIB, 1000 * MIB])
def test_however_large_they_are_each_slot_is_busy_and_has_one_more(size: int) -> None:
    window = Window(4, MIB)
    assert pull(window, size) == 8
    run(window, 8, arguments=size, results=size)
    assert pull(window, size) == 0
    for _ in range(5):
        window.taken(size)
    assert pull(window, size) == 1, "two for each of the two slots that are left"


def test_memory_is_given_back_when_much_has_passed() -> None:
    time = VirtualTime()
    trims: list[float] = []
    trimmer = Trimmer(time, lambda: trims.append(time.now()))
    trimmer.passed(20 * MIB)
    trimmer.over()
    time.run(1.0)
    assert trims == []
    trimmer.passed(20 * MIB)
    time.run(1.0)
    assert trims == []
    trimmer.over()
    trimmer.over()
    time.run(1.0)
    assert len(trims) == 1
    for _ in range(30):
        trimmer.passed(20 * MIB)
        time.run(1.0)
    assert len(trims) == 3
    trim_heap()
