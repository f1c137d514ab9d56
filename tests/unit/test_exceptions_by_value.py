"""Exceptions, whose classes take what they like, and other objects that pickle alone does not get right."""

from __future__ import annotations

import functools
import pickle
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bndl.errors import NotPicklable
from tests.unit.pickling import Process, module_of


@pytest.fixture
def driver() -> Process:
    return Process()


@pytest.fixture
def worker() -> Process:
    return Process()


SOURCE = """
import dataclasses
made = []
class Text(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code
        made.append(self)
class Keyword(Exception):
    def __init__(self, *, code): self.code = code
class Both(Text, ValueError): pass
class System(OSError):
    def __init__(self, code, reason, name):
        super().__init__(code, reason, name)
        self.code = code
class Mixed(ValueError, OSError):
    def __init__(self, code): super().__init__(2, "mixed", "name"); self.code = code
class New(Exception):
    def __new__(cls, code, **_): return super().__new__(cls, code)
    def __init__(self, code, **extra): self.code = code; self.extra = extra
class Exit(SystemExit):
    def __init__(self, reason, code): super().__init__(code)
class Coding(UnicodeDecodeError):
    def __init__(self, code): super().__init__("utf-8", b"x", 0, 1, "odd"); self.code = code
class Group(ExceptionGroup):
    def __new__(cls, code, *errors):
        made = super().__new__(cls, "several", errors)
        made.code = code
        return made
    def __init__(self, *_): pass
    def derive(self, errors): return Group(self.code, *errors)
@dataclasses.dataclass
class Data(Exception):
    code: int
    more: list = dataclasses.field(default_factory=list)
class Reduced(Exception):
    def __init__(self, code): super().__init__("reduced"); self.code = code
    def __reduce__(self): return Reduced, (self.code + 1,)
"""
MAKE: dict[str, Callable[[Any], Any]] = {
    "Text": lambda module: module.Text(7, "text"),
    "Keyword": lambda module: module.Keyword(code=7),
    "Both": lambda module: module.Both(7, "text"),
    "System": lambda module: module.System(7, "text", "file"),
    "Mixed": lambda module: module.Mixed(7),
    "New": lambda module: module.New(7, more=1),
    "Exit": lambda module: module.Exit("text", 7),
    "Coding": lambda module: module.Coding(7),
    "Group": lambda module: module.Group(7, module.Text(7, "text"), KeyError(1)),
    "Data": lambda module: module.Data(7),
}


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    with module_of(SOURCE) as made:
        yield made


@pytest.mark.parametrize("name", MAKE)
def test_an_exception_is_what_it_was(driver: Process, worker: Process, module: Any, name: str) -> None:
    error = MAKE[name](module)
    error.add_note("a note")
    before = len(module.made)
    there = worker.unpack(driver.pack(error))
    back = driver.unpack(worker.pack(there))
    assert type(back) is type(error)
    for each in (there, back):
        assert str(each) == str(error)
        assert repr(each.args) == repr(error.args)
        assert each.code == 7
        assert each.__notes__ == ["a note"]
    assert getattr(back, "filename", None) == getattr(error, "filename", None)
    assert getattr(back, "errno", None) == getattr(error, "errno", None)
    assert len(module.made) == before


def test_the_way_of_an_exception_itself_is_taken(driver: Process, worker: Process, module: Any) -> None:
    assert worker.unpack(driver.pack(module.Reduced(7))).code == 8
    error = worker.unpack(driver.pack(pickle.PicklingError("plain", 1)))
    assert error.args == ("plain", 1)


def test_weak_mappings_arrive_with_what_is_alive(driver: Process, worker: Process) -> None:
    class Named:
        known: typing.ClassVar[weakref.WeakValueDictionary[str, Any]] = weakref.WeakValueDictionary()

        def __init__(self, name: str) -> None:
            self.known[name] = self

    kept = Named("kept")
    Named("gone")
    there, by_name, by_object = worker.unpack(driver.pack([kept, Named.known, weakref.WeakKeyDictionary({kept: 1})]))
    assert dict(by_name) == {"kept": there}
    assert dict(by_object) == {there: 1}
    new = type(there)("new")
    assert new.known["new"] is new
    with pytest.raises(NotPicklable, match="weakref"):
        driver.pack(weakref.ref(kept))


def is_subclass(cls: type, protocol: type) -> object:
    try:
        return issubclass(cls, protocol)
    except TypeError as error:
        return str(error)


def test_protocols_and_methods_that_dispatch_are_what_they_were(driver: Process, worker: Process) -> None:
    @typing.runtime_checkable
    class Sized(typing.Protocol):
        size: int

        def measure(self) -> int: ...

    class Shown:
        @functools.singledispatchmethod
        def show(self, _: object) -> str:
            return "object"

        @show.register
        def _(self, _: int) -> str:
            return "int"

    class Box(Sized):
        size = 3

    Shown().show(1)  # fills caches
    sized, shown, box = worker.unpack(driver.pack([Sized, Shown, Box]))
    assert isinstance(box(), sized)
    assert not isinstance(3, sized)
    assert is_subclass(float, sized) == is_subclass(float, Sized)  # from Python 3.12 on it is a TypeError
    assert (shown().show(1), shown().show("")) == ("int", "object")
    assert worker.unpack(driver.pack(Shown().show))(1) == "int"


def test_a_class_gets_the_bases_that_it_has_at_home_by_now(driver: Process, worker: Process) -> None:
    class Before:
        value = 1

    class After:
        value = 2

    class Heir(Before):
        pass

    heir = worker.unpack(driver.pack(Heir))
    assert heir().value == 1
    Heir.__bases__ = (After,)
    assert worker.unpack(driver.pack(Heir)) is heir
    assert heir().value == 2
