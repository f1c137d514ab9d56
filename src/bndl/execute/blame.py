"""Which part of a value cannot be pickled: the error of the pickler seldom says."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["find_culprit"]

_DEPTH = 8
_PARTS = 200


def find_culprit(value: Any, can_pickle: Callable[[Any], bool]) -> tuple[str, str]:
    """Look for the smallest part of a value that cannot be pickled.

    Args:
        value: what could not be pickled.
        can_pickle: whether a part of it can.

    Returns:
        Where it sits, such as ``parse -> closure variable 'lock'``, and what it is, such as ``a _thread.lock``.
    """
    path = [_name(value)]
    seen = {id(value)}
    for _ in range(_DEPTH):
        for label, part in _parts(value):
            if id(part) not in seen and not can_pickle(part):
                seen.add(id(part))
                path.append(label)
                value = part
                break
        else:
            break
    kind = type(value)
    return " -> ".join(path), f"a {kind.__module__}.{kind.__qualname__}"


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name if name and isinstance(name, str) else f"the {type(value).__name__}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each part with a label."""
    if isinstance(value, types.MethodType):
        yield "bound to", value.__self__
        value = value.__func__
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, dict):
        for key, item in list(value.items())[:_PARTS]:
            yield f"key {key!r}", key
            yield f"item {key!r}", item
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(list(value)[:_PARTS]):
            yield f"item {index}", item
    elif not isinstance(value, type | types.ModuleType):
        for name, item in list(getattr(value, "__dict__", {}).items())[:_PARTS]:
            yield f"attribute {name!r}", item


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # a variable that is not assigned yet
            yield f"closure variable {name!r}", cell.cell_contents
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f"global variable {name!r}", function.__globals__[name]
    for index, default in enumerate(function.__defaults__ or ()):
        yield f"default {index}", default
