"""Objects that pickle takes for global variables, though a worker has no such variable: they are made again by value.

So does bound functions of libraries the other way round: ``random.random`` is a method of a hidden object, and travels
as the global variable that it is.
"""

from __future__ import annotations

import functools
import importlib
import sys
import typing
from types import BuiltinFunctionType, CodeType, MethodType, ModuleType
from typing import Any

from bndl.execute.pickling.modules import is_reachable

__all__ = [
    "CACHED",
    "DISPATCHING",
    "TYPE_VARIABLES",
    "cached_arguments",
    "dispatching_arguments",
    "fill_dispatching",
    "find_global",
    "get_global",
    "make_cached",
    "make_sentinel",
    "make_type_variable",
    "type_variable_arguments",
]

#: The type of what ``functools.cache`` and ``functools.lru_cache`` make of a function.
CACHED: type = type(functools.lru_cache(len))

#: The code of what ``functools.singledispatch`` makes of a function.
DISPATCHING: CodeType = functools.singledispatch(lambda _: None).__code__  # type: ignore[attr-defined]

#: Types of names for types, which are what they are by identity.
TYPE_VARIABLES: tuple[type, ...] = tuple(
    getattr(typing, name)
    for name in ("TypeVar", "ParamSpec", "TypeVarTuple", "NewType", "TypeAliasType")
    if hasattr(typing, name)
)


def cached_arguments(cached: Any) -> tuple[Any, ...]:
    """With what ``make_cached`` makes a function with a cache, without what is in it."""
    parameters = cached.cache_parameters()
    return cached.__wrapped__, parameters["maxsize"], parameters["typed"]


def make_cached(function: Any, maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - as lru_cache has it
    """A function with an empty cache."""
    return functools.lru_cache(maxsize, typed)(function)


def dispatching_arguments(function: Any) -> tuple[Any, dict[type, Any]]:
    """With what ``singledispatch`` makes a function, and what was registered with it."""
    registry = dict(function.registry)
    return registry.pop(object), registry


def fill_dispatching(function: Any, implementations: dict[type, Any]) -> None:
    """Register with a function what it had."""
    for cls, implementation in implementations.items():
        function.register(cls, implementation)


def make_sentinel(cls: type) -> Any:
    """An object that is known by its place, without its state."""
    return object.__new__(cls)


def type_variable_arguments(variable: Any) -> tuple[Any, ...]:
    """With what ``make_type_variable`` makes a name for a type."""
    kind = type(variable)
    arguments: tuple[Any, ...] = (variable.__name__,)
    options: dict[str, Any] = {}
    if kind.__name__ == "NewType":
        arguments += (variable.__supertype__,)
    elif kind.__name__ == "TypeAliasType":
        arguments += (variable.__value__,)
        options["type_params"] = variable.__type_params__
    elif kind.__name__ in {"TypeVar", "ParamSpec"}:
        arguments += tuple(getattr(variable, "__constraints__", ()))
        options["bound"] = variable.__bound__
        options["covariant"] = variable.__covariant__
        options["contravariant"] = variable.__contravariant__
        if getattr(variable, "__infer_variance__", False):
            options["infer_variance"] = True
    if getattr(variable, "has_default", bool)():
        options["default"] = variable.__default__
    return kind, arguments, options, variable.__module__


def make_type_variable(kind: Any, arguments: tuple[Any, ...], options: dict[str, Any], module: str) -> Any:
    """A name for a type."""
    made = kind(*arguments, **options)
    try:
        made.__module__ = module
    except AttributeError:  # it is read from the frame, once
        return made
    return made


def find_global(method: BuiltinFunctionType | MethodType) -> str | None:
    """The module that workers can import and that has a bound function as a global variable, under its own name."""
    name = method.__name__
    owner = method.__self__
    first = type(owner).__module__
    modules = sys.modules.copy()
    for module_name in (first, *modules):
        module = modules.get(module_name)
        if not isinstance(module, ModuleType) or module_name == "__main__":
            continue
        found = vars(module).get(name)
        if type(found) is type(method) and found.__self__ is owner and found == method and is_reachable(module_name):
            return module_name
    return None


def get_global(module: str, name: str) -> Any:
    """A global variable of a module that can be imported."""
    return getattr(importlib.import_module(module), name)
