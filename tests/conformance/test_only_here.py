"""What only the driver has, and what all have: with every way to send it."""

from __future__ import annotations

import functools
import importlib
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import random as draw
from typing import Any, NewType, TypeVar

import numpy as np
import pytest
from numpy.random import rand

import bndl
from bndl.errors import NotPicklable, RepeatedNumbersWarning
from tests.unit.pickling import module_of

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


SOURCE = """
import functools, typing
limit = 2
class Thing:
    def __init__(self, value=1): self.value = value
    def __add__(self, other): return Thing(self.value + other.value)
@functools.cache
def cached(x): return x * limit
Name = typing.NewType("Name", str)
T = typing.TypeVar("T")
class Missing:
    __slots__ = ()
    def __reduce__(self): return "MISSING"
MISSING = Missing()
def double(x): return x * limit
"""


@pytest.fixture(scope="module")
def only_here() -> Iterator[Any]:
    with module_of(SOURCE, "only_the_driver_has_it") as module:
        yield module


NAMES = ["Thing", "cached", "Name", "T", "MISSING", "double"]


def same(value: Any) -> Any:
    return value


def ways(ctx: bndl.Context) -> dict[str, Callable[[Any], Any]]:
    """How a value gets to a worker and back."""

    def job(value: Any) -> Any:
        made = bndl.Job("there and back")
        first = made.stage(same, [value])
        made.stage(same, first.results)
        return ctx.run(made)[0]

    return {
        "submit": lambda value: ctx.submit(same, value).result(TIMEOUT),
        "keyword": lambda value: ctx.submit(same, value=value).result(TIMEOUT),
        "closure": lambda value: ctx.submit(lambda: value).result(TIMEOUT),
        "item": lambda value: next(iter(ctx.map(same, [value]))),
        "function": lambda value: next(iter(ctx.map(lambda _: value, [0]))),
        "job": job,
        "peer": lambda value: ctx.workers[0].execute(same, value).result(TIMEOUT),
        "broadcast": lambda value: ctx.submit(lambda shared: shared.value, ctx.broadcast(value)).result(TIMEOUT),
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_only_the_driver_has_comes_back_as_itself(ctx: bndl.Context, only_here: Any, name: str) -> None:
    value = getattr(only_here, name)
    for way, send in ways(ctx).items():
        assert send(value) is value, way


def test_what_only_the_driver_has_works_on_workers(ctx: bndl.Context, only_here: Any) -> None:
    assert list(ctx.map(only_here.double, [1, 2])) == [2, 4]
    assert list(ctx.map(only_here.cached, [1, 2])) == [2, 4]
    assert ctx.submit(only_here.cached, 4).result(TIMEOUT) == 8
    assert ctx.submit(lambda: only_here.double(only_here.limit)).result(TIMEOUT) == 4
    thing = ctx.submit(only_here.Thing, 5).result(TIMEOUT)
    assert type(thing) is only_here.Thing
    total = ctx.accumulator(only_here.Thing(0))
    list(ctx.map(lambda x: total.add(only_here.Thing(x)), range(4)))
    assert type(total.value) is only_here.Thing
    assert total.value.value == 6


def test_what_this_file_has(ctx: bndl.Context) -> None:
    @functools.cache
    def cached(x: int) -> int:
        return x + 1

    class Own:
        @functools.lru_cache(maxsize=4)  # noqa: B019 - as users do
        def method(self, x: int) -> int:
            return cached(x)

    assert list(ctx.map(cached, range(3))) == [1, 2, 3]
    assert list(ctx.map(Own().method, range(3))) == [1, 2, 3]
    local = NewType("local", int)
    variable = TypeVar("variable")
    assert ctx.submit(lambda: (local, variable)).result(TIMEOUT) == (local, variable)


class Nowhere:
    """Says that it is a global variable, and is not."""

    def __reduce__(self) -> str:
        return "no_such_name"


def test_what_cannot_be_found_is_refused_before_anything_runs(ctx: bndl.Context) -> None:
    for way, send in ways(ctx).items():
        with pytest.raises(NotPicklable, match="no_such_name") as caught:
            send(Nowhere())
        assert "Nowhere" in str(caught.value), way


def test_a_module_that_is_gone(ctx: bndl.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a_module_that_goes.py"
    path.write_text("class Thing:\n    pass\ndef get():\n    return Thing, 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("a_module_that_goes")
    path.unlink()
    try:
        kind, number = ctx.submit(module.get).result(TIMEOUT)
    finally:
        del sys.modules["a_module_that_goes"]
    assert kind is module.Thing
    assert number == 7


# Random numbers

FUNCTIONS = [draw, rand, random.random, np.random.normal]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: f"{each.__self__.__class__.__name__}.{each.__name__}")
def test_numbers_do_not_repeat(ctx: bndl.Context, function: Any) -> None:
    numbers = [
        *ctx.map(lambda _: function(), range(40)),
        *ctx.map(lambda _: function(), range(40)),
        *[ctx.submit(function).result(TIMEOUT) for _ in range(10)],
        *[future.result(TIMEOUT)[0] for future in [ctx.submit(lambda: [function()]) for _ in range(10)]],
    ]
    assert len(set(numbers)) == len(numbers)


def test_a_generator_of_the_script_is_warned_of_once(ctx: bndl.Context) -> None:
    generator = np.random.default_rng(1)
    with pytest.warns(RepeatedNumbersWarning, match="same numbers") as caught:
        list(ctx.map(lambda _: generator.random(), range(2)))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    list(ctx.map(lambda _: generator.random(), range(2)))
    other = random.Random(1)  # noqa: S311 - not secret
    with pytest.warns(RepeatedNumbersWarning):
        [ctx.submit(same, other) for _ in range(3)]
