"""What pickles with references call where they arrive: it finds live objects, or makes them from their definitions."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from bndl.execute.pickling import classes, functions
from bndl.execute.pickling.claims import claimed
from bndl.execute.pickling.frames import split
from bndl.execute.pickling.identity import adopt, find, forget, home, version_of
from bndl.execute.pickling.places import find_by_name, find_namespace

if TYPE_CHECKING:
    from bndl.execute.pickling.sections import Section, Stream

__all__ = [
    "Cache",
    "Loading",
    "complete",
    "define",
    "drop_cache",
    "finish_class",
    "get",
    "ignore",
    "import_module",
    "loaded",
    "make_function",
    "set_attributes",
    "set_bases",
    "set_global",
]

#: How many sections are kept, and how many bytes of them.
_MOST_SECTIONS = 256
_MOST_BYTES = 16 << 20

_MISSING: Any = object()


class _Made(NamedTuple):
    """The objects of a section that was loaded.

    Attributes:
        keys: the section's.
        objects: by index.
        modules: those of the namespaces.
        size: of the section in bytes.
    """

    keys: list[tuple[str, str, int | str]]
    objects: list[Any]
    modules: dict[int, ModuleType]
    size: int


class Loading:
    """The objects that one payload refers to.

    Args:
        section: its definitions.
        data: the pickles of its skeletons and of its streams.
    """

    def __init__(self, section: Section, data: Sequence[memoryview]) -> None:
        self.section = section
        self._data = data
        self._home = home()
        #: By index. Namespaces are dicts here.
        self._objects: list[Any] = [_MISSING] * len(section.keys)
        self._modules: dict[int, ModuleType] = {}
        #: Which of them are made from their definitions in the course of this.
        self._made: set[int] = set()
        #: Functions that were there before, so that their state is left alone.
        self._live: set[int] = set()

    def find_live(self) -> bool:
        """Find the objects that are at home here. Returns whether that is all of them."""
        for index, (kind, owner, number) in enumerate(self.section.keys):
            if owner == self._home:
                self._find_one(index, kind, number)
        return _MISSING not in self._objects

    def _find_one(self, index: int, kind: str, number: int | str) -> None:
        if kind == "m":
            place = find_namespace((self._home, number))
            if place is not None:
                self._objects[index] = place[0]
                if place[1] is not None:
                    self._modules[index] = place[1]
            return
        found = find_by_name(str(number)) if kind == "s" else find((self._home, number))
        if found is not None:
            self._objects[index] = found
            if kind == "f":
                self._live.add(id(found))

    def load(self) -> None:
        """Make what is missing, and bring up to date what the sender is the home of."""
        section = self.section
        for index, (kind, owner, number) in enumerate(section.keys):
            if kind in "cvs" and self._objects[index] is _MISSING:
                found = find((owner, number))
                if found is not None:
                    self._objects[index] = found
        try:
            self._load_skeletons()
            for stream, data in zip(section.streams, self._data[1:], strict=True):
                if self._is_needed(stream):
                    self._load_stream(stream, data)
        except BaseException:
            for index in self._made:
                if section.keys[index][0] in "cvs":
                    forget(self._objects[index])
            raise
        self._note_versions()

    def _note_versions(self) -> None:
        """From now on the classes that came from their home are up to date."""
        section = self.section
        for index, (kind, owner, _) in enumerate(section.keys):
            if kind == "c" and self._is_behind(index, owner):
                version = version_of(self._objects[index])
                version.digest, version.sequence = section.digest, section.sequence

    def take(self, made: _Made) -> bool:
        """Take the objects that were made from the same definitions before, if they still are as those say."""
        section = self.section
        if made.keys != section.keys:
            return False
        versions = [
            version_of(obj)
            for (kind, owner, _), obj in zip(section.keys, made.objects, strict=True)
            if kind == "c" and owner == section.sender
        ]
        if any(each.digest != section.digest and each.sequence < section.sequence for each in versions):
            return False
        for version in versions:
            version.sequence = max(version.sequence, section.sequence)
        for index, obj in enumerate(made.objects):
            if self._objects[index] is _MISSING:
                self._objects[index] = obj
                if index in made.modules:
                    self._modules[index] = made.modules[index]
        return True

    def give(self) -> _Made:
        """The objects, for who gets the same definitions again."""
        section = self.section
        size = sum(len(each) for each in self._data)
        return _Made(section.keys, list(self._objects), dict(self._modules), size)

    def _load_skeletons(self) -> None:
        section = self.section
        if any(self._objects[index] is _MISSING for index, key in enumerate(section.keys) if key[0] in "cvs"):
            unpickler = pickle.Unpickler(BytesIO(self._data[0]))  # noqa: S301 - from authenticated peers only
            for _ in range(section.count):
                unpickler.load()

    def _is_needed(self, stream: Stream) -> bool:
        """Whether something of a stream is missing or out of date."""
        if stream.home == self._home:
            keys = enumerate(self.section.keys)
            return any(
                self._objects[index] is _MISSING or index in self._made for index, key in keys if key[1] == self._home
            )
        return True

    def _load_stream(self, stream: Stream, data: memoryview) -> None:
        pickled, buffers = split(data)
        unpickler = pickle.Unpickler(BytesIO(pickled), buffers=buffers)  # noqa: S301 - from authenticated peers only
        for _ in range(stream.count):
            self._apply(*unpickler.load())

    def _apply(self, kind: str, index: int, state: Any) -> None:
        """Take an item of a stream over."""
        if kind == "n":
            self.assign(index, *state)
        elif kind == "s" and index in self._made:
            _set_state(self._objects[index], state)

    def assign(self, index: int, name: str, value: Any) -> None:
        """Assign a global variable of a namespace that is made here."""
        namespace = self.namespace(index)
        if index in self._made:
            namespace[name] = value

    def is_open(self, index: int) -> bool:
        """Whether a class takes the state that it is sent with."""
        return index in self._made or self._is_behind(index, self.section.keys[index][1])

    def _is_behind(self, index: int, owner: str) -> bool:
        """Whether a class was made by its home, which sends it, and is not known as of now."""
        if owner != self.section.sender or owner == self._home:
            return False
        return version_of(self._objects[index]).sequence < self.section.sequence

    # For pickles

    def get(self, index: int) -> Any:
        """What the pickle refers to."""
        if self.section.keys[index][0] == "m":
            self.namespace(index)
            return self._modules[index]
        obj = self._objects[index]
        if obj is _MISSING:
            text = f"a definition is missing: {self.section.keys[index]}"
            raise pickle.UnpicklingError(text)
        return obj

    def namespace(self, index: int) -> dict[str, Any]:
        """Where functions have their globals."""
        namespace: Any = self._objects[index]
        if namespace is _MISSING:
            _, owner, name = self.section.keys[index]
            self._modules[index] = functions.make_namespace(str(name).partition("#")[0], (owner, name))
            namespace = self._objects[index] = self._modules[index].__dict__
            self._made.add(index)
        return namespace  # type: ignore[no-any-return]

    def known(self, index: int) -> Any:
        """What is there already, or None."""
        obj = self._objects[index]
        return None if obj is _MISSING else obj

    def define(self, index: int, obj: Any) -> Any:
        """Note an object that was made from its definition."""
        _, owner, number = self.section.keys[index]
        self._objects[index] = obj
        self._made.add(index)
        adopt(obj, (owner, number))
        return obj

    def is_live(self, function: Any) -> bool:
        """Whether a function was there before."""
        return id(function) in self._live


def _set_state(obj: Any, state: Any) -> None:
    own, slots = state if isinstance(state, tuple) else (state, None)
    for attributes in (own, slots):
        for name, value in (attributes or {}).items():
            object.__setattr__(obj, name, value)


class _Current(threading.local):
    """The loading that this thread is in."""

    loading: Loading | None = None


_current = _Current()


class Cache:
    """The objects of the sections that were loaded last, so that what did not change is not made again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may load what it likes
        self._made: OrderedDict[tuple[str, bytes], _Made] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[str, bytes]) -> _Made | None:
        """The objects of a section, by its sender and its digest."""
        with self._lock:
            made = self._made.get(key)
            if made is not None:
                self._made.move_to_end(key)
            return made

    def put(self, key: tuple[str, bytes], made: _Made) -> None:
        """Keep the objects of a section, unless they are large, and let go of those that were not used for longest."""
        gone = []  # what is in there may call back when it goes
        with self._lock:
            before = self._made.pop(key, None)
            if before is not None:
                self._size -= before.size
                gone.append(before)
            if made.size > _MOST_BYTES:
                return
            self._made[key] = made
            self._size += made.size
            while self._size > _MOST_BYTES or len(self._made) > _MOST_SECTIONS:
                _, oldest = self._made.popitem(last=False)
                self._size -= oldest.size
                gone.append(oldest)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            gone, self._made = self._made, OrderedDict()
            self._size = 0
        gone.clear()


cache = Cache()


@contextlib.contextmanager
def loaded(section: Section, data: Sequence[memoryview]) -> Iterator[None]:
    """While it is entered, what this thread unpickles finds the objects that it refers to."""
    loading = Loading(section, data)
    before = _current.loading
    _current.loading = loading
    try:
        if not loading.find_live():
            with claimed(section.claims()):
                _load(loading)
        yield
    finally:
        _current.loading = before


def _load(loading: Loading) -> None:
    section = loading.section
    key = (section.sender, section.digest)
    made = cache.get(key)
    if made is not None and loading.take(made):
        return
    loading.load()
    if section.sender != home():
        cache.put(key, loading.give())


def drop_cache() -> None:
    """Let go of definitions that nothing uses."""
    cache.clear()


def _loading() -> Loading:
    loading = _current.loading
    if loading is None:
        text = "a pickle of bndl can only be read by bndl: it refers to definitions that travel beside it"
        raise pickle.UnpicklingError(text)
    return loading


def get(index: int) -> Any:
    """The object with an index."""
    return _loading().get(index)


def import_module(name: str) -> ModuleType:
    """A module that can be imported."""
    return importlib.import_module(name)


def define(index: int, make: Callable[..., Any], *arguments: Any) -> Any:
    """What a definition defines, or what is there already."""
    known = _loading().known(index)
    return _loading().define(index, make(*arguments)) if known is None else known


def set_attributes(index: int, attributes: dict[str, Any], missing: dict[str, Any] | None = None) -> None:
    """Set attributes of a class, and others if they are missing."""
    loading = _loading()
    if loading.is_open(index):
        classes.set_attributes(loading.get(index), attributes, missing)


def set_bases(index: int, bases: tuple[type, ...]) -> None:
    """Let a class have the bases that it has at its home by now."""
    loading = _loading()
    if loading.is_open(index):
        classes.set_bases(loading.get(index), bases)


def set_global(index: int, name: str, value: Any, _: object) -> None:
    """Assign a global variable before its turn, because functions that need it may be called from here on."""
    _loading().assign(index, name, value)


def finish_class(index: int, rest: dict[str, Any], names: list[str]) -> None:
    """All attributes of a class are set."""
    loading = _loading()
    if loading.is_open(index):
        classes.finish_class(loading.get(index), rest, names)


def ignore(_: Any, __: Any) -> None:
    """What was to be done was done while the state was unpickled."""


def make_function(code: CodeType, place: int, name: str, closure: tuple[CellType, ...]) -> FunctionType:
    """A function without its state, with its globals in a namespace."""
    return functions.make_function(code, _loading().namespace(place), name, closure)


def complete(obj: Any, state: tuple[Callable[[Any, Any], None], Any]) -> None:
    """Set the state of a function, unless it was there before."""
    if not _loading().is_live(obj):
        state[0](obj, state[1])
