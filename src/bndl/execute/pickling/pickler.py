"""How each object travels: by reference to what a worker imports, by reference to a definition, or by value.

The pickler works in one of three modes:

- ``VALUE``, for the value itself: dynamic objects become references to definitions.
- ``SKELETON``, for the first part of definitions: classes and the like are made where they are met first.
- ``STATE``, for the second part: the skeletons exist by then, and functions are made where they are met first.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import pickle
import random
import types
import weakref
from collections import ChainMap
from collections.abc import Callable
from io import BytesIO
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle

from bndl.execute.pickling import classes, enums, exceptions, loading, named
from bndl.execute.pickling.codes import reduce_code
from bndl.execute.pickling.functions import fill_cell, make_cell, set_state, state_of
from bndl.execute.pickling.generators import is_generator, note_generator
from bndl.execute.pickling.identity import find_key, give_key, home
from bndl.execute.pickling.modules import find_owner, is_global, is_importable, is_reachable

if TYPE_CHECKING:
    from bndl.execute.pickling.sections import Definitions

__all__ = ["SKELETON", "STATE", "VALUE", "Pickler", "Replace", "attributes_of"]

VALUE, SKELETON, STATE = range(3)

#: Is asked about an object and its class.
Replace = Callable[[Any, type], Any]

#: Types that are found in ``types`` and not where they say they are.
_BUILT_IN = {cls: name for name, cls in vars(types).items() if type(cls) is type}
_object_reduce: Any = object.__reduce__
_object_reduce_ex: Any = object.__reduce_ex__


def _reduce_cell(cell: CellType) -> Any:
    try:
        value = (cell.cell_contents,)
    except ValueError:  # not assigned yet
        return make_cell, ()
    return make_cell, (), value, None, None, fill_cell


def _reduce_cached_property(made: functools.cached_property[Any]) -> Any:
    """Until Python 3.11 it has a lock."""
    state = {name: value for name, value in vars(made).items() if name != "lock"}
    return functools.cached_property, (made.func,), state


def _reduce_dispatching_method(made: functools.singledispatchmethod[Any]) -> Any:
    """From Python 3.13 on it has a cache."""
    state = {name: value for name, value in vars(made).items() if name != "_method_cache"}
    return functools.singledispatchmethod, (made.func,), state


def _reduce_weak(mapping: Any) -> Any:
    return type(mapping), (dict(mapping),)


#: Objects of dataclasses that are what they are by identity, by their types.
_OF_DATACLASSES = {
    type(vars(dataclasses)[name]): name
    for name in ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY")
    if name in vars(dataclasses)
}


def _reduce_of_dataclasses(sentinel: Any) -> Any:
    return named.get_global, ("dataclasses", _OF_DATACLASSES[type(sentinel)])


#: How objects of these types are taken apart, beside what cloudpickle knows.
_REDUCERS: dict[type, Callable[[Any], Any]] = {
    CodeType: reduce_code,
    CellType: _reduce_cell,
    random.SystemRandom: lambda _: (random.SystemRandom, ()),
    functools.cached_property: _reduce_cached_property,
    functools.singledispatchmethod: _reduce_dispatching_method,
    **dict.fromkeys((weakref.WeakKeyDictionary, weakref.WeakValueDictionary), _reduce_weak),
    **dict.fromkeys(_OF_DATACLASSES, _reduce_of_dataclasses),
}


def _take_apart(obj: Any, kind: Any) -> Any:
    """As what an object is pickled by its own way, or by a better one."""
    if isinstance(kind, enum.EnumType) and enums.is_member(obj, kind):
        return enums.get_member, (kind, obj._name_)
    reduced = obj.__reduce_ex__(5)
    return exceptions.without_init(kind, reduced) if issubclass(kind, BaseException) else reduced


class _Later:
    """A call that is made where it stands in the pickle, before what comes after it is unpickled."""

    __slots__ = ("arguments", "call")

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.call = call
        self.arguments = arguments


def attributes_of(cls: type, index: int) -> list[_Later]:
    """The state of a class but for its methods: one attribute after the other, as they may need those before them."""
    names, _, data, rest = classes.split(enums.state_of(cls))
    later = [_Later(loading.set_attributes, (index, {name: value})) for name, value in data.items()]
    return [*later, _Later(loading.finish_class, (index, rest, names))]


class _Leave:
    """The end of the state of a class, or of the value of a global variable. The pickler remembers each one."""

    __slots__ = ()


class _Global:
    """A global variable, which is assigned where it stands in the pickle, unless it is assigned already."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what belongs to one payload.

    Args:
        file: where to.
        definitions: gives the definitions that dynamic objects go into.
        mode: see the module.
        owner: in the mode ``STATE``, whose definitions these are: the name of a home.
        is_shared: whether several tasks get what is pickled.
        buffer_callback: takes large buffers.
        replace: says what to pickle in the place of an object with a way of its own; None if it has no say in it.
    """

    dispatch_table: ClassVar[ChainMap[type, Callable[[Any], Any]]] = ChainMap(
        _REDUCERS, *cloudpickle.Pickler.dispatch_table.maps
    )

    def __init__(
        self,
        file: BytesIO,
        definitions: Callable[[], Definitions],
        mode: int = VALUE,
        owner: str = "",
        *,
        is_shared: bool = False,
        buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None,
        replace: Replace | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._definitions = definitions
        self._mode = mode
        #: Whether several tasks get what is pickled.
        self.is_shared = is_shared
        self._owner = owner
        self._replace = replace

    def reducer_override(self, obj: Any) -> Any:
        """What to pickle in the place of an object; the pickler asks for all but the plainest."""
        kind = type(obj)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return handler(self, obj)
        if issubclass(kind, type):
            return self._reduce_class(obj)
        if kind.__reduce_ex__ is _object_reduce_ex and kind.__reduce__ is _object_reduce:
            return NotImplemented
        return self.reduce_instance(obj, kind)

    def reduce_instance(self, obj: Any, kind: type) -> Any:
        """What to pickle in the place of an object whose class has its own way."""
        replacement = None if self._replace is None else self._replace(obj, kind)
        if replacement is not None:
            return replacement
        if kind in copyreg.dispatch_table or kind in self.dispatch_table:
            return NotImplemented
        if issubclass(kind, ModuleType):  # isinstance would ask a proxy or a mock
            return self._reduce_module(obj)
        reduced = _take_apart(obj, kind)
        if is_generator(kind):
            note_generator(obj, reduced, is_shared=self.is_shared)
        if isinstance(reduced, str) and not is_global(obj, reduced):
            return self._reduce_sentinel(obj, reduced)
        return reduced

    # Classes

    def _reduce_class(self, cls: Any) -> Any:
        if is_importable(cls):
            return NotImplemented
        key = find_key(cls)
        if key is None:
            if cls.__module__ == "builtins":
                if cls in _BUILT_IN:
                    return named.get_global, ("types", _BUILT_IN[cls])
                if not classes.is_pure(cls):  # the types of None, ... and NotImplemented, which pickle knows
                    return NotImplemented
            if not classes.is_pure(cls):
                text = (
                    f"workers would not find {cls!r} in module {cls.__module__!r}, and it is not written in Python, or "
                    "its metaclass is not, so it cannot be made from its parts; put it into a module that workers can "
                    "import"
                )
                raise pickle.PicklingError(text)
            key = give_key(cls)
        index = self._definitions().add(cls, "c", key)
        if self._mode == STATE:
            return self._complete_class(cls, index) if key[0] == self._owner else (loading.get, (index,))
        return self._define_class(cls, index)

    def _define_class(self, cls: Any, index: int) -> Any:
        if self._mode != SKELETON or not self._definitions().begin(index):
            return loading.get, (index,)
        if issubclass(cls, enum.Enum):
            return loading.define, (index, enums.make_enum, *classes.skeleton_of(cls), enums.members_of(cls))
        return loading.define, (index, classes.make_class, *classes.skeleton_of(cls))

    def _complete_class(self, cls: Any, index: int) -> Any:
        """A class whose skeleton is there, with its state, or with the part that is needed to make objects of it."""
        _, behaviours, data, _ = classes.split(enums.state_of(cls))
        later = [_Later(loading.set_attributes, (index, behaviours, classes.stand_ins(data)))]
        if self._definitions().enter(index) and not self._definitions().is_current(index):
            self._definitions().finish(index)
            later += attributes_of(cls, index)
        state = (_Later(loading.set_bases, (index, cls.__bases__)), *later, _Leave())
        return loading.get, (index,), state, None, None, loading.ignore

    def _take_later(self, later: _Later) -> Any:
        return later.call, later.arguments

    def _take_leave(self, _: _Leave) -> Any:
        self._definitions().leave()
        return bool, ()

    def _take_global(self, variable: _Global) -> Any:
        for value in self._definitions().enter_global(variable.index, variable.name):
            return loading.set_global, (variable.index, variable.name, value, _Leave())
        return bool, ()

    # Functions

    def _reduce_function(self, function: Any) -> Any:
        if function in _OWN:
            return NotImplemented
        return self._reduce_callable(function)

    def _reduce_callable(self, function: Any) -> Any:
        owner = find_owner(function)
        if owner is not None and is_importable(function):
            return NotImplemented
        if self._mode == SKELETON:
            return self._by_value(function)
        key = find_key(function)
        if key is None:
            if owner is None or (self._mode == STATE and "." in function.__qualname__):
                return self._by_value(function)
            key = give_key(function)
        return self._by_key(function, key)

    def _by_key(self, function: Any, key: tuple[str, Any]) -> Any:
        definitions = self._definitions()
        index = definitions.add(function, "f", key)
        if self._mode == VALUE or (key[0] != self._owner and definitions.is_before(key[0], self._owner)):
            return loading.get, (index,)
        if key[0] != self._owner:
            return self._by_value(function)
        make, arguments, *rest = self._by_value(function)
        return (loading.define, (index, make, *arguments), *rest)

    def _by_value(self, function: Any) -> tuple[Any, ...]:
        if type(function) is named.CACHED:
            return named.make_cached, named.cached_arguments(function)
        if function.__code__ is named.DISPATCHING:
            default, implementations = named.dispatching_arguments(function)
            registered = (named.fill_dispatching, implementations)
            return functools.singledispatch, (default,), registered, None, None, loading.complete
        definitions = self._definitions()
        namespace = definitions.add_globals(function)
        state: tuple[Any, ...] = (set_state, state_of(function))
        if self._mode == STATE:  # what comes after it may call it
            names = definitions.list_needed(function, namespace, self._owner)
            state += tuple(_Global(namespace, name) for name in names)
        arguments = (function.__code__, namespace, function.__name__, function.__closure__)
        return loading.make_function, arguments, state, None, None, loading.complete

    def _reduce_method(self, method: MethodType) -> Any:
        if not isinstance(method.__self__, type) and is_importable(type(method.__self__)):
            module = named.find_global(method)
            if module is not None:
                return named.get_global, (module, method.__name__)
        function = method.__func__
        if self._mode == VALUE and isinstance(function, FunctionType) and find_owner(function) is None:
            # The class that it belongs to cannot be found by its name, but by the object.
            owner = method.__self__ if isinstance(method.__self__, type) else type(method.__self__)
            attributes = (value for each in owner.__mro__ for value in vars(each).copy().values())
            if any(function is getattr(value, "__func__", value) for value in attributes):
                give_key(function)
        return MethodType, (function, method.__self__)

    def _reduce_wrapped(self, wrapped: Any) -> Any:
        # Such as the method that typing gives to all protocols, and knows them by.
        is_there = is_importable(wrapped) and "." not in wrapped.__qualname__
        return (named.get_global, (wrapped.__module__, wrapped.__qualname__)) if is_there else NotImplemented

    def _reduce_builtin(self, function: BuiltinFunctionType) -> Any:
        owner = function.__self__
        if owner is None or isinstance(owner, ModuleType | type) or type(owner).__module__ == "builtins":
            return NotImplemented
        module = named.find_global(function)
        return NotImplemented if module is None else (named.get_global, (module, function.__name__))

    # Other things that have a place

    def _reduce_module(self, module: ModuleType) -> Any:
        if is_reachable(module.__name__):
            return loading.import_module, (module.__name__,)
        return loading.get, (self._definitions().add_module(module),)

    def _reduce_type_variable(self, variable: Any) -> Any:
        if is_importable(variable, variable.__name__):
            return NotImplemented
        key = find_key(variable) or give_key(variable)
        index = self._definitions().add(variable, "v", key)
        if self._mode != SKELETON or not self._definitions().begin(index):
            return loading.get, (index,)
        return loading.define, (index, named.make_type_variable, *named.type_variable_arguments(variable))

    def _reduce_sentinel(self, obj: Any, name: str) -> Any:
        """An object that is what it is by being a global variable, of a module that workers do not have."""
        key = find_key(obj)
        if key is None:
            owner = find_owner(obj, name)
            key = None if owner is None else (home(), f"{owner.__name__}:{name}")
        if key is None or not classes.is_pure(type(obj)):
            text = (
                f"{obj!r} is pickled as {name!r} of module {getattr(obj, '__module__', None)!r}, where workers would "
                "not find it"
            )
            raise pickle.PicklingError(text)
        index = self._definitions().add(obj, "s", key)
        if self._mode != SKELETON or not self._definitions().begin(index):
            return loading.get, (index,)
        return loading.define, (index, named.make_sentinel, type(obj))


#: Functions that stand in pickles.
_OWN = frozenset(
    {
        *(loading.get, loading.define, loading.complete, loading.make_function, loading.import_module),
        *(loading.set_attributes, loading.finish_class, loading.ignore, loading.set_bases, loading.set_global),
        *(set_state, make_cell, fill_cell, classes.make_class, enums.make_enum, enums.get_member, named.get_global),
        exceptions.make_exception,
    }
)

_HANDLERS: dict[type, Callable[[Pickler, Any], Any]] = {
    FunctionType: Pickler._reduce_function,  # noqa: SLF001 - a table of this class
    type: Pickler._reduce_class,  # noqa: SLF001 - the same
    MethodType: Pickler._reduce_method,  # noqa: SLF001 - the same
    BuiltinFunctionType: Pickler._reduce_builtin,  # noqa: SLF001 - the same
    _Later: Pickler._take_later,  # noqa: SLF001 - the same
    _Leave: Pickler._take_leave,  # noqa: SLF001 - the same
    _Global: Pickler._take_global,  # noqa: SLF001 - the same
    classmethod: Pickler._reduce_wrapped,  # noqa: SLF001 - the same
    staticmethod: Pickler._reduce_wrapped,  # noqa: SLF001 - the same
    ModuleType: Pickler._reduce_module,  # noqa: SLF001 - the same
    named.CACHED: Pickler._reduce_callable,  # noqa: SLF001 - the same
    **dict.fromkeys(named.TYPE_VARIABLES, Pickler._reduce_type_variable),  # noqa: SLF001 - the same
}
