"""Which dynamic object is which: their keys, and the live objects of this process by key.

Nothing here keeps an object alive.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Hashable
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

__all__ = [
    "Key",
    "PerObject",
    "Registry",
    "Version",
    "adopt",
    "find",
    "find_key",
    "forget",
    "give_key",
    "home",
    "version_of",
]

#: The home of an object, and its number or name there.
Key = tuple[str, Hashable]

V = TypeVar("V")


class Version:
    """The state of a class that was taken over from its home: as of when, and which names it has."""

    __slots__ = ("digest", "names", "sequence")

    def __init__(self) -> None:
        self.digest = b""
        self.sequence = -1
        self.names: frozenset[str] = frozenset()


class _Entry(weakref.ref[Any]):
    """A weak reference with a value."""

    __slots__ = ("value",)

    value: Any


class PerObject(Generic[V]):
    """A value for each of some objects, which are told apart by identity and are not kept alive.

    A ``WeakKeyDictionary`` would call ``__hash__`` and ``__eq__``, which a metaclass of the user may define.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def get(self, obj: Any) -> V | None:
        """The value of an object."""
        entry = self._entries.get(id(obj))
        if entry is None or entry() is not obj:
            return None
        value: V = entry.value
        return value

    def set(self, obj: Any, value: V) -> None:
        """Note the value of an object. Raises ``TypeError`` if there can be no weak references to it."""
        # All of the callback is in C: the exception that interrupts a task cannot come up in it and get lost there.
        entry = _Entry(obj, partial(self._entries.pop, id(obj)))
        entry.value = value
        self._entries[id(obj)] = entry


class Registry:
    """The keys of a process."""

    def __init__(self) -> None:
        self.home = secrets.token_hex(8)
        self.lock = threading.Lock()
        self.numbers = count(1)
        self.keys: PerObject[Key] = PerObject()
        self.objects: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()
        #: Those to which there can be no weak references, such as sentinels with ``__slots__``, by id and by key.
        self.pinned: dict[int | Key, tuple[Any, Key]] = {}
        self.versions: PerObject[Version] = PerObject()


#: The keys of this process.
registry = Registry()


def _begin_again() -> None:
    """A forked process is another home: its objects go their own way."""
    global registry  # noqa: PLW0603 - the state of the process
    registry = Registry()


os.register_at_fork(after_in_child=_begin_again)


def home() -> str:
    """The name of this process in keys."""
    return registry.home


def find_key(obj: Any) -> Key | None:
    """The key of an object, if it has one."""
    key = registry.keys.get(obj)
    if key is None and registry.pinned:
        pinned = registry.pinned.get(id(obj))
        return None if pinned is None else pinned[1]
    return key


def give_key(obj: Any) -> Key:
    """The key of an object, which is at home here if it has none yet."""
    key = registry.keys.get(obj)
    if key is None:
        with registry.lock:
            key = registry.keys.get(obj)
            if key is None:
                key = (registry.home, next(registry.numbers))
                registry.objects[key] = obj
                registry.keys.set(obj, key)
    return key


def adopt(obj: Any, key: Key) -> None:
    """Note the key of an object that was made here from its definition."""
    try:
        registry.objects[key] = obj
        registry.keys.set(obj, key)
    except TypeError:  # there can be no weak references to it
        registry.pinned[id(obj)] = registry.pinned[key] = (obj, key)


def find(key: Key) -> Any:
    """The live object with a key; None if there is none in this process."""
    obj = registry.objects.get(key)
    if obj is None and key in registry.pinned:
        return registry.pinned[key][0]
    return obj


def version_of(obj: Any) -> Version:
    """The version of an object that was made here."""
    version = registry.versions.get(obj)
    if version is None:
        version = Version()
        registry.versions.set(obj, version)
    return version


def forget(obj: Any) -> None:
    """An object could not be completed: nobody must find it."""
    key = registry.keys.get(obj)
    if key is not None and registry.objects.get(key) is obj:
        del registry.objects[key]
    pinned = registry.pinned.pop(id(obj), None)
    if pinned is not None:
        registry.pinned.pop(pinned[1], None)
