"""Exceptions travel with their state, and ``__init__`` of their class is not called where they arrive.

``BaseException.__reduce__`` has it called with ``args``. Those are often not its arguments: ``__init__`` of the user's
class takes what it likes, and passes a text on.
"""

from __future__ import annotations

import contextlib
from types import FunctionType
from typing import Any

from bndl.execute.pickling.classes import is_pure

__all__ = ["make_exception", "without_init"]


def without_init(kind: Any, reduced: Any) -> Any:
    """What to pickle in the place of an exception.

    Args:
        kind: its class.
        reduced: as what it is pickled otherwise.
    """
    is_own = isinstance(kind.__reduce__, FunctionType) or isinstance(kind.__reduce_ex__, FunctionType)
    takes_others = isinstance(kind.__init__, FunctionType) or isinstance(kind.__new__, FunctionType)
    if is_own or not takes_others or not isinstance(reduced, tuple) or reduced[0] is not kind:
        return reduced
    base = kind
    while is_pure(base):
        base = base.__base__
    return make_exception, (kind, base, reduced[1]), *reduced[2:]


def make_exception(kind: Any, base: Any, arguments: tuple[Any, ...]) -> Any:
    """An exception with its ``args``, made by a built-in class that its class is based on."""
    made = base.__new__(kind, *arguments)
    initializing: Any = next(each for each in kind.__mro__ if not is_pure(each))
    with contextlib.suppress(Exception):  # what is no argument of the built-in class either
        initializing.__init__(made, *arguments)
    return made
