"""Functions, enums and library functions: what each kind of them needs to work where it arrives."""

from __future__ import annotations

import ctypes
import enum
import functools
import importlib
import pickle
import random
import secrets
import sys
import threading
import types
import typing
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import numpy.random
import pytest

from bndl.errors import NotPicklable, RepeatedNumbersWarning
from bndl.execute.payloads import Packer, unpack
from bndl.execute.pickling.modules import is_reachable
from tests.unit.pickling import Process, module_of


@pytest.fixture
def driver() -> Process:
    return Process()


@pytest.fixture
def worker() -> Process:
    return Process()


# Functions by value


def test_closures_share_their_variables(driver: Process, worker: Process) -> None:
    count = 0

    def add() -> int:
        nonlocal count
        count += 1
        return count

    def get() -> int:
        return count

    there_add, there_get = worker.unpack(driver.pack([add, get]))
    assert there_add() == there_add() - 1 == 1
    assert there_get() == 2
    assert count == 0


def test_functions_of_any_kind(driver: Process, worker: Process) -> None:
    def recursive(n: int) -> int:
        return n if n == 0 else recursive(n - 1)

    def with_defaults(a: int, /, b: int = 2, *, c: int = 3) -> tuple[int, ...]:
        """Says something."""
        return a, b, c

    def unassigned() -> bool:
        return late

    with_defaults.note = "x"  # type: ignore[attr-defined]
    functions = [recursive, with_defaults, unassigned, functools.partial(with_defaults, 5)]
    there = worker.unpack(driver.pack(functions))
    assert there[0](3) == 0
    assert there[1](1) == (1, 2, 3)
    assert there[1].note == "x"
    assert there[1].__doc__ == "Says something."
    assert there[1].__annotations__["b"] == "int"
    with pytest.raises(NameError):
        there[2]()
    assert there[3]() == (5, 2, 3)
    late = True


def test_global_variables_that_code_uses_within_code(driver: Process, worker: Process) -> None:
    source = """
import concurrent.futures, os.path
limit, other = 3, 4
def nested():
    class Inner:
        value = limit
    return Inner.value, (lambda: other)(), [limit for _ in range(1)]
def package(): return concurrent.futures.ThreadPoolExecutor.__name__, os.path.join("a", "b")
"""
    with module_of(source) as module:
        nested, package = worker.unpack(driver.pack([module.nested, module.package]))
    assert nested() == (3, 4, [3])
    assert package() == ("ThreadPoolExecutor", "a/b")


def test_a_function_that_comes_home_has_the_real_globals(driver: Process, worker: Process) -> None:
    source = "value = 1\ndef make(): return lambda: value"
    with module_of(source, "other_module") as other:
        made = worker.unpack(driver.pack(other.make))()
        other.value = 2
        back = driver.unpack(worker.pack(made))
        assert back.__globals__ is vars(other)
        assert back() == 2
    namespace: dict[str, Any] = {"__name__": "of_no_module"}
    exec(source, namespace)  # noqa: S102 - as a plugin
    made = worker.unpack(driver.pack(namespace["make"]))()
    assert driver.unpack(worker.pack(made)).__globals__ is namespace


def test_the_file_and_the_lines_of_code_stay(driver: Process, worker: Process) -> None:
    function = worker.unpack(driver.pack(lambda: None))
    assert function.__code__.co_filename == __file__


def test_large_arrays_in_definitions_are_writable(driver: Process, worker: Process) -> None:
    with module_of("def get(): return data") as module:
        module.data = np.zeros(10_000)
        module.same = module.data
        module.both = lambda: (module.data, module.same)
        get, both = worker.unpack(driver.pack([module.get, module.both]))
    get()[0] = 1
    assert get()[0] == 1
    assert both()[0] is both()[1]


# Enums


def test_an_enum_of_any_kind(driver: Process, worker: Process) -> None:
    class Number(enum.IntEnum):
        ONE = 1

    class Text(str, enum.Enum):  # noqa: UP042 - another class than StrEnum
        A = "a"

    class Odd(enum.Enum):
        LIST = [1]  # noqa: RUF012 - a value without a hash
        CALL = enum.member(len)

        def hello(self) -> str:
            return f"{self.name} {Number.ONE}"

    class Flag(enum.IntFlag):
        A = 1
        B = 2
        NONE = 0

    number, text, odd, flag = worker.unpack(driver.pack([Number, Text, Odd, Flag]))
    assert number.ONE == 1
    assert number(1) is number.ONE
    assert text("a") is text.A == "a"
    assert odd([1]) is odd.LIST
    assert odd.CALL.value is len
    assert odd.LIST.hello() == "LIST 1"
    assert (flag.A | flag.B).value == 3
    assert flag(0) is flag.NONE
    members = [number.ONE, text.A, odd.LIST, flag.A | flag.B]
    assert driver.unpack(worker.pack(members)) == [Number.ONE, Text.A, Odd.LIST, Flag.A | Flag.B]
    assert driver.unpack(worker.pack(odd.LIST)) is Odd.LIST


# Classes of libraries' kinds


def test_classes_whose_metaclass_wants_more_than_a_skeleton(driver: Process, worker: Process) -> None:
    class Options(typing.TypedDict, total=False):
        name: str

    class Strict:
        tag = ""

        def __init_subclass__(cls, *, tag: str) -> None:
            cls.tag = tag

    class Tagged(Strict, tag="x"):
        pass

    class Words:
        @functools.singledispatchmethod
        def kind(self, _: object) -> str:
            return "object"

        @kind.register
        def _(self, _: int) -> str:
            return "int"

    options, tagged, words = worker.unpack(driver.pack([Options, Tagged, Words]))
    assert options(name="x") == {"name": "x"}
    assert options.__annotations__ == Options.__annotations__
    assert tagged.tag == "x"
    assert (words().kind(1), words().kind("")) == ("int", "object")
    later = worker.unpack(driver.pack(types.new_class("Later", (Strict,), {"tag": "y"})))
    assert later.tag == "y"
    assert issubclass(later, tagged.__mro__[1])


def test_classes_that_cannot_be_made_from_their_parts_are_refused(driver: Process) -> None:
    class Record(msgspec.Struct):
        a: int

    class Layout(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int),)

    for kind in (Record, Layout):
        with pytest.raises(NotPicklable, match=rf"{kind.__name__}.*put it into a module"):
            driver.pack([kind])


# Functions of libraries

LIBRARY: list[Callable[..., Any]] = [
    random.random,
    random.uniform,
    random.seed,
    secrets.choice,
    secrets.randbelow,
    uuid.uuid4,
    numpy.random.rand,
    numpy.random.normal,
    numpy.random.seed,
    numpy.random.default_rng,
    functools.reduce,
    str.upper,
    dict.fromkeys,
    int.from_bytes,
]


@pytest.mark.parametrize("function", LIBRARY, ids=lambda function: str(getattr(function, "__qualname__", function)))
def test_a_library_function_travels_by_reference(driver: Process, worker: Process, function: Any) -> None:
    payload = driver.pack(function)
    assert len(payload) < 150
    assert worker.unpack(payload) == function
    assert worker.unpack(driver.pack(lambda: function))() == function
    assert getattr(worker.unpack(payload), "__self__", None) is getattr(function, "__self__", None)


def test_methods_of_objects_are_bound_to_copies(driver: Process, worker: Process) -> None:
    generator = random.Random(1)  # noqa: S311 - not secret
    there = worker.unpack(driver.pack(generator.random))
    assert there.__self__ is not generator
    assert there() == generator.random()
    assert worker.unpack(driver.pack([1, 2].append))(3) is None
    assert worker.unpack(driver.pack(random.SystemRandom().random))() < 1


# Generators that are copied


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng, np.random.RandomState])
def test_a_generator_that_several_tasks_get_is_warned_of_once(make: Callable[[int], Any]) -> None:
    generator = make(1)
    packer = Packer()
    with pytest.warns(RepeatedNumbersWarning, match=r"Make a generator in each task") as caught:
        packer.pack(lambda: generator, is_shared=True)
    assert caught[0].filename == __file__
    packer.pack(lambda: generator, is_shared=True)
    packer.pack(generator)
    packer.pack(generator)


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng, np.random.RandomState])
def test_a_generator_that_is_sent_twice_in_one_state_is_warned_of(make: Callable[[int], Any]) -> None:
    generator = make(2)
    packer = Packer()
    packer.pack([generator])
    generator.random()
    packer.pack([generator])
    with pytest.warns(RepeatedNumbersWarning):
        packer.pack([generator])


def test_a_generator_among_global_variables_is_warned_of() -> None:
    with module_of("import random\ngenerator = random.Random(3)\ndef draw(): return generator.random()") as module:
        with pytest.warns(RepeatedNumbersWarning):
            Packer().pack(module.draw, is_shared=True)
        Packer().pack(module.draw, is_shared=True)


def test_what_is_no_copy_of_a_generator_is_not_warned_of() -> None:
    packer = Packer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packer.pack([random.Random(seed) for seed in range(3)])  # noqa: S311 - not secret
        packer.pack(random.SystemRandom(), is_shared=True)
        packer.pack(random.random, is_shared=True)
        packer.pack(lambda: [random.random()], is_shared=True)  # noqa: S311 - not secret
        generator = random.Random(4)  # noqa: S311 - not secret
        with pytest.raises(NotPicklable):
            packer.pack([generator, threading.Lock()])


# Whatever cloudpickle sends

MODULES = (
    "abc", "array", "ast", "asyncio", "collections", "contextlib", "copyreg", "csv", "ctypes", "dataclasses",
    "datetime", "decimal", "email", "enum", "fractions", "functools", "http", "inspect", "io", "ipaddress", "itertools",
    "json", "logging", "math", "msgspec", "multiprocessing", "numbers", "numpy", "numpy.random", "operator", "os",
    "os.path",
    "pathlib", "pickle", "queue", "random", "re", "select", "signal", "socket", "sqlite3", "ssl", "string", "struct",
    "subprocess", "threading", "time", "types", "typing", "unittest", "uuid", "warnings", "weakref", "zlib", "zoneinfo",
)  # fmt: skip


UNSENT = object()


def send_by_cloudpickle(value: object) -> object:
    try:
        return pickle.loads(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001 - some can be sent by nobody
        return UNSENT


@pytest.mark.parametrize("name", MODULES)
def test_it_sends_all_that_cloudpickle_sends(name: str) -> None:
    module = importlib.import_module(name)
    packer = Packer()
    for attribute, value in list(vars(module).items()):
        expected = send_by_cloudpickle(value)
        if expected is UNSENT or "<locals>" in getattr(value, "__qualname__", ""):  # what others put there
            continue
        got = unpack(packer.pack(value))
        assert type(got) is type(expected), attribute
        assert got is value or expected is not value, attribute


def test_modules_that_are_installed_can_be_imported() -> None:
    names = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None) is not None]
    assert {name for name in names if not is_reachable(name) and name.partition(".")[0] != "tests"} <= {
        "__main__",
        "__mp_main__",
    }
