"""Values that travel, and those that cannot: the error names the part at fault, and nothing else."""

from __future__ import annotations

import threading

import pytest

from bndl.errors import InvalidJob, NotPicklable
from bndl.execute.payloads import Packer, unpack
from bndl.execute.refs import Ref, Results, provided
from bndl.execute.shared import Broadcast
from tests.unit.pickling import module_of


class Stage:
    """The least that a ref needs to know."""

    name = "parse"
    first_task = 1 << 32


STAGE = Stage()
REF = Ref(STAGE, 0)


def test_refs_in_arguments_are_replaced_and_noted() -> None:
    packer = Packer()
    payload = packer.pack([REF, Results(STAGE, range(2))], "the arguments", with_refs=True)
    assert packer.refs == [REF, Results(STAGE, range(2))]
    with provided(lambda task: task & 1):
        assert unpack(payload) == [0, [0, 1]]


@pytest.mark.parametrize("value", [REF, [REF], {"all": Results(STAGE, range(2))}])
def test_refs_are_refused_where_nothing_would_replace_them(value: object) -> None:
    with pytest.raises(InvalidJob, match=r"the result of the task has <Re.*parse.*> in it.*Pass it"):
        Packer().pack(value, "the result of the task")


def test_refs_and_broadcasts_among_global_variables_are_noted() -> None:
    with module_of("def get(): return ref, shared") as module:
        module.ref, module.shared = REF, Broadcast("driver", 1)
        packer = Packer()
        with pytest.raises(InvalidJob, match=r"has <Ref.*in it"):
            packer.pack(module.get, "the function")
        packer.pack(module.get, "the argument", with_refs=True)
        assert packer.refs == [REF]
        assert list(packer.take_pinned().values()) == [module.shared]


def test_a_ref_is_not_blamed_for_what_is_beside_it() -> None:
    with pytest.raises(NotPicklable, match="lock") as caught:
        Packer().pack([(REF, threading.Lock())], "the argument", with_refs=True)
    assert caught.value.path == "the list -> item 0 -> item 1"


PARTS = """
import functools, threading
lock = threading.Lock()
def inner(): return lock
def outer(): return inner()
@functools.cache
def cached(): return lock
class Model:
    lock = threading.Lock()
    def method(self): return 1
class Holder:
    part = Model()
class Caller:
    def keep(self, given=lock): return given
"""


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("outer", "outer -> global variable 'inner' -> global variable 'lock'"),
        ("cached", "the _lru_cache_wrapper -> global variable 'lock'"),
        ("Model", "Model -> class 'Model' -> attribute 'lock'"),
        ("Holder", "Holder -> class 'Holder' -> class 'Model' -> attribute 'lock'"),
        ("Caller", "Caller -> class 'Caller' -> attribute 'keep' -> default 0"),
    ],
)
def test_the_path_leads_through_definitions(name: str, path: str) -> None:
    with module_of(PARTS) as module, pytest.raises(NotPicklable, match=r"is a _thread\.lock") as caught:
        Packer().pack(getattr(module, name), "the function")
    assert caught.value.path == path


class Strange:
    """Has any attribute, and cannot be pickled."""

    def __getattr__(self, name: str) -> int:
        if name == "__qualname__":
            return 7
        raise AttributeError(name)

    def __reduce__(self) -> tuple[object, ...]:
        raise ValueError


def test_a_value_whose_name_is_no_text_is_named_by_its_type() -> None:
    with pytest.raises(NotPicklable) as caught:
        Packer().pack(Strange(), "the argument")
    assert caught.value.path == "the Strange"
