"""Functions that travel by value: their code, and the globals and closure variables that it uses.

A function is pickled as a call that makes it without its state, and the state, which may lead back to the function.
Its globals are not part of it: they belong to a namespace, and ``loading`` knows the one where the function arrives.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from bndl.execute.pickling.identity import PerObject
from bndl.execute.pickling.modules import is_reachable

__all__ = ["MARK", "fill_cell", "list_globals", "make_cell", "make_function", "make_namespace", "set_state", "state_of"]

#: Under this name a namespace that was made here has its key.
MARK = "__bndl_namespace__"

_GLOBAL = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})
#: In the body of a class, global variables are read like this.
_IN_CLASS = frozenset({"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_OPTIMIZED = 0x1

_known: PerObject[tuple[str, ...]] = PerObject()


def list_globals(code: CodeType) -> tuple[str, ...]:
    """The names of the global variables that code uses, with those of the functions and classes in it."""
    names = _known.get(code)
    if names is None:
        names = tuple(dict.fromkeys(_walk(code)))
        _known.set(code, names)
    return names


def _walk(code: CodeType) -> Iterator[str]:
    operations = _GLOBAL if code.co_flags & _OPTIMIZED else _GLOBAL | _IN_CLASS
    for instruction in dis.get_instructions(code):
        if instruction.opname in operations:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _walk(constant)


def _list_attributes(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _list_attributes(constant)


def _list_submodules(function: FunctionType) -> list[str]:
    """Modules that code reaches through their packages, such as ``concurrent.futures``: they have to be imported."""
    code = function.__code__
    values = [function.__globals__.get(name) for name in list_globals(code)]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # a variable that is not assigned yet
            continue
    packages = [value.__name__ for value in values if isinstance(value, ModuleType) and hasattr(value, "__path__")]
    if not packages:
        return []
    attributes = dict.fromkeys(_list_attributes(code))
    found = []
    while packages:
        package = packages.pop()
        for attribute in attributes:
            name = f"{package}.{attribute}"
            if isinstance(sys.modules.get(name), ModuleType) and name not in found and is_reachable(name):
                found.append(name)
                packages.append(name)
    return found


def state_of(function: FunctionType) -> tuple[Any, ...]:
    """All of a function but for its code, its globals and its closure."""
    try:
        annotations = function.__annotations__
    except Exception:  # noqa: BLE001 - evaluated when asked for, from Python 3.14 on
        annotations = {}
    attributes = {
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": annotations or None,
        "__type_params__": getattr(function, "__type_params__", None) or None,
    }
    present = {name: value for name, value in attributes.items() if value is not None}
    return present, function.__dict__ or None, _list_submodules(function) or None


def set_state(function: FunctionType, state: tuple[Any, ...]) -> None:
    """Complete a function that was made here."""
    attributes, own, submodules = state
    for name in submodules or ():
        importlib.import_module(name)
    for name, value in attributes.items():
        setattr(function, name, value)
    if own:
        function.__dict__.update(own)


def make_function(code: CodeType, namespace: dict[str, Any], name: str, closure: tuple[CellType, ...]) -> FunctionType:
    """A function without its state."""
    return FunctionType(code, namespace, name, None, closure)


def make_namespace(name: str, key: object) -> ModuleType:
    """A module that stands for the one where a function has its globals."""
    module = ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    module.__dict__[MARK] = key
    return module


def make_cell() -> CellType:
    """A closure variable that is not assigned yet."""
    return CellType()


def fill_cell(cell: CellType, value: tuple[Any, ...]) -> None:
    """Assign a closure variable that was made here."""
    (cell.cell_contents,) = value
