"""Enums that travel by value: their members exist once in each process, and keep what they were given."""

from __future__ import annotations

import enum
from typing import Any

from bndl.execute.pickling.classes import state_of_class

__all__ = ["is_enum", "make_enum", "members_of", "state_of"]

#: What ``EnumType`` makes of the members.
_OF_MEMBERS = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_hashable_values_",
    }
)


def members_of(cls: type[enum.Enum]) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The members, aliases too: the name, the value, and the arguments for the constructor of the data type."""
    return [(name, member._value_, _arguments_of(member)) for name, member in cls.__members__.items()]


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
    return {**own, "__members__": members}


def is_enum(cls: type) -> bool:
    """Whether a class is an enum."""
    return isinstance(cls, enum.EnumType)
