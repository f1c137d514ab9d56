"""What keeps its identity, what travels by value, and what is brought up to date."""

from __future__ import annotations

import gc
import importlib.util
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from bndl.errors import NotPicklable
from bndl.execute.payloads import Packer, unpack
from tests.unit.pickling import Process, module_of


@pytest.fixture
def driver() -> Process:
    return Process()


@pytest.fixture
def worker() -> Process:
    return Process()


MODULE = """
import collections, enum, functools, typing
limit = 1
seen = []
class Model:
    cache = {}
    def above(self, x): return x > limit
class Color(enum.Enum):
    RED = 1
Name = typing.NewType("Name", str)
T = typing.TypeVar("T", bound=Model)
P = typing.ParamSpec("P")
class Box(typing.Generic[T]): pass
Pair = collections.namedtuple("Pair", "a b")
@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@functools.lru_cache(maxsize=3, typed=True)
def bounded(n): return n + limit
@functools.singledispatch
def show(x): return "object"
@show.register
def _(x: int): return "int"
def plain(x): seen.append(x); return x + limit, seen
class Missing:
    def __reduce__(self): return "MISSING"
    def __bool__(self): return False
MISSING = Missing()
class Cached:
    @functools.lru_cache(maxsize=None)
    def value(self): return limit
    @functools.cached_property
    def once(self): return 42
"""


@pytest.fixture
def module() -> Iterator[Any]:
    with module_of(MODULE) as made:
        yield made


NAMES = ["Model", "Color", "Name", "T", "P", "Box", "Pair", "fib", "bounded", "show", "plain", "MISSING", "Cached"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_once_elsewhere_and_is_the_original_at_home(
    driver: Process, worker: Process, module: Any, name: str
) -> None:
    original = getattr(module, name)
    payload = driver.pack([original, original])
    one, two = worker.unpack(payload)
    assert one is two is not original
    assert worker.unpack(payload)[0] is one
    assert driver.unpack(worker.pack([one]))[0] is original
    assert driver.unpack(payload)[0] is original


@pytest.mark.parametrize("name", NAMES)
def test_a_third_process_reads_what_another_one_sends(driver: Process, worker: Process, module: Any, name: str) -> None:
    third = Process()
    there = worker.unpack(driver.pack(getattr(module, name)))
    back = third.unpack(worker.pack(there))
    assert back is not there
    assert type(back).__name__ == type(there).__name__
    assert driver.unpack(third.pack(back)) is getattr(module, name)


def test_what_only_one_process_has_works_elsewhere(driver: Process, worker: Process, module: Any) -> None:
    there = worker.unpack(driver.pack({name: getattr(module, name) for name in NAMES}))
    assert there["fib"](30) == 832040
    assert there["bounded"].cache_parameters() == {"maxsize": 3, "typed": True}
    assert there["show"](1) == "int"
    assert there["show"]("") == "object"
    assert there["T"].__bound__ is there["Model"]
    assert there["Box"].__parameters__ == (there["T"],)
    assert there["Name"]("x") == "x"
    assert there["Name"].__supertype__ is str
    assert not there["MISSING"]
    assert there["Cached"]().value() == 1
    assert there["Cached"]().once == 42
    assert there["plain"](1) == (2, [1])
    assert module.seen == []


def test_a_module_that_only_one_process_has(driver: Process, worker: Process, module: Any) -> None:
    there, plain = worker.unpack(driver.pack([module, module.plain]))
    assert type(there) is types.ModuleType
    assert there.plain is plain
    assert plain.__globals__ is vars(there)
    assert driver.unpack(worker.pack(there)) is module


def test_modules_whose_file_workers_do_not_find(driver: Process, worker: Process, tmp_path: Path) -> None:
    path = tmp_path / "plugin_of_mine.py"
    path.write_text("class Thing:\n    pass\ndef make():\n    return Thing()\n")
    spec = importlib.util.spec_from_file_location("plugin_of_mine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for is_known in (False, True):
        if is_known:
            sys.modules["plugin_of_mine"] = module
            path.unlink()
        try:
            payload = driver.pack([module.make, module.Thing()])
            assert b"cplugin_of_mine" not in payload
            make, thing = worker.unpack(payload)
            assert type(make()) is type(thing) is not module.Thing
            assert type(driver.unpack(worker.pack(make()))) is module.Thing
        finally:
            sys.modules.pop("plugin_of_mine", None)


def test_modules_that_are_registered_to_travel_by_value(driver: Process, worker: Process, tmp_path: Path) -> None:
    (tmp_path / "registered_module.py").write_text("value = 1\ndef get():\n    return value\n")
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.import_module("registered_module")
        assert worker.unpack(driver.pack(module.get)) is module.get
        cloudpickle.register_pickle_by_value(module)
        there = worker.unpack(driver.pack(module.get))
        assert there is not module.get
        assert there() == 1
        cloudpickle.unregister_pickle_by_value(module)
        assert worker.unpack(driver.pack(module.get)) is module.get
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("registered_module", None)


def test_what_says_that_it_is_where_it_is_not(driver: Process, worker: Process) -> None:
    class Lying:
        pass

    def lying() -> int:
        return 1

    Lying.__module__ = lying.__module__ = "os"
    Lying.__qualname__ = lying.__qualname__ = "path"
    kind, function = worker.unpack(driver.pack([Lying, lying]))
    assert kind is not Lying
    assert function() == 1


class Nowhere:
    def __reduce__(self) -> str:
        return "no_such_name"


def test_what_can_only_travel_by_a_name_that_workers_do_not_have(driver: Process) -> None:
    with pytest.raises(NotPicklable, match=r"no_such_name.*test_pickling.*would not find it"):
        driver.pack([Nowhere()])
    with module_of("import threading\nlock = type(threading.RLock())") as module:
        kind = types.new_class("Odd", (), {}, lambda namespace: namespace.update(__module__="only_here"))
        module.Odd = kind
        assert Process().unpack(driver.pack(kind)) is not kind


# Nothing happens at home


def test_nothing_of_the_user_runs_at_home(driver: Process, worker: Process) -> None:
    ran: list[str] = []

    class Meta(type):
        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
            ran.append("new")
            return super().__new__(cls, name, bases, namespace)

        def __setattr__(cls, name: str, value: object) -> None:
            ran.append("set")

        def __eq__(cls, other: object) -> bool:
            ran.append("eq")
            return cls is other

        __hash__ = type.__hash__

    class Base(metaclass=Meta):
        def __init_subclass__(cls) -> None:
            ran.append("init")

    class Derived(Base):
        def __setstate__(self, state: object) -> None:
            ran.append("state")

    value = lambda: (Derived, Base, Derived())  # noqa: E731 - what is sent
    ran.clear()
    payload = driver.pack(value)
    assert ran == []
    derived, base, instance = worker.unpack(payload)()
    assert issubclass(derived, base)
    assert type(instance) is derived
    back = driver.unpack(worker.pack([derived, base]))
    assert back[0] is Derived
    assert back[1] is Base


def test_a_class_that_its_home_let_go_of_is_made_again(driver: Process, worker: Process) -> None:
    def make() -> tuple[type, type]:
        class Gone:
            value = 1

        class Kept:
            other = Gone

        return Gone, Kept

    gone, kept = make()
    payload = worker.pack(worker.unpack(driver.pack([gone, kept])))
    del kept.other  # type: ignore[attr-defined]
    reference = weakref.ref(gone)
    del gone
    gc.collect()
    assert reference() is None
    back = driver.unpack(payload)
    assert back[0].value == 1
    assert back[1] is kept
    assert not hasattr(kept, "other")


@pytest.mark.parametrize("name", ["Model", "plain", "T", "fib", "show"])
def test_packing_keeps_nothing_alive(driver: Process, worker: Process, name: str) -> None:
    # The caches of typing keep what is in square brackets.
    with module_of(MODULE.replace("Box(typing.Generic[T])", "Box")) as module:
        payload = driver.pack([getattr(module, name), module.plain, module])
        worker.unpack(payload)
        references = [weakref.ref(getattr(module, name)), weakref.ref(module)]
        vars(module).clear()
    del module
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_module_that_is_executed_again(driver: Process, worker: Process, module: Any) -> None:
    old, kind = module.Model(), module.Model
    worker.unpack(driver.pack([old, module.plain]))
    exec(MODULE, vars(module))  # noqa: S102 - as importlib.reload does it
    there_old, there_new = worker.unpack(driver.pack([old, module.Model()]))
    assert type(there_old) is not type(there_new)
    back = driver.unpack(worker.pack([there_old, there_new]))
    assert [type(each) for each in back] == [kind, module.Model]


# Versions


def test_definitions_are_brought_up_to_date_and_not_reset(driver: Process, worker: Process, module: Any) -> None:
    model = worker.unpack(driver.pack(module.Model()))
    assert model.above(5)
    type(model).cache["made here"] = 1
    assert type(worker.unpack(driver.pack(module.Model()))) is type(model)
    assert type(model).cache == {"made here": 1}
    old = driver.pack([module.Model(), module.plain])
    module.limit = 10
    module.Model.extra = 5
    assert worker.unpack(driver.pack(module.Model())).extra == 5
    assert not model.above(5)
    # What was sent before, and comes later, does not bring the old state back to the class, but to its function.
    late, plain = worker.unpack(old)
    assert not late.above(5)
    assert plain(1)[0] == 2
    del module.Model.extra
    module.limit = 1
    assert not hasattr(worker.unpack(driver.pack(module.Model())), "extra")
    assert model.above(5)


def test_functions_are_as_they_were_when_they_were_sent(driver: Process, worker: Process, module: Any) -> None:
    first = worker.unpack(driver.pack(module.plain))
    module.limit = 10
    second = worker.unpack(driver.pack(module.plain))
    assert (first(1)[0], second(1)[0]) == (2, 11)


def test_a_worker_does_not_change_what_another_one_has(driver: Process, worker: Process, module: Any) -> None:
    third = Process()
    mine = worker.unpack(driver.pack(module.Model))
    theirs = third.unpack(driver.pack(module.Model))
    mine.changed = True
    assert third.unpack(worker.pack(mine)) is theirs
    assert not hasattr(theirs, "changed")


class Late:
    """Cannot be unpickled at first."""

    is_ready = False

    def __reduce__(self) -> tuple[Callable[[], int], tuple[()]]:
        return make_late, ()


def make_late() -> int:
    if not Late.is_ready:
        raise ValueError("not yet")
    return 7


def test_a_class_that_was_not_completed_is_made_again(driver: Process, worker: Process) -> None:
    class Model:
        value = Late()

    payload = driver.pack(Model)
    with pytest.raises(ValueError, match="not yet"):
        worker.unpack(payload)
    Late.is_ready = True
    assert worker.unpack(payload).value == 7


# Threads


def test_threads_that_pack_and_unpack_at_the_same_time(driver: Process, worker: Process, module: Any) -> None:
    barrier = threading.Barrier(4)

    def pack(number: int) -> list[bytes]:
        barrier.wait(30)
        return [Packer().pack([module.Model(), module.plain, module.Color.RED, number]) for _ in range(20)]

    with driver.entered(), ThreadPoolExecutor(4) as pool:
        payloads = [payload for payloads in pool.map(pack, range(4)) for payload in payloads]
    with worker.entered(), ThreadPoolExecutor(4) as pool:
        values = list(pool.map(unpack, payloads))
    assert len({type(value[0]) for value in values}) == 1
    assert len({id(value[2]) for value in values}) == 1


def test_a_pickle_is_of_no_use_without_its_definitions() -> None:
    payload = Process().pack(test_a_pickle_is_of_no_use_without_its_definitions.__class__)
    assert pickle.loads(payload) is types.FunctionType


SETTINGS = """
import dataclasses
class Stated:
    def __init__(self, value): self.value = value
    def __getstate__(self): return self.value
    def __setstate__(self, state): self.value = state
class Heir(Stated): pass
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    value: int
Frozen.zero = Frozen(0)
class Rebuilt:
    known, latest, scale = {}, None, 2
    def __new__(cls, name):
        made = cls.known.setdefault(name, super().__new__(cls))
        if cls.latest is None: cls.latest = made
        return made
    def __init__(self, name): self.name = name
    def __reduce__(self): return Rebuilt.get, (self.name,)
    @classmethod
    def get(cls, name): return cls(name * (cls.scale - 1))
Rebuilt.first = Rebuilt("first")
stated, heir, frozen, rebuilt = Stated(1), Heir(2), Frozen(3), Rebuilt("last")
def get(given=Heir(4)): return stated.value, heir.value, frozen.value, rebuilt.name, Frozen.zero.value, given.value
class Holder:
    part = Heir(5)
    def look(self, other=frozen): return self.part.value, other.value, Rebuilt.first.name
"""


def test_objects_in_definitions_are_made_by_the_methods_of_their_classes(driver: Process, worker: Process) -> None:
    with module_of(SETTINGS) as module:
        get, holder = worker.unpack(driver.pack([module.get, module.Holder()]))
        assert get() == (1, 2, 3, "last", 0, 4)
        assert holder.look() == (5, 3, "first")
        kind = worker.unpack(driver.pack(module.Rebuilt))
        assert kind.latest is kind.first is kind.known["first"] is kind("first")
        back = driver.unpack(worker.pack([get, holder, holder.part]))
        assert back[0] is module.get
        assert type(back[2]) is module.Heir
