"""Classes that travel by value: as a skeleton, made without running the user's code, and the state that completes it.

All skeletons of a section are made before the first state is set. So classes may refer to each other in any way, and
what the user's metaclasses and ``__init_subclass__`` do, such as filling registries, is not done a second time: the
outcome is part of the state.

The state has two parts. Methods and the like come before the first object of the class, because they may be needed to
make it: ``__setstate__``, for example. Other attributes come later, because there may be objects of the class in them.
"""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from bndl.errors import BndlError
from bndl.execute.pickling.identity import find_key, version_of

__all__ = [
    "ATOMS",
    "finish_class",
    "is_pure",
    "make_class",
    "set_attributes",
    "set_bases",
    "skeleton_of",
    "split",
    "stand_ins",
    "state_of_class",
]

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8

#: Is part of the skeleton, belongs to the process, or is made by ``type`` itself.
_NOT_STATE = frozenset(
    {
        "__module__",
        "__qualname__",
        "__slots__",
        "__orig_bases__",
        "__slotnames__",
        "_abc_impl",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
    }
)
#: What is part of the skeleton, because ``type`` or ``typing.Generic`` look at it when they make the class.
_IN_SKELETON = ("__module__", "__qualname__", "__slots__", "__orig_bases__")

#: Attributes that are not needed to make an object, in spite of their names.
_DATA = frozenset({"__annotations__", "__firstlineno__"})

#: Values that are the same wherever they are made.
ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})

_shielding = threading.RLock()


def is_pure(cls: type) -> bool:
    """Whether a class was defined in Python, so that it can be made from its parts."""
    # Metaclasses of extension modules, such as those of ctypes and msgspec, want to see all of a class at once.
    metaclass: Any = type(cls)
    return _is_of_python(cls) and all(_is_of_python(each) for each in metaclass.__mro__ if each not in {type, object})


def _is_of_python(cls: type) -> bool:
    return bool(cls.__flags__ & _HEAP_TYPE) and not cls.__flags__ & _IMMUTABLE_TYPE


def skeleton_of(cls: type) -> tuple[Any, ...]:
    """With what ``make_class`` makes a class without its state."""
    own = vars(cls)
    namespace = {name: own[name] for name in _IN_SKELETON if name in own}
    namespace["__qualname__"] = cls.__qualname__
    slots = namespace.get("__slots__")
    if slots is not None and not isinstance(slots, str | tuple | list | dict):
        namespace["__slots__"] = tuple(slots)
    return type(cls), cls.__name__, cls.__bases__, namespace


def state_of_class(cls: type) -> dict[str, Any]:
    """The attributes that a class itself has."""
    with _shielding:
        own = vars(cls).copy()
    state = {name: value for name, value in own.items() if name not in _NOT_STATE and not _is_made(cls, value)}
    if "__annotate_func__" in vars(cls):  # from Python 3.14 on
        with contextlib.suppress(Exception):  # names that are not defined
            state["__annotations__"] = cls.__annotations__
    if isinstance(cls, abc.ABCMeta):
        registered = abc._get_dump(cls)[0]  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
        state["_abc_impl"] = [each() for each in registered if each() is not None]
    return state


def split(state: dict[str, Any]) -> tuple[list[str], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The names of a class's attributes; what is needed to make an object of it, other attributes, and the rest."""
    rest: dict[str, Any] = {
        name: state.pop(name) for name in ("_abc_impl", "__members__", "__values__") if name in state
    }
    behaviours = {name: value for name, value in state.items() if _is_behaviour(name, value)}
    data = {name: value for name, value in state.items() if name not in behaviours}
    return list(state), behaviours, data, rest


def stand_ins(data: dict[str, Any]) -> dict[str, Any]:
    """What stands in the place of other attributes until they are there; ``__new__`` of a singleton looks at them."""
    return {
        name: value if type(value) in ATOMS else type(value)() if type(value) in {dict, list, set} else None
        for name, value in data.items()
    }


def _is_behaviour(name: str, value: Any) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return name not in _DATA
    return hasattr(type(value), "__get__")


def _is_made(cls: type, value: Any) -> bool:
    """Whether ``type`` makes an attribute itself, for a slot, ``__dict__`` or ``__weakref__``."""
    return isinstance(value, MemberDescriptorType | GetSetDescriptorType) and value.__objclass__ is cls


def make_class(metaclass: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    """A class without its state."""
    if find_key(metaclass) is None:
        try:
            with _shielded(bases, only_dynamic=True):
                return _call_metaclass(metaclass, name, bases, namespace)
        except BndlError:
            raise
        except Exception:  # noqa: BLE001, S110 - a library's metaclass or __init_subclass__ that wants more than there is
            pass
        maker: Any = abc.ABCMeta if issubclass(metaclass, abc.ABCMeta) else type
    else:  # the user's metaclass did its work where the class was defined
        maker = next(base for base in metaclass.__mro__ if find_key(base) is None)
    with _shielded(bases, only_dynamic=False):
        made: type = maker.__new__(metaclass, name, bases, dict(namespace))
    return made


def _call_metaclass(metaclass: Any, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    prepared = metaclass.__prepare__(name, bases)
    prepared.update(namespace)
    made: type = metaclass(name, bases, prepared)
    return made


@contextlib.contextmanager
def _shielded(bases: tuple[type, ...], *, only_dynamic: bool) -> Iterator[None]:
    """While it is entered, making a class in this thread does not call ``__init_subclass__`` of its bases."""
    ancestors = dict.fromkeys(ancestor for base in bases for ancestor in base.__mro__)
    hooked = [
        (ancestor, vars(ancestor)["__init_subclass__"])
        for ancestor in ancestors
        if "__init_subclass__" in vars(ancestor) and is_pure(ancestor)
        if find_key(ancestor) is not None or not only_dynamic
    ]
    if not hooked:
        yield
        return
    thread = threading.get_ident()
    with _shielding:
        for ancestor, hook in hooked:
            type.__setattr__(ancestor, "__init_subclass__", _guard(ancestor, hook, thread))
        try:
            yield
        finally:
            for ancestor, hook in hooked:
                type.__setattr__(ancestor, "__init_subclass__", hook)


def _guard(ancestor: type, hook: Any, thread: int) -> classmethod[Any, Any, None]:
    """An ``__init_subclass__`` that does nothing in one thread."""

    def init_subclass(cls: type, /, **kwargs: Any) -> None:
        if threading.get_ident() != thread:
            hook.__get__(None, cls)(**kwargs)

    init_subclass.__qualname__ = f"{ancestor.__qualname__}.__init_subclass__"
    return classmethod(init_subclass)


def set_attributes(cls: type, attributes: dict[str, Any], missing: dict[str, Any] | None = None) -> None:
    """Set attributes of a class, not as the user's metaclass does it, and others if they are missing."""
    for name, value in (missing or {}).items():
        if name not in vars(cls):
            type.__setattr__(cls, name, value)
    for name, value in attributes.items():
        type.__setattr__(cls, name, value)


def set_bases(cls: Any, bases: tuple[type, ...]) -> None:
    """Let a class have these bases."""
    before = cls.__bases__
    if len(before) != len(bases) or any(one is not other for one, other in zip(before, bases, strict=True)):
        type.__setattr__(cls, "__bases__", bases)


def finish_class(cls: Any, rest: dict[str, Any], names: list[str]) -> None:
    """All attributes of a class are set: do the rest, and remove those that it does not have any more at its home."""
    version = version_of(cls)
    for name in version.names.difference(names):
        with contextlib.suppress(AttributeError):
            type.__delattr__(cls, name)
    version.names = frozenset(names)
    for subclass in rest.get("_abc_impl", ()):
        abc.ABCMeta.register(cls, subclass)
    for name, attributes in rest.get("__members__", {}).items():
        cls._member_map_[name].__dict__.update(attributes)
    lists, pairs = rest.get("__values__", ({}, ()))
    for name, value in lists.items():
        type.__setattr__(cls, name, value)
    for value, name in pairs:
        cls._value2member_map_[value] = cls._member_map_[name]
