"""The object at fault is found in one pass, whatever is around it and whatever users' classes do."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from bndl.checks import check_callable
from bndl.errors import InvalidOption, NotPicklable
from bndl.execute.payloads import Packer

LOCK = threading.Lock()


def refuse(value: object) -> NotPicklable:
    with pytest.raises(NotPicklable) as caught:
        Packer().pack(value, "the argument", with_refs=True)
    assert str(caught.value).startswith("the argument cannot be sent to another process: ")
    assert len(str(caught.value)) < 3000
    return caught.value


def nest(value: object, depth: int, wrap: Callable[[Any], Any]) -> object:
    for _ in range(depth):
        value = wrap(value)
    return value


class Holder:
    def __init__(self, part: object) -> None:
        self.part = part

    def show(self) -> object:
        return self.part


class Slotted:
    __slots__ = ("empty", "part")

    def __init__(self, part: object) -> None:
        self.part = part


@dataclasses.dataclass
class Data:
    name: str
    part: object


class Custom:
    """Its state is made when it is asked for."""

    def __init__(self, part: object) -> None:
        self._part = part

    def __getstate__(self) -> dict[str, object]:
        return {"innocent": [Holder(1)], "made": (self._part,)}


def use_lock() -> object:
    return LOCK


def close_over(part: object) -> Callable[[], object]:
    def closing() -> object:
        return part

    closing.__module__ = "__main__"  # or it would go by reference
    return closing


def with_default(part: object) -> Callable[[], object]:
    def defaulting(first: object = part) -> object:
        return first

    defaulting.__module__ = "__main__"
    return defaulting


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "the lock"),
        ([1, LOCK], "the list -> item 1"),
        ((1, [2, (LOCK,)]), "the tuple -> item 1 -> item 1 -> item 0"),
        ({"a": 1, "b": {3: LOCK}}, "the dict -> item 'b' -> item 3"),
        ({LOCK: 1}, "the dict -> key <unlocked _thread.lock"),
        ({LOCK}, "the set -> item 0"),
        (Holder([LOCK]), "the Holder -> attribute 'part' -> item 0"),
        (Slotted(LOCK), "the Slotted -> attribute 'part'"),
        (Data("x", {"k": LOCK}), "the Data -> attribute 'part' -> item 'k'"),
        (collections.OrderedDict(a=LOCK), "the OrderedDict -> item 'a'"),
        (Custom(LOCK), "the Custom -> attribute '_part'"),
        (close_over(LOCK), "closing -> closure variable 'part'"),
        (with_default([LOCK]), "defaulting -> default 0 -> item 0"),
        (Holder(LOCK).show, "bound to"),
        (functools.partial(print, LOCK), "the partial -> "),
        (collections.deque([1, LOCK]), "the deque -> "),
    ],
)
def test_the_path_leads_to_it(value: object, path: str) -> None:
    error = refuse(value)
    assert path in error.path
    assert "_thread.lock" in str(error)


def wrap_in_all(value: object) -> object:
    return [({"key": Holder(value)},)]


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (1, v), lambda v: {"k": v}, Holder, Slotted, wrap_in_all])
@pytest.mark.parametrize("depth", [18, 60])
def test_a_deep_one_is_found_in_as_many_steps(wrap: Callable[[Any], Any], depth: int) -> None:
    counted: list[int] = []

    class Counting:
        def __reduce__(self) -> tuple[Any, ...]:
            counted.append(1)
            return Holder, (LOCK,)

    error = refuse(nest([Counting(), 1], depth, wrap))
    assert "-> ... (" in error.path
    assert len(counted) <= 6


@pytest.mark.parametrize("depth", [400, 900, 5000, 100_000])
def test_lists_that_are_too_deep_end_soon(depth: int) -> None:
    value = nest(LOCK, depth, lambda v: [v])
    error = refuse(value)
    assert error.path.startswith("the list")
    assert len(error.path) < 500


def test_cycles_end() -> None:
    value: list[Any] = [1]
    value.append({"back": value})
    holder = Holder(value)
    value[1]["holder"] = holder
    value[1]["lock"] = LOCK
    assert refuse(holder).path == "the Holder -> attribute 'part' -> item 1 -> item 'lock'"


def test_many_innocent_ones_before_it_do_not_matter() -> None:
    error = refuse({"all": [(number, [Holder(number)]) for number in range(20_000)], "lock": LOCK})
    assert error.path == "the dict -> item 'lock'"


class Hostile:
    """Each of its methods raises."""

    def __init__(self) -> None:
        object.__setattr__(self, "part", LOCK)

    def __repr__(self) -> str:
        raise ValueError

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __hash__(self) -> int:
        return 3

    def __bool__(self) -> bool:
        raise ValueError

    def __iter__(self) -> Iterator[object]:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError


class AnyAttribute:
    """Has any attribute, each a new object with any attribute."""

    def __getattr__(self, name: str) -> Any:
        return AnyAttribute()

    def __reduce_ex__(self, _: object) -> Any:
        return self.spec.loader


class Lying:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError

    def __reduce_ex__(self, _: object) -> Any:
        raise ValueError("\ud800" * 10_000)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in {"__module__", "__qualname__", "__name__", "__mro__", "__dict__"}:
            raise ValueError(name)
        return super().__getattribute__(name)


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError


class Raising:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        raise self._error


class Recursing:
    def __reduce__(self) -> Any:
        return Holder, (Recursing(),)


class RecursingInPython:
    def __reduce__(self) -> Any:
        return self.__reduce__()


class Packing:
    """Packs itself while it is packed."""

    def __reduce__(self) -> Any:
        return bytes, (Packer().pack([self]),)


class Garbage:
    def __reduce__(self) -> Any:
        return 5


class Endless(list[Any]):
    """Says of each copy that it has another one in it."""

    def __reduce__(self) -> Any:
        return Endless, (), None, iter([Endless()])


HOSTILE = {
    "hostile": Hostile(),
    "any attribute": AnyAttribute(),
    "lying": Lying(),
    "meta": Meta("Made", (), {"__module__": "nowhere"})(),
    "silent": Raising(Silent()),
    "long": Raising(ValueError("x" * 10_000_000)),
    "recursing": Recursing(),
    "recursing in Python": RecursingInPython(),
    "packing": Packing(),
    "garbage": Garbage(),
    "endless": Endless(),
    "mock": mock.MagicMock(spec=threading.Thread),
    "frame": sys._getframe(),  # noqa: SLF001 - documented, in spite of its name
    "generator": (each for each in [1]),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"k": Holder(v)}, lambda v: nest(v, 50, Holder)]
)
def test_whatever_it_does_it_is_refused_with_a_path(name: str, wrap: Callable[[Any], Any]) -> None:
    assert refuse(wrap(HOSTILE[name])).path


async def wait_for_nothing() -> None:
    pass


async def give_nothing() -> AsyncIterator[int]:
    yield 1


def make_coroutine() -> object:
    made = wait_for_nothing()
    made.close()
    return made


def make_future() -> object:
    loop = asyncio.new_event_loop()
    try:
        return loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (concurrent.futures.Future, ".result()"),
        (make_future, "Await it"),
        (make_coroutine, "asyncio.run("),
        (give_nothing, "asyncio.run("),
        (lambda: (each for each in [1]), "list(...)"),
        (lambda: sys.__stderr__, "Give its path"),
        (threading.Lock, "Create it where it is used"),
    ],
)
def test_the_text_says_what_to_give_instead(make: Callable[[], object], remedy: str) -> None:
    value = make()
    error = refuse([{"deep": value}])
    assert remedy in str(error)
    assert error.path == "the list -> item 0 -> item 'deep'"
    with pytest.raises(InvalidOption, match="must be callable, got") as caught:
        check_callable("function", value, "a hint")
    assert remedy in str(caught.value) or "Create it" in remedy
