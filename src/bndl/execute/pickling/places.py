"""Namespaces: where functions have their globals, and how the home of one finds it again."""

from __future__ import annotations

import sys
import weakref
from types import FunctionType, ModuleType
from typing import Any

from bndl.execute.pickling.functions import MARK
from bndl.execute.pickling.identity import Key, home

__all__ = ["find_by_name", "find_namespace", "key_of_globals", "key_of_module"]

#: Who can tell where the namespace is that belongs to no module of ``sys.modules``, by its name in keys.
_witnesses: dict[str, weakref.WeakSet[Any]] = {}


def key_of_globals(function: FunctionType) -> Key:
    """The key of the globals of a function."""
    return _key_of(function.__globals__, function)


def key_of_module(module: ModuleType) -> Key:
    """The key of the namespace of a module."""
    return _key_of(module.__dict__, module)


def _key_of(namespace: dict[str, Any], witness: FunctionType | ModuleType) -> Key:
    key: Key | None = namespace.get(MARK)
    if key is not None:
        return key
    name = namespace.get("__name__")
    if not isinstance(name, str):
        name = ""
    if getattr(sys.modules.get(name), "__dict__", None) is namespace:
        return home(), name
    name = f"{name}#{id(namespace)}"
    if name not in _witnesses:
        for gone in [each for each, witnesses in list(_witnesses.items()) if not witnesses]:
            _witnesses.pop(gone, None)
    _witnesses.setdefault(name, weakref.WeakSet()).add(witness)
    return home(), name


def find_namespace(key: Key) -> tuple[dict[str, Any], ModuleType | None] | None:
    """A namespace whose home this process is, with its module if there is one; None if it is gone."""
    name = str(key[1])
    module = sys.modules.get(name)
    if module is not None:
        return module.__dict__, module
    found: dict[str, Any] | None = None
    _, _, identity = name.rpartition("#")
    for witness in list(_witnesses.get(name, ())):
        namespace = witness.__dict__ if isinstance(witness, ModuleType) else witness.__globals__
        if str(id(namespace)) == identity:
            if isinstance(witness, ModuleType):
                return namespace, witness
            found = namespace
    return None if found is None else (found, None)


def find_by_name(name: str) -> Any:
    """A global variable whose home this process is, by its module and its name; None if it is gone."""
    module, _, attribute = name.partition(":")
    namespace = find_namespace(("", module))
    if namespace is None:
        return None
    value: Any = namespace[1]
    for part in attribute.split("."):
        value = getattr(value, part, None)
    return value
