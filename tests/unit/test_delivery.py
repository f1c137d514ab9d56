"""Results for the driver: never more under way than there is room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bndl.driver.delivery import Delivery
from bndl.errors import BndlError, ResultTooLarge
from bndl.net.messages import Result
from bndl.schedule.events import Event, ResultsDelivered, ResultsLost

#: Results may take 40 of it.
FREE = 100


class FakeTransfer:
    """Fetches when it is told to."""

    def __init__(self) -> None:
        self.open: list[tuple[str, list[int], Any, Any]] = []

    def fetch(self, source: str, _owner: str, _space: int, numbers: Sequence[int], on_done: Any, *rest: Any) -> None:
        on_some, self.sizes = rest
        self.open.append((source, list(numbers), on_done, on_some))


class Bench:
    def __init__(self) -> None:
        self.free = FREE
        self.transfer = FakeTransfer()
        self.events: list[Event] = []
        self.results: dict[int, bytes | BndlError] = {}
        self.delivery = Delivery(self.transfer, "driver", self.events.append, lambda: self.free)  # type: ignore[arg-type]
        self.delivery.on_delivered = self.delivered

    def delivered(self, _worker: str, data: Mapping[int, bytes | BndlError], wanted: Mapping[int, Result]) -> None:
        assert set(data) <= set(wanted)
        self.results.update(data)

    def fetch(self, worker: str, sizes: Mapping[int, int]) -> None:
        results = {number: Result(number, 1, 0, 0.0, stored=True, size=size) for number, size in sizes.items()}
        self.delivery.fetch(worker, [(number, 1) for number in sizes], results)

    @property
    def under_way(self) -> list[tuple[str, list[int]]]:
        return [(source, numbers) for source, numbers, _, _ in self.transfer.open]

    def arrive(self, index: int = 0, missing: Sequence[int] = ()) -> None:
        """The transfer at ``index`` of those that are open brings all, but for what is missing."""
        _, numbers, on_done, on_some = self.transfer.open.pop(index)
        for number in numbers:
            if number not in missing:
                on_some({number: b"x"})
        on_done({}, list(missing))


def test_what_fits_together_comes_together() -> None:
    bench = Bench()
    bench.fetch("a", {1: 10, 2: 10})
    bench.fetch("b", {3: 20})
    assert bench.under_way == [("a", [1, 2]), ("b", [3])]
    bench.arrive()
    bench.arrive()
    assert set(bench.results) == {1, 2, 3}
    assert bench.events == [ResultsDelivered([number]) for number in (1, 2, 3)]


def test_results_that_fit_one_by_one_come_one_by_one() -> None:
    bench = Bench()
    bench.fetch("a", dict.fromkeys(range(10), 35))
    for number in range(10):
        assert bench.under_way == [("a", [number])]
        bench.arrive()
    assert list(bench.results.values()) == [b"x"] * 10


def test_what_has_come_takes_of_the_room() -> None:
    bench = Bench()
    bench.fetch("a", {1: 35, 2: 35})
    bench.free -= 35
    bench.arrive()
    assert bench.under_way == []
    assert isinstance(bench.results[2], ResultTooLarge)
    assert bench.results[2].size_bytes == 35
    assert bench.results[2].limit_bytes == 26
    assert bench.events == [ResultsDelivered([1]), ResultsDelivered([2])]


def test_one_that_is_too_large_alone_is_refused_and_the_others_come() -> None:
    bench = Bench()
    bench.fetch("a", {1: 41, 2: 40})
    assert isinstance(bench.results.pop(1), ResultTooLarge)
    bench.arrive()
    assert bench.results == {2: b"x"}


def test_what_is_not_found_makes_room() -> None:
    bench = Bench()
    bench.fetch("a", {1: 20, 2: 20, 3: 40})
    bench.arrive(missing=[2])
    assert bench.events == [ResultsDelivered([1]), ResultsLost("a", [2])]
    assert bench.under_way == [("a", [3])]


def test_none_overtakes_a_large_one() -> None:
    bench = Bench()
    bench.fetch("a", {1: 30})
    bench.fetch("b", {2: 40, 3: 1})
    assert bench.under_way == [("a", [1])]
    bench.arrive()
    assert bench.under_way == [("b", [2])]


@pytest.mark.parametrize("lost", ["a", "b"])
def test_nothing_is_asked_of_a_lost_worker(lost: str) -> None:
    bench = Bench()
    bench.fetch("a", {1: 40})
    bench.fetch("a", {2: 40})
    bench.fetch("b", {3: 40})
    bench.delivery.lose(lost)
    bench.arrive(missing=[1] if lost == "a" else [])
    assert bench.under_way == [("b", [3]) if lost == "a" else ("a", [2])]
