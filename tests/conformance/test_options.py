"""``ctx.options``, ``ctx.map`` with several iterables, and options of numpy's numbers: as users see them."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

import bndl
from bndl.errors import InvalidOption, ItemsFailed, TaskFailed, TaskTimeout

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=np.int64(2), concurrency=np.int8(2), progress=False) as context:  # type: ignore[arg-type]
        context.await_workers()
        yield context


def flaky(x: int) -> int:
    if bndl.current_task().attempt < 3:
        raise OSError("busy")
    return x


# Several iterables


@pytest.mark.parametrize("ordered", [True, False])
def test_map_takes_several_iterables(ctx: bndl.Context, *, ordered: bool) -> None:
    assert sorted(ctx.map(pow, [2, 3, 10], [5, 2, 3], ordered=ordered)) == [9, 32, 1000]
    assert sorted(ctx.map(lambda *parts: sum(parts), [1], (2,), {3}, ordered=ordered)) == [6]


def test_the_shortest_iterable_ends_it(ctx: bndl.Context) -> None:
    assert list(ctx.map(operator.add, count(), range(5), iter("abcdefg"[:0]))) == []
    assert list(ctx.map(operator.add, count(), range(5))) == [0, 2, 4, 6, 8]


def test_an_error_names_the_function_and_not_what_calls_it(ctx: bndl.Context) -> None:
    def divide(x: int, y: int) -> float:
        return x / y

    with pytest.raises(TaskFailed, match=r"divide\[1\].*ZeroDivisionError") as caught:
        list(ctx.map(divide, [1, 2], [1, 0]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_items_that_raise_amid_several_iterables(ctx: bndl.Context) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    taken: list[int] = []
    with pytest.raises(ItemsFailed, match="no more"):
        taken.extend(ctx.map(operator.add, count(1), items()))
    assert taken == [2]


@pytest.mark.parametrize("iterables", [(), (3,), ([1], None), ([1], 3, [2])])
def test_iterables_that_are_none(ctx: bndl.Context, iterables: Any) -> None:
    with pytest.raises(InvalidOption, match="items must be iterable, got" if iterables else "got no items"):
        ctx.map(operator.add, *iterables)


# Options of a context


@pytest.mark.parametrize("outer", [{"attempts": 3}, {"retry": bndl.Retry(attempts=3)}])
@pytest.mark.parametrize("none", ["attempts", "retry", "timeout"])
def test_none_leaves_what_is_around(ctx: bndl.Context, outer: Any, none: str) -> None:
    leave: Any = {none: None}
    patient = ctx.options(**outer, name="patient")
    assert list(patient.map(flaky, [1], **leave)) == [1]
    same = patient.options(**leave, name=None)
    assert same.submit(flaky, 1).result(TIMEOUT) == 1
    assert list(same.map(lambda _: bndl.current_task().name, [1])) == ["patient[0]"]
    job = bndl.Job("patient")
    job.stage(tasks=[bndl.Task(flaky, 1).options(**outer).options(**leave)])
    assert [task.result for task in ctx.execute(job)] == [1]


def test_calls_and_maps_have_the_options_of_the_view(ctx: bndl.Context) -> None:
    patient = ctx.options(attempts=3, name="patient")
    assert patient.submit(flaky, 1).result(TIMEOUT) == 1
    assert list(patient.map(flaky, [1, 2])) == [1, 2]
    assert list(patient.map(lambda x, y: flaky(x + y), [1, 2], [3, 4])) == [4, 6]
    with pytest.raises(TaskFailed, match="in all of its 2 attempts"):
        list(patient.map(flaky, [1], attempts=2))
    with pytest.raises(TaskFailed, match="in its only attempt"):
        ctx.submit(flaky, 1).result(TIMEOUT)


def test_the_name_is_that_of_calls_and_stages(ctx: bndl.Context) -> None:
    named = ctx.options(name="fit")
    assert list(named.map(lambda _: bndl.current_task().name, range(2))) == ["fit[0]", "fit[1]"]
    with pytest.raises(TaskFailed, match=r"^fit of job 'submit' failed") as caught:
        named.submit(operator.truediv, 1, 0).result(TIMEOUT)
    assert caught.value.task == "fit"
    assert named.submit(lambda: bndl.current_task().name).result(TIMEOUT) == "fit", "the task knows it, too"
    assert ctx.submit(lambda: bndl.current_task().name).result(TIMEOUT).startswith("call[")


def test_a_timeout_of_a_call(ctx: bndl.Context) -> None:
    def wait() -> None:
        while True:  # where it can be interrupted, so that its worker lives on
            threading.Event().wait(0.01)

    error = ctx.options(timeout=0.2).submit(wait).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, TaskTimeout)


def test_a_locality_of_calls(ctx: bndl.Context) -> None:
    chosen = max(peer.name for peer in ctx.workers)
    only = ctx.options(locality=lambda workers: [(each, 1 if each.name == chosen else -1) for each in workers])
    futures = [only.submit(bndl.current_worker) for _ in range(20)]
    assert {future.result(TIMEOUT) for future in futures} == {chosen}
    assert set(only.map(lambda _: bndl.current_worker(), range(20))) == {chosen}


def test_a_retry_of_calls(ctx: bndl.Context) -> None:
    choosy = ctx.options(retry=bndl.Retry(attempts=5, on=ValueError))
    with pytest.raises(TaskFailed, match="in its only attempt"):
        choosy.submit(flaky, 1).result(TIMEOUT)
    assert choosy.options(attempts=3).submit(flaky, 1).result(TIMEOUT) == 1


def test_a_view_of_a_view_changes_what_is_given(ctx: bndl.Context) -> None:
    outer = ctx.options(attempts=3, name="outer")
    inner = outer.options(priority=1)
    assert inner.submit(flaky, 1).result(TIMEOUT) == 1
    with pytest.raises(TaskFailed, match=r"^outer of job"):
        inner.submit(operator.truediv, 1, 0).result(TIMEOUT)
    assert repr(inner) == "<Context with attempts, priority, name>"


def test_many_sets_of_options_leave_no_jobs_behind(ctx: bndl.Context) -> None:
    driver = ctx._node.driver  # noqa: SLF001 - what is left is seen in no other way
    for number in range(100):
        assert ctx.options(timeout=100 + number).submit(abs, -number).result(TIMEOUT) == number
    assert list(ctx.map(abs, [-1])) == [1]
    assert len(driver._executions) < 30  # noqa: SLF001


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": 10**400}, "timeout must be at most 31,536,000"),
        ({"name": 3}, "the name of the calls must be a string"),
        ({"resources": {"gpu": 1}}, "resources= is not supported yet"),
        ({"attempts": 2, "retry": bndl.Retry()}, "both given"),
    ],
)
def test_options_that_make_no_sense(ctx: bndl.Context, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        ctx.options(**options)


@pytest.mark.parametrize("option", ["concurrency", "max_failures", "speculate", "nonsense"])
def test_options_that_a_view_does_not_have(ctx: bndl.Context, option: str) -> None:
    options: Any = {option: 1}
    with pytest.raises(TypeError, match=f"takes no option '{option}'.*attempts.*name"):
        ctx.options(**options)


def test_a_stopped_context_has_no_use_for_options() -> None:
    context = bndl.connect(workers=0, progress=False)
    view = context.options(attempts=2)
    context.stop()
    with pytest.raises(bndl.errors.ContextClosed):
        view.submit(abs, -1)
    with pytest.raises(bndl.errors.ContextClosed):
        view.map(abs, [-1])


# Options of map


def test_items_that_fail_are_left_out(ctx: bndl.Context) -> None:
    assert list(ctx.map(lambda x: 1 // x, [1, 0, -1], max_failures=1)) == [1, -1]
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        list(ctx.map(lambda x: 1 // x, [0, 0], max_failures=1))


def test_a_straggler_of_map_is_started_again(ctx: bndl.Context) -> None:
    def work(x: int) -> int:
        if x == 20 and bndl.current_task().attempt == 1:
            threading.Event().wait(20)
        return x

    assert list(ctx.map(work, range(21), speculate=True)) == list(range(21))


def test_numbers_of_numpy_are_numbers(ctx: bndl.Context) -> None:
    two: Any = np.int64(2)
    seconds: Any = np.float32(TIMEOUT)
    assert list(ctx.map(lambda x: flaky(x + 1), [0], attempts=two + 1, timeout=seconds, concurrency=two)) == [1]
    assert ctx.await_workers(two, connect_timeout=seconds) == 2
    assert ctx.submit(abs, -1).result(seconds) == 1
    job = bndl.Job("numpy", priority=two, max_failures=two)
    stage = job.stage(abs, [-1, -2], attempts=two)
    job.stage(sum, stage.split(two))
    assert ctx.run(job) == [1, 2]


@pytest.mark.parametrize("given", [{"interval": 0.01}, {"native": True}, {"sampler": "in-process"}])
def test_options_of_sampling_are_refused_with_tracing(ctx: bndl.Context, given: Any) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(given))} has no meaning with tracing"):
        ctx.cpu_profiling.start("tracing", **given)
    assert not ctx.cpu_profiling.is_running
