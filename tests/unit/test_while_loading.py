"""The user's code that runs while definitions are loaded finds all that it needs there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bndl.errors import NotPicklable
from bndl.execute.payloads import unpack
from bndl.execute.pickling.claims import claimed
from tests.unit.pickling import Process, module_of


@pytest.fixture
def driver() -> Process:
    return Process()


@pytest.fixture
def worker() -> Process:
    return Process()


GLOBALS = """
import math
factor = 2
def double(x): return half(x) * factor * factor
def half(x): return table["half"](x)
table = {"half": lambda x: math.floor(x) / factor}
class Stated:
    def __init__(self, value): self.value = value
    def __getstate__(self): return {"value": self.value}
    def __setstate__(self, state): self.value = double(state["value"])
class Reduced(Stated):
    def __reduce__(self): return make_reduced, (self.value,)
def make_reduced(value): return Reduced(double(value))
class Hashed(Stated):
    __setstate__ = None
    def __reduce__(self): return Hashed, (self.value,)
    def __hash__(self): return hash(double(self.value))
    def __eq__(self, other): return type(other) is Hashed and double(self.value) == double(other.value)
class Holder:
    part = Stated(3)
    other = Reduced(4)
stated, reduced, hashed = Stated(1), Reduced(2), {Hashed(1), Hashed(2)}
def stated_value(): return stated.value
def reduced_value(given=Reduced(5)): return reduced.value, given.value
def is_found(): return Hashed(1) in hashed
def held(): return Holder.part.value, Holder.other.value
def make_closure():
    inner = Reduced(6)
    return lambda: inner.value
closure = make_closure()
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("stated_value", 2), ("reduced_value", (4, 10)), ("is_found", True), ("held", (6, 8)), ("closure", 12)],
)
def test_functions_have_their_global_variables(driver: Process, worker: Process, name: str, expected: object) -> None:
    with module_of(GLOBALS) as module:
        payload = driver.pack(getattr(module, name))
        function = worker.unpack(payload)
    assert function() == expected


def test_each_of_many_classes_has_its_methods_and_attributes(driver: Process, worker: Process) -> None:
    count = 40
    with module_of("") as module:
        for number in range(count):
            source = f"""
class Sized{number}:
    scale = [{number}]
    def __init__(self): self.value = None
    def __getstate__(self): return 1
    def __setstate__(self, state): self.value = self.scale[0]
made_{number} = Sized{number}()
"""
            exec(source, module.__dict__)  # noqa: S102 - many of one kind
        parts = ", ".join(f"made_{number}" for number in range(count))
        exec(f"def values(): return [each.value for each in [{parts}]]", module.__dict__)  # noqa: S102 - the same
        values = worker.unpack(driver.pack(module.values))
    assert values() == list(range(count))


def test_long_chains_of_functions_and_objects_are_no_problem(driver: Process, worker: Process) -> None:
    with module_of("def f0(): return 0") as module:
        for number in range(1, 500):
            exec(f"def f{number}(): return f{number - 1}() + 1", module.__dict__)  # noqa: S102 - many of one kind
        function = worker.unpack(driver.pack(module.f499))
        again = worker.unpack(driver.pack([module.f499, module.f3]))
    assert function() == again[0]() == 499
    assert again[1]() == 3


def test_the_path_to_what_cannot_be_sent_is_that_of_the_global_variables(driver: Process) -> None:
    source = """
import threading
class First: pass
class Second: pass
first, second = First(), Second()
lock = threading.Lock()
def inner(): return lock
def outer(): return first, second, inner()
"""
    with module_of(source) as module, pytest.raises(NotPicklable) as raised:
        driver.pack(module.outer)
    assert raised.value.path == "outer -> global variable 'inner' -> global variable 'lock'"


EVENTS = """
import threading
begun, is_over = threading.Event(), threading.Event()
"""
WAITING = """
class Waits:
    def __reduce__(self): return wait, ()
def wait():
    import waiting
    waiting.begun.set()
    return waiting.is_over.wait(30)
class Holder:
    part = Waits()
class Other:
    value = 1
def wait_value(): return Holder.part
def end_wait():
    import waiting
    waiting.is_over.set()
    return Other.value
"""


def test_loading_waits_only_for_who_loads_the_same(driver: Process, worker: Process) -> None:
    with (
        module_of(EVENTS, "waiting") as waiting,
        module_of(WAITING) as module,
        ThreadPoolExecutor(3) as pool,
    ):
        waits, ends = driver.pack(module.wait_value), driver.pack(module.end_wait)
        with worker.entered():
            loading = [pool.submit(unpack, waits) for _ in range(2)]
            assert waiting.begun.wait(30)
            assert pool.submit(unpack, ends).result(30)() == 1
            first, second = (each.result(30) for each in loading)
        assert first() is second() is True
        assert first.__globals__["Holder"] is second.__globals__["Holder"]


def test_who_loads_within_loading_does_not_wait_in_a_circle() -> None:
    both = threading.Barrier(2)

    def load(outer: str, inner: str) -> str:
        with claimed(frozenset([outer])):
            both.wait(30)
            with claimed(frozenset([inner])):
                return inner

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(load, "ab", "ba", timeout=30)) == ["b", "a"]


ENUMS = """
import dataclasses, enum
@dataclasses.dataclass(frozen=True)
class Size: width: int
class Stated:
    def __init__(self, value): self.value = value
    def __getstate__(self): return self.value
    def __setstate__(self, state): self.value = state
class Kind(enum.Enum):
    SIZE = Size(1)
    STATED = Stated(2)
    OBJECT = object()
    CALL = enum.member(lambda: 3)
    LIST = [Size(4)]
    ALIAS = OBJECT
    def _missing_(value): return Kind.SIZE if value == "size" else None
    _missing_ = staticmethod(_missing_)
class Many(enum.Enum):
    A = 1
    def __init__(self, _): type(self)._value2member_map_["also"] = self
class Holder:
    kinds = {Kind.OBJECT: Kind.LIST}
"""


def test_members_of_enums_have_any_values(driver: Process, worker: Process) -> None:
    with module_of(ENUMS) as module:
        kind, many, size, members, holder = worker.unpack(
            driver.pack([module.Kind, module.Many, module.Size, list(module.Kind), module.Holder])
        )
        assert members == list(kind)
        assert [each.name for each in members] == ["SIZE", "STATED", "OBJECT", "CALL", "LIST"]
        assert kind(size(1)) is kind("size") is kind.SIZE
        assert kind.STATED.value.value == 2
        assert kind.CALL.value() == 3
        assert kind(kind.OBJECT.value) is kind.ALIAS is kind.OBJECT
        assert kind([size(4)]) is kind.LIST
        assert many(1) is many("also") is many.A
        assert holder.kinds == {kind.OBJECT: kind.LIST}
        assert driver.unpack(worker.pack(members)) == list(module.Kind)
        assert driver.unpack(worker.pack(kind.OBJECT.value)) is not module.Kind.OBJECT.value
