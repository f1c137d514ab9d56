"""The definitions that travel beside a pickle: they are collected while it is written, and written after it.

A definition may need others, so they are written until there is no further one. Those of each home have a stream of
their own, so that its home need not unpickle it.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Hashable, Sequence
from io import BytesIO
from itertools import count
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from bndl.execute.blame import name_of, traced
from bndl.execute.pickling.frames import Buffers
from bndl.execute.pickling.functions import MARK, list_globals
from bndl.execute.pickling.identity import Key, home
from bndl.execute.pickling.pickler import SKELETON, STATE, Pickler, Replace, attributes_of
from bndl.execute.pickling.places import key_of_globals, key_of_module

__all__ = ["WITH_DEFINITIONS", "Definitions", "Section", "Stream", "read_section"]

#: ``b"D" | length of the section: u64 | section | skeletons | streams | pickle``.
WITH_DEFINITIONS = b"D"
_START = struct.Struct("<Q")

_sequence = count()
_MISSING = object()

#: So many classes and global variables are written within each other; others later, or the pickler would recurse too
#: deep.
_MOST_NESTED = 10
#: Values that are made without calling the user's code.
_NEEDS_NO_CALL = (FunctionType, ModuleType, type, int, float, str, bytes, type(None))

#: A definition: its kind, its index, and the name of a global variable.
_Item = tuple[str, int, Any]
#: Of a module as a whole, these belong to the process.
_OF_PROCESS = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__", MARK})


class Stream(msgspec.Struct, frozen=True, array_like=True):
    """The states of the definitions of one home.

    Attributes:
        home: whose they are.
        count: how many items the pickle has, one after another.
        size: of the pickle and its buffers, in bytes.
    """

    home: str
    count: int
    size: int


class Section(msgspec.Struct, frozen=True, array_like=True):
    """Definitions, as they travel.

    Attributes:
        sender: the home of who wrote them.
        sequence: increases with each section of a sender.
        digest: of the skeletons and streams.
        keys: what the pickle and the definitions refer to by index: the kind, the home, and the number or name there.
        count: how many skeletons there are.
        size: of the pickle of them, one after another, in bytes.
        streams: the rest, in the order in which to read it.
    """

    sender: str
    sequence: int
    digest: bytes
    keys: list[tuple[str, str, int | str]]
    count: int
    size: int
    streams: list[Stream]

    def claims(self) -> frozenset[Hashable]:
        """What no two threads may load at the same time: the section, and all in it that there is once."""
        return frozenset([(self.sender, self.digest), *(key for key in self.keys if key[0] in "cvs")])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Section)


class _Writer:
    """A pickle of several items."""

    def __init__(self, definitions: Definitions, mode: int, home_name: str = "") -> None:
        self.count = 0
        self._file = BytesIO()
        self._buffers = Buffers()
        self._pickler = traced(Pickler)(
            self._file,
            lambda: definitions,
            mode,
            home_name,
            is_shared=definitions.is_shared,
            buffer_callback=self._buffers.take,
            replace=definitions.replace,
        )

    def dump(self, item: Any) -> None:
        self.count += 1
        self._pickler.dump(item)

    def finish(self) -> list[bytes | memoryview]:
        return self._buffers.pieces(self._file.getvalue())


class Definitions:
    """Collects the definitions that one value needs.

    Args:
        is_shared: whether several tasks get the value.
        replace: says what to pickle in the place of some objects.
    """

    def __init__(self, *, is_shared: bool = False, replace: Replace | None = None) -> None:
        self.is_shared = is_shared
        self.replace = replace
        self._home = home()
        self._number = next(_sequence)
        self._keys: list[tuple[str, str, int | str]] = []
        self._objects: list[Any] = []
        self._indices: dict[tuple[str, Key], int] = {}
        self._work: deque[_Item] = deque()
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        #: The global variables that are written, by namespace and name.
        self._assigned: set[tuple[int, str]] = set()
        self._current = -1
        #: What is being written, None for the value itself, and what each item was needed for.
        self._item: _Item | None = None
        self._parents: dict[_Item, _Item | None] = {}
        #: The classes and global variables that are being written where they are needed.
        self._open: list[_Item] = []
        self._names: set[tuple[int, str]] = set()
        self._streams: dict[str, _Writer] = {}
        self._skeletons: _Writer | None = None

    def let_go(self) -> None:
        """Refer to nothing any more. Its picklers refer to it, so it would wait for the collection of garbage."""
        for each in (self._objects, self._work, self._streams, self._indices, self._parents, self._open):
            each.clear()
        self._skeletons = None

    def add(self, obj: Any, kind: str, key: Key) -> int:
        """The index of an object, which will be defined."""
        index, is_new = self._add(obj, kind, key)
        if is_new:
            self._plan((kind, index, None))
        return index

    def add_globals(self, function: FunctionType) -> int:
        """The index of the namespace of a function. The names that the function uses will be in it."""
        index, is_new = self._add(function.__globals__, "m", key_of_globals(function))
        names = list_globals(function.__code__)
        if is_new and function.__globals__.get("__package__"):
            names = ("__package__", *names)  # for relative imports
        if names:
            self._add_names(index, names)
        return index

    def add_module(self, module: ModuleType) -> int:
        """The index of a module, which will be there with all that it has."""
        index, _ = self._add(module.__dict__, "m", key_of_module(module))
        self._add_names(index, [name for name in list(module.__dict__) if name not in _OF_PROCESS])
        return index

    def begin(self, index: int) -> bool:
        """Whether a skeleton is to be made: it is made once."""
        if index in self._begun:
            return False
        self._begun.add(index)
        return True

    def is_current(self, index: int) -> bool:
        """Whether it is the turn of a class, so that its attributes come after it."""
        return self._current == index

    def finish(self, index: int) -> None:
        """A class was completed where it was needed, before its turn."""
        self._finished.add(index)

    def enter(self, index: int) -> bool:
        """The state of a class begins. Returns whether there is room for its attributes within what it is in."""
        self._open.append(("c", index, None))
        return len(self._open) <= _MOST_NESTED

    def enter_global(self, index: int, name: str) -> list[Any]:
        """A global variable is needed. Returns its value, if it is the place to write it; ``leave`` comes after it."""
        value = self._objects[index].get(name, _MISSING)
        if value is _MISSING or (index, name) in self._assigned or len(self._open) >= _MOST_NESTED:
            return []
        self._assigned.add((index, name))
        self._open.append(("n", index, name))
        return [value]

    def leave(self) -> None:
        """The state of a class ends, or a global variable."""
        self._open.pop()

    def list_needed(self, function: FunctionType, index: int, owner: str) -> list[str]:
        """The global variables that a function needs when it is called, those first that are no objects of classes.

        Args:
            function: the function.
            index: of its namespace.
            owner: whose definitions the function is among.
        """
        if self._keys[index][1] != owner:
            return []
        namespace = self._objects[index]
        names = [name for name in list_globals(function.__code__) if (index, name) not in self._assigned]
        return sorted(names, key=lambda name: not isinstance(namespace.get(name), _NEEDS_NO_CALL))

    def locate(self) -> tuple[list[str], Any]:
        """The way from the value to what is being written, and that, which cannot be pickled as a whole."""
        item, labels, part = self._item, [], None
        if item is not None:
            kind, index, name = item
            part = self._objects[index].get(name) if kind == "n" else self._objects[index]
        while item is not None:
            labels.append(self._label(*item))
            item = self._parents[item]
        labels.reverse()
        for kind, index, name in self._open:
            inner = self._objects[index].get(name) if kind == "n" else self._objects[index]
            if inner is not part:
                labels.append(self._label(kind, index, name))
            part = inner
        return labels, part

    def _label(self, kind: str, index: int, name: Any) -> str:
        if kind == "n":
            return f"global variable {name!r}"
        return f"class {self._objects[index].__qualname__!r}" if kind == "c" else name_of(self._objects[index])

    def is_before(self, one: str, other: str) -> bool:
        """Whether the stream of one home is read before that of another one."""
        return one != self._home and other == self._home

    def write(self) -> list[bytes | memoryview]:
        """The section, with what comes before it and tells its length, to be joined."""
        while self._work:
            self._item = self._work.popleft()
            self._write_one(*self._item)
        own = self._streams.pop(self._home, None)
        if own is not None:
            self._streams[self._home] = own  # the last one
        skeletons = [] if self._skeletons is None else self._skeletons.finish()
        number = 0 if self._skeletons is None else self._skeletons.count
        pieces, streams = list(skeletons), []
        for name, stream in self._streams.items():
            data = stream.finish()
            streams.append(Stream(name, stream.count, _size_of(data)))
            pieces += data
        digest = hashlib.blake2b(digest_size=16)
        for piece in pieces:
            digest.update(piece)
        section = _encoder.encode(
            Section(self._home, self._number, digest.digest(), self._keys, number, _size_of(skeletons), streams)
        )
        return [WITH_DEFINITIONS, _START.pack(len(section)), section, *pieces]

    def _add(self, obj: Any, kind: str, key: Key) -> tuple[int, bool]:
        index = self._indices.get((kind, key))
        if index is not None:
            return index, False
        index = self._indices[kind, key] = len(self._keys)
        self._keys.append((kind, *key))  # type: ignore[arg-type]
        self._objects.append(obj)
        return index, True

    def _add_names(self, index: int, names: Any) -> None:
        for name in names:
            if (index, name) not in self._names and name in self._objects[index]:
                self._names.add((index, name))
                self._plan(("n", index, name))

    def _plan(self, item: _Item) -> None:
        self._work.append(item)
        self._parents[item] = self._item

    def _write_one(self, kind: str, index: int, name: Any) -> None:
        obj = self._objects[index]
        if kind in "cvs":
            if self._skeletons is None:
                self._skeletons = _Writer(self, SKELETON)
            self._skeletons.dump(obj)
        if kind == "v":
            return
        item: tuple[Any, ...]
        if kind == "c":
            self._current = index
            if index in self._finished:
                return
            item = (kind, index, (obj, attributes_of(obj, index)))
        elif kind == "s":
            item = (kind, index, object.__getstate__(obj))
        elif kind == "f":
            item = (kind, index, obj)
        else:
            value = obj.get(name, _MISSING)
            if value is _MISSING or (index, name) in self._assigned:
                return
            self._assigned.add((index, name))
            item = (kind, index, (name, value))
        self._stream(self._keys[index][1]).dump(item)

    def _stream(self, home_name: str) -> _Writer:
        stream = self._streams.get(home_name)
        if stream is None:
            stream = self._streams[home_name] = _Writer(self, STATE, home_name)
        return stream


def _size_of(pieces: Sequence[bytes | memoryview]) -> int:
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces)


def read_section(payload: bytes) -> tuple[Section, list[memoryview], memoryview]:
    """The section of a payload, the data of its skeletons and streams, and what comes after it."""
    (length,) = _START.unpack_from(payload, 1)
    view = memoryview(payload)
    position = 1 + _START.size + length
    section = _decoder.decode(view[1 + _START.size : position])
    data = []
    for size in (section.size, *(stream.size for stream in section.streams)):
        data.append(view[position : position + size])
        position += size
    return section, data, view[position:]
