"""Which part of a value cannot be pickled: the error of the pickler seldom says.

The value is pickled once more, by picklers that note each object when they come to it (``traced``). The last one is the
one at fault, or is in it. From there the way leads back to the value: to an object noted before that has it as a part,
and so on. Each noted object is looked at once, so the search takes time in proportion to the value, and is bounded.

Users wrote what is looked at. So the way back calls nothing of theirs: parts come from the garbage collector and from
the dictionaries of objects and classes, names and types from the interpreter.
"""

from __future__ import annotations

import gc
import pickle
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bndl.errors import NotPicklable, TaskInterrupted
from bndl.remedies import remedy_for
from bndl.reprs import safe_repr, type_name

__all__ = ["find_culprit", "is_searching", "name_of", "traced"]

P = TypeVar("P", bound=type[pickle.Pickler])

#: After so many seconds of pickling once more the search is given up.
_MOST_SECONDS = 5.0
#: How many objects are noted, and how many between two looks at the clock.
_MOST_NOTED = 1_000_000
_LOOK = 512
#: How many objects on the way, from the last one on, are tried alone.
_MOST_TRIED = 8
#: How many steps of a path are shown at its beginning, and at its end.
_SHOWN = 6
#: How many objects that ``__reduce__`` made may lie between two steps of a path.
_AHEAD = 16

#: How often the way back may come to what is a part of nothing.
_MOST_GAPS = 20

#: What is seldom the object that was asked for its state.
_MADE = (type, types.BuiltinFunctionType, types.FunctionType, tuple, list, dict)
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
#: Never at fault.
_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})


class _Search(threading.local):
    """The search that this thread is in, if any: what the user's code pickles meanwhile is not searched in turn."""

    note: Callable[[Any], None] | None = None
    is_on = False


_search = _Search()


class _Enough(Exception):
    """The search takes too long."""


def traced(kind: P) -> P:
    """The class of pickler to use: ``kind``, or one that also notes what it comes to while this thread searches."""
    note = _search.note
    if note is None:
        return kind

    def persistent_id(_: object, part: Any) -> None:
        note(part)

    made: P = type(kind.__name__, (kind,), {"persistent_id": persistent_id})  # type: ignore[assignment]
    return made


def is_searching() -> bool:
    """Whether this thread pickles a value once more only to find what is wrong with it."""
    return _search.is_on


def find_culprit(value: Any, error: BaseException, repeat: Callable[[Any], object]) -> tuple[str, str, str]:
    """Look for the smallest part of a value that cannot be pickled.

    Args:
        value: what could not be pickled.
        error: why not.
        repeat: pickles a value once more, with new picklers, whose classes come from ``traced``.

    Returns:
        Where it sits, such as ``parse -> closure variable 'lock'``, what it is, such as ``a _thread.lock``, a remedy.
    """
    chain = [value]
    if not _search.is_on and not isinstance(error, NotPicklable):  # or it has been searched already
        _search.is_on = True
        try:
            chain = _find_chain(value, error, repeat)
        except TaskInterrupted:
            raise
        except Exception:  # noqa: BLE001, S110 - such as a RecursionError; there is an error to tell of in any case
            pass
        finally:
            _search.is_on = False
    # What is in a future or in a file tells users nothing.
    end = next((index for index, part in enumerate(chain) if remedy_for(part)), len(chain) - 1)
    remedy = remedy_for(chain[end]) or "Create it where it is used, or leave it out."
    return _show_path(chain[: end + 1]), _kind_of(chain[end]), remedy


def _find_chain(value: Any, error: BaseException, repeat: Callable[[Any], object]) -> list[Any]:
    """The objects from a value to the one at fault, each of them a part of the one before."""
    noted = _note_all(value, repeat)
    chain = _lead_back(noted)
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return chain  # no part of it is at fault, it is too deep
    # Usually it is the last one. But an error also comes up between two objects, such as if a dict changes meanwhile.
    deadline = time.monotonic() + _MOST_SECONDS
    for end in range(len(chain), max(len(chain) - _MOST_TRIED, 1), -1):
        if time.monotonic() > deadline:
            break
        if not _can_pickle(chain[end - 1], repeat):
            return chain[:end]
    return [value]


def _note_all(value: Any, repeat: Callable[[Any], object]) -> list[Any]:
    """The objects that the picklers come to until one fails."""
    noted: list[Any] = [value]
    deadline = time.monotonic() + _MOST_SECONDS

    def note(part: Any) -> None:
        if type(part) not in _ATOMS:
            noted.append(part)
            count = len(noted)
            if count % _LOOK == 0 and (count > _MOST_NOTED or time.monotonic() > deadline):
                raise _Enough

    _search.note = note
    try:
        is_fine = _can_pickle(value, repeat)
    except _Enough:
        is_fine = True
    finally:
        _search.note = None
    return [value] if is_fine else noted


def _can_pickle(part: Any, repeat: Callable[[Any], object]) -> bool:
    try:
        repeat(part)
    except (TaskInterrupted, _Enough):
        raise
    except Exception:  # noqa: BLE001 - whatever a class raises when it is pickled
        return False
    return True


def _lead_back(noted: list[Any]) -> list[Any]:
    """From all that was noted to the way from the first of it to the last."""
    way = [noted[-1]]
    end = len(noted) - 1
    for _ in range(_MOST_GAPS):
        for index in range(end - 1, -1, -1):
            candidate, last = noted[index], way[-1]
            if candidate is not last and _has_part(candidate, last):
                way.append(candidate)
                end = index
        if way[-1] is noted[0]:
            break
        # What __reduce__ makes is a part of nothing. It is noted right after the object that was asked.
        end = next((index for index in range(end - 1, 0, -1) if not issubclass(type(noted[index]), _MADE)), 0)
        way.append(noted[end])
    if way[-1] is not noted[0]:
        way.append(noted[0])
    return way[::-1]


def _has_part(value: Any, part: Any) -> bool:
    """Whether a value refers to a part, directly or through what is not noted."""
    referents = gc.get_referents(value)
    for each in referents:
        if each is part:
            return True
    kind = type(value)
    if kind in _CONTAINERS:
        return False
    if issubclass(kind, types.FunctionType | types.MethodType):
        return any(each is part for _, each in _parts(value))
    return any(each is part for own in referents if type(own) is dict for each in gc.get_referents(own))


def _show_path(chain: list[Any]) -> str:
    """The way from a value to a part, as text, without the containers that ``__reduce__`` made."""
    steps = [name_of(chain[0])]
    position, last = 0, len(chain) - 1
    while position < last:
        ahead = range(position + 1, min(position + 1 + _AHEAD, last + 1))
        found = next(((index, label) for index in ahead if (label := _label(chain[position], chain[index]))), None)
        if found is not None:
            position, label = found
        else:
            position = next((index for index in ahead if type(chain[index]) not in _CONTAINERS), last)
            label = f"a part of its state, {_kind_of(chain[position])}"
        steps.append(label)
    if len(steps) > 2 * _SHOWN + 1:
        steps[_SHOWN:-_SHOWN] = [f"... ({len(steps) - 2 * _SHOWN:,} more)"]
    return " -> ".join(steps)


def _label(value: Any, part: Any) -> str | None:
    """What a part of a value is to it; None if it is none."""
    return next((label() for label, each in _parts(value) if each is part), None)


def _parts(value: Any) -> Iterator[tuple[Callable[[], str], Any]]:
    """What a value is made of, each part with what makes a label for it."""
    kind = type(value)
    if issubclass(kind, types.MethodType):
        yield lambda: "bound to", value.__self__
        yield from _parts(value.__func__)
    elif issubclass(kind, types.FunctionType):
        yield from _parts_of_function(value)
    elif issubclass(kind, dict):
        for key, item in list(dict.items(value)):
            yield lambda key=key: f"key {safe_repr(key)}", key  # type: ignore[misc]
            yield lambda key=key: f"item {safe_repr(key)}", item  # type: ignore[misc]
    for plain in (list, tuple, set, frozenset):
        if issubclass(kind, plain):
            for index, item in enumerate(list(plain.__iter__(value))):
                yield lambda index=index: f"item {index}", item  # type: ignore[misc]
    if not issubclass(kind, types.ModuleType | types.FunctionType | types.MethodType):
        for name, item in _attributes(value):
            yield lambda name=name: f"attribute {safe_repr(name)}", item  # type: ignore[misc]


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[Callable[[], str], Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        for item in gc.get_referents(cell):  # none in a variable that is not assigned yet
            yield lambda name=name: f"closure variable {name!r}", item  # type: ignore[misc]
    namespace = function.__globals__
    for name in _global_names(function.__code__):
        if name in namespace:
            yield lambda name=name: f"global variable {name!r}", namespace[name]  # type: ignore[misc]
    for index, default in enumerate(function.__defaults__ or ()):
        yield lambda index=index: f"default {index}", default  # type: ignore[misc]
    for name, default in (function.__kwdefaults__ or {}).items():
        yield lambda name=name: f"default {name!r}", default  # type: ignore[misc]
    for name, item in (function.__dict__ or {}).items():
        yield lambda name=name: f"attribute {name!r}", item  # type: ignore[misc]


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Also those of the functions that are defined in a function."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object or a class, without asking it."""
    kind = type(value)
    if issubclass(kind, type):
        yield from list(type.__dict__["__dict__"].__get__(value).items())
    for base in type.__dict__["__mro__"].__get__(kind):
        for name, descriptor in list(type.__dict__["__dict__"].__get__(base).items()):
            if type(descriptor) is types.MemberDescriptorType:  # of __slots__
                yield from _slot(name, descriptor, value)
            elif name == "__dict__" and type(descriptor) is types.GetSetDescriptorType:
                own = descriptor.__get__(value)
                if type(own) is dict:
                    yield from list(own.items())


def _slot(name: str, descriptor: Any, value: Any) -> list[tuple[str, Any]]:
    try:
        return [(name, descriptor.__get__(value))]
    except AttributeError:  # not assigned
        return []


def name_of(value: Any) -> str:
    """What a value is called at the beginning of a path."""
    kind = type(value)
    if issubclass(kind, types.FunctionType | types.BuiltinFunctionType):
        return _plain(value.__qualname__)
    if issubclass(kind, types.MethodType):
        return name_of(value.__func__)
    return _plain(_QUALNAME.__get__(value)) if issubclass(kind, type) else f"the {type_name(value)}"


def _kind_of(value: Any) -> str:
    kind = type(value)
    try:
        return f"a {_plain(_MODULE.__get__(kind))}.{_plain(_QUALNAME.__get__(kind))}"
    except AttributeError:  # a class without a module
        return f"a {type_name(value)}"


def _plain(name: object) -> str:
    """A name on one line, if it is one."""
    return safe_repr(name)[1:-1] if type(name) is str else "?"


_QUALNAME: Any = type.__dict__["__qualname__"]
_MODULE: Any = type.__dict__["__module__"]
