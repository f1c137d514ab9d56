"""Enums that travel by value: their members exist once in each process, and keep what they were given."""

from __future__ import annotations

import enum
from typing import Any

from bndl.execute.pickling.classes import ATOMS, state_of_class

__all__ = ["get_member", "is_enum", "is_member", "make_enum", "members_of", "state_of"]

#: What values are noted in, beside ``_value2member_map_``, in some version of Python.
_OF_VALUES = ("_unhashable_values_", "_unhashable_values_map_", "_hashable_values_")
#: What ``EnumType`` makes of the members.
_OF_MEMBERS = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        *_OF_VALUES,
    }
)


def members_of(cls: type[enum.Enum]) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The members, aliases too: the name, the value, and the arguments for the constructor of the data type."""
    return [(name, _first_value(member), _arguments_of(member)) for name, member in cls.__members__.items()]


def _first_value(member: Any) -> Any:
    """The value of a member for a start: objects of classes cannot be made before the classes have their methods."""
    value = member._value_
    is_plain = type(value) in ATOMS or (type(value) is tuple and all(type(each) in ATOMS for each in value))
    return value if is_plain or member._member_type_ is not object else _Unknown(member._name_)


class _Unknown(str):
    """The value of a member that has none yet, so that each has another one."""

    __slots__ = ()


def is_member(obj: Any, cls: Any) -> bool:
    """Whether an object is found by its name in its enum, and nobody wants it to be pickled in another way."""
    is_plain = getattr(cls.__reduce_ex__, "__module__", None) == "enum"
    return is_plain and cls._member_map_.get(obj._name_) is obj


def get_member(cls: Any, name: str) -> Any:
    """The member with a name, whatever its value is."""
    return cls._member_map_[name]


def _arguments_of(member: Any) -> tuple[Any, ...]:
    if member._member_type_.__new__ is object.__new__:
        return ()
    reduced = object.__reduce_ex__(member, 2)
    if not isinstance(reduced, tuple):
        return (member._value_,)
    arguments: tuple[Any, ...] = reduced[1]
    return arguments if reduced[0] is type(member) else arguments[1:]


def make_enum(
    metaclass: Any,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    members: list[tuple[str, Any, tuple[Any, ...]]],
) -> type:
    """An enum with its members, and without the rest of its state."""

    def new(cls: Any, *arguments: Any) -> Any:
        value, given = arguments if len(arguments) == 2 else arguments[0]  # noqa: PLR2004 - a pair, or the two of it
        member = cls._member_type_.__new__(cls, *given)
        member._value_ = value
        return member

    prepared = metaclass.__prepare__(name, bases)
    for key, value in namespace.items():
        if key != "__slots__":
            prepared[key] = value
    # The user's own were called where the enum was defined.
    prepared["__new__"] = new
    prepared["__init__"] = lambda *_: None
    for key, value, arguments in members:
        prepared[key] = (value, arguments)
    made: type = enum.EnumType.__new__(metaclass, name, bases, prepared)
    type.__delattr__(made, "__init__")
    if "__new_member__" in vars(made):
        type.__delattr__(made, "__new_member__")
    for value in [each for each in made._value2member_map_ if type(each) is _Unknown]:  # type: ignore[attr-defined]
        del made._value2member_map_[value]  # type: ignore[attr-defined]
    return made


def state_of(cls: Any) -> dict[str, Any]:
    """The attributes of a class, be it an enum or not."""
    return _state_of_enum(cls) if is_enum(cls) else state_of_class(cls)


def _state_of_enum(cls: type[enum.Enum]) -> dict[str, Any]:
    """All of an enum but for what its members are made of."""
    names = cls.__members__.keys() | _OF_MEMBERS
    own = {name: value for name, value in state_of_class(cls).items() if name not in names}
    members = {
        name: {key: value for key, value in vars(member).items() if key != "__objclass__"}
        for name, member in cls.__members__.items()
        if member._name_ == name
    }
    lists = {name: vars(cls)[name] for name in _OF_VALUES if name in vars(cls)}
    pairs = [
        (value, member._name_)
        for value, member in cls._value2member_map_.items()
        if cls._member_map_.get(member._name_) is member
    ]
    return {**own, "__members__": members, "__values__": (lists, pairs)}


def is_enum(cls: type) -> bool:
    """Whether a class is an enum."""
    return isinstance(cls, enum.EnumType)
