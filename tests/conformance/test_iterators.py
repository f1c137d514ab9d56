"""Iterators over results: shared by threads, closed from anywhere, asked from within."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import ItemsFailed, TaskCancelled, TaskFailed, UserError

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    yield shared
    assert list(shared.map(abs, [-1, -2])) == [1, 2]
    deadline = time.monotonic() + TIMEOUT
    executions = shared._node.driver._executions  # noqa: SLF001 - nothing else shows what is left
    while any(each.name != "submit" for each in list(executions.values())):
        assert time.monotonic() < deadline, "an execution is left"
        threading.Event().wait(0.001)


def negate(number: int) -> int:
    return -number


def execute(ctx: bndl.Context, items: Iterable[int], *, ordered: bool) -> Iterator[int]:
    """The results of a job, as ``map`` gives them."""
    job = bndl.Job("shared")
    job.stage(negate, items)
    return ctx.execute(job, ordered=ordered)  # type: ignore[return-value]


def mapped(ctx: bndl.Context, items: Iterable[int], *, ordered: bool) -> Iterator[int]:
    return ctx.map(negate, items, ordered=ordered)


def value_of(result: Any) -> int:
    value: int = result.result if isinstance(result, bndl.Task) else result
    return value


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("make", [mapped, execute])
def test_threads_share_an_iterator(ctx: bndl.Context, make: Callable[..., Iterator[int]], *, ordered: bool) -> None:
    results = make(ctx, range(2000), ordered=ordered)
    start = threading.Barrier(4)

    def take() -> list[int]:
        start.wait(TIMEOUT)
        return [value_of(result) for result in results]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        taken = [future.result(TIMEOUT) for future in [pool.submit(take) for _ in range(4)]]
    assert sorted(number for each in taken for number in each) == sorted(-number for number in range(2000))
    if ordered:
        assert all(each == sorted(each, reverse=True) for each in taken), "each thread gets its share in order"


def test_an_error_goes_to_one_of_the_threads_and_ends_the_others(ctx: bndl.Context) -> None:
    results = ctx.map(lambda number: 1 // (100 - number), range(1000))

    def take() -> int:
        return len(list(results))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(take) for _ in range(3)]
        errors = [future.exception(TIMEOUT) for future in futures]
    assert sorted(type(error).__name__ for error in errors if error is not None) == [TaskFailed.__name__]


@pytest.mark.parametrize("ordered", [True, False])
def test_it_is_closed_while_threads_wait_in_it_and_for_it(ctx: bndl.Context, *, ordered: bool) -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield from range(3)
        begun.set()

    results = ctx.map(lambda _: threading.Event().wait(TIMEOUT), items(), ordered=ordered)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(next, results, "over") for _ in range(3)]
        assert begun.wait(TIMEOUT)
        results.close()
        ends = [future.exception(TIMEOUT) for future in waiting]
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "NoneType", TaskCancelled.__name__]
    assert list(results) == []


class Closing:
    """Garbage that closes an iterator when it is collected."""

    def __init__(self, results: Iterator[int]) -> None:
        self.results = results
        self.itself = self

    def __del__(self) -> None:
        self.results.close()  # type: ignore[attr-defined]


def test_it_is_closed_by_a_finalizer_in_the_thread_that_takes(ctx: bndl.Context) -> None:
    results: Iterator[int]

    def items() -> Iterator[int]:
        yield 1
        yield 2
        gc.collect()
        yield 3

    results = ctx.map(negate, items())
    Closing(results)
    with pytest.raises(TaskCancelled):
        list(results)


def test_it_is_closed_by_its_own_items(ctx: bndl.Context) -> None:
    results: Any = None

    def items() -> Iterator[int]:
        yield 1
        results.close()

    results = ctx.map(negate, items())
    with pytest.raises(TaskCancelled):
        list(results)


def test_items_that_take_results_of_the_same_map_are_refused_and_it_goes_on(ctx: bndl.Context) -> None:
    results: Any = None
    errors: list[UserError] = []

    def items() -> Iterator[int]:
        yield 1
        try:
            next(results)
        except UserError as error:
            errors.append(error)
        yield 2

    results = ctx.map(negate, items())
    assert list(results) == [-1, -2]
    assert "code that this iterator calls itself" in str(errors[0])

    def more() -> Iterator[int]:
        yield 1
        yield from results

    results = ctx.map(negate, more())
    assert next(results) == -1
    with pytest.raises(ItemsFailed, match="code that this iterator calls itself"):
        next(results)


def test_a_result_that_takes_another_one_is_refused(ctx: bndl.Context) -> None:
    results: Any = None

    class Nosy:
        def __reduce__(self) -> tuple[Any, ...]:
            next(results)
            return int, ()

    results = ctx.map(str, [Nosy()])
    with pytest.raises(UserError, match="code that this iterator calls itself"):
        next(results)
