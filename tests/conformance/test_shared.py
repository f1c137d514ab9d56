"""Values that tasks share: sent to each worker once, and counted exactly once."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import InvalidOption, TaskFailed, UserError

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


class Counted:
    """Counts how often it is unpickled in a process."""

    times = 0

    def __init__(self, table: dict[int, str]) -> None:
        self.table = table

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).times += 1
        self.__dict__.update(state)


def test_a_broadcast_reaches_functions_items_and_arguments(ctx: bndl.Context) -> None:
    table = ctx.broadcast({number: str(number) for number in range(10)})
    assert table.value[3] == "3"
    assert list(ctx.map(lambda number: table.value[number], range(4))) == ["0", "1", "2", "3"]
    assert list(ctx.map(lambda pair: pair[0].value[pair[1]], [(table, 5)])) == ["5"]
    assert ctx.submit(lambda shared, number: shared.value[number], table, 7).result(timeout=30) == "7"


def test_it_is_unpickled_once_by_each_worker(ctx: bndl.Context) -> None:
    table = ctx.broadcast(Counted({1: "one"}))

    def look(_: int) -> tuple[int, int]:
        return os.getpid(), table.value.times

    seen = dict(ctx.map(look, range(200)))
    assert len(seen) == 2
    assert set(seen.values()) == {1}


def test_a_large_one_comes_in_pieces(ctx: bndl.Context) -> None:
    large = ctx.broadcast(bytes(20 << 20))
    assert list(ctx.map(lambda _: len(large.value), range(4))) == [20 << 20] * 4


def test_what_was_released_is_not_to_be_had(ctx: bndl.Context) -> None:
    table = ctx.broadcast("value")
    assert ctx.submit(lambda: table.value).result(timeout=30) == "value"
    table.release()
    with pytest.raises(UserError, match="was released"):
        _ = table.value
    with pytest.raises(TaskFailed) as raised:
        list(ctx.map(lambda _: table.value, range(4)))
    assert isinstance(raised.value.__cause__, UserError)


def test_an_accumulator_counts_each_task_once(ctx: bndl.Context) -> None:
    seen = ctx.accumulator(0)

    def count(number: int) -> int:
        seen.add(1)
        seen.add(number)
        return number

    assert sum(ctx.map(count, range(100))) == 4950
    assert seen.value == 100 + 4950
    seen.add(1)
    assert seen.value == 100 + 4950 + 1


def test_what_failed_attempts_add_does_not_count(ctx: bndl.Context) -> None:
    seen = ctx.accumulator(0)

    def flaky(number: int) -> int:
        seen.add(1)
        if bndl.current_task().attempt == 1:
            raise OSError("busy")
        return number

    list(ctx.map(flaky, range(20), attempts=2))
    assert seen.value == 20


def test_results_that_are_made_again_do_not_count_again(ctx: bndl.Context) -> None:
    seen = ctx.accumulator(0)
    first = ctx.workers[0].pid

    def count(number: int) -> int:
        seen.add(1)
        return number

    def end_the_first(values: list[int]) -> int:
        if bndl.current_task().attempt == 1:
            os.kill(first, signal.SIGKILL)
            threading.Event().wait(0.5)
        return sum(values)

    job = bndl.Job("again", attempts=3)
    counted = job.stage(count, range(50), name="count")
    job.stage(end_the_first, counted.split(2), name="sum")
    assert sum(ctx.run(job)) == 1225
    assert job.report().stages[0].attempts > 50, "some were made again"
    assert seen.value == 50
    ctx.await_workers(2)


def test_another_way_to_combine(ctx: bndl.Context) -> None:
    highest = ctx.accumulator(0, max)
    list(ctx.map(highest.add, [3, 9, 4]))
    assert highest.value == 9


def test_where_it_cannot_be_used(ctx: bndl.Context) -> None:
    seen = ctx.accumulator(0)
    with pytest.raises(TaskFailed, match="known on the driver only"):
        list(ctx.map(lambda _: seen.value, [1]))
    with pytest.raises(InvalidOption, match="combine must be callable, got 3: a function of two values"):
        ctx.accumulator(0, 3)  # type: ignore[arg-type]


def test_what_comes_back_is_the_original(ctx: bndl.Context) -> None:
    seen, table = ctx.accumulator(0), ctx.broadcast(1)
    assert ctx.submit(lambda: (seen, table)).result(timeout=30) == (seen, table)
    assert pickle.loads(pickle.dumps(table)) is table


def test_what_cannot_be_combined_is_not_forgotten(ctx: bndl.Context) -> None:
    seen: Any = ctx.accumulator(0)
    list(ctx.map(lambda number: seen.add("text" if number == 3 else 1), range(6)))
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be combined"):
            _ = seen.value


class Homesick:
    """Can only be unpickled in the process that pickled it."""

    def __add__(self, _: object) -> int:
        return 0

    def __radd__(self, _: object) -> int:
        return 0

    def __reduce__(self) -> tuple[Any, ...]:
        return leave_home, (os.getpid(),)


def leave_home(home: int) -> object:
    if os.getpid() != home:
        raise SystemExit("not at home")
    return Homesick()


def test_one_that_cannot_be_unpickled_spoils_no_other(ctx: bndl.Context) -> None:
    spoilt: Any = ctx.accumulator(0)
    other = ctx.accumulator(0)

    def add(number: int) -> None:
        other.add(1)
        spoilt.add(Homesick() if number == 3 else 1)

    list(ctx.map(add, range(6)))
    assert other.value == 6
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be unpickled here: SystemExit: not at home"):
            _ = spoilt.value
    assert other.value == 6
