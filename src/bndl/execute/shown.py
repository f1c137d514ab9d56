"""What errors show of a call: the function with its arguments, in short, and the place in the user's code."""

from __future__ import annotations

import functools
import io
import pickle
import sysconfig
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bndl.execute.spreading import spread
from bndl.reprs import safe_repr, type_name

__all__ = ["describe_call", "describe_call_of", "describe_packed", "describe_place", "function_name"]

#: How many arguments are shown, and how long the text of all of them may be.
_MOST_ARGUMENTS = 4
_MOST_TEXT = 200
#: How many frames are looked at for the place: those that are innermost.
_MOST_FRAMES = 100
#: This package, and all libraries: users do not look there for their mistakes.
_BNDL = f"{Path(__file__).parents[1]}/"
_PATHS = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES = (_BNDL, "<frozen ", *(f"{path}/" for path in _PATHS if path))


def function_name(function: Any) -> str:
    """The name of a function or a class, or that of the class of anything else that can be called."""
    kind = type(function)
    if issubclass(kind, types.FunctionType | types.BuiltinFunctionType):
        return safe_repr(function.__qualname__.rpartition("<locals>.")[2])[1:-1]
    if issubclass(kind, types.MethodType):
        return function_name(function.__func__)
    if issubclass(kind, functools.partial):
        return function_name(function.args[0] if function.func is spread else function.func)
    if issubclass(kind, type):
        return safe_repr(type.__dict__["__name__"].__get__(function))[1:-1]
    return type_name(function)


def describe_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> str:
    """A call as it could be written, such as ``parse('a.txt', strict=True)``, in a short form. Never raises."""
    shown = [safe_repr(each) for each in args[: _MOST_ARGUMENTS + 1]]
    shown += [f"{key}={safe_repr(each)}" for key, each in list((kwargs or {}).items())[: _MOST_ARGUMENTS + 1]]
    if len(shown) > _MOST_ARGUMENTS:
        shown[_MOST_ARGUMENTS:] = ["..."]
    text = ", ".join(shown)
    return f"{name}({text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + '...'})"


def describe_call_of(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The same for a function itself; a call with the parts of an item has these as its arguments."""
    is_spread = issubclass(type(function), functools.partial) and function.func is spread
    if is_spread and len(args) == 1 and type(args[0]) is tuple:
        args = args[0]
    return describe_call(function_name(function), args, kwargs)


def describe_packed(name: str, payload: bytes, *, brings_function: bool) -> str:
    """A call, as ``describe_call``, from its pickled arguments. Of objects it shows the class only.

    Args:
        name: of the function; empty if it is to be taken from the arguments.
        payload: the pickled argument, or function, arguments and keyword arguments.
        brings_function: which of these it is.
    """
    try:
        if payload[:1] != pickle.PROTO:
            return f"{name}(...)" if name else ""
        value: Any = _Reader(io.BytesIO(payload)).load()
        if not brings_function:
            return describe_call(name, (value,)) if name else ""
        function, args, kwargs = value
        return describe_call(name or repr(function), args, kwargs)
    except Exception:  # noqa: BLE001 - what an odd pickle makes of the stand-ins; there is an error to tell of already
        return f"{name}(...)" if name else ""


def describe_place(trace: TracebackType | None, entries: Sequence[traceback.FrameSummary] = ()) -> str:
    """Where it was in the user's code, in one line: the innermost frame, if possible of one that is in no library."""
    frames = entries or traceback.extract_tb(trace, limit=-_MOST_FRAMES)
    users = [frame for frame in frames if not frame.filename.startswith(_BNDL)]
    users = [frame for frame in users if not frame.filename.startswith(_LIBRARIES)] or users
    if not users:
        return ""
    frame = users[-1]
    line = f": {frame.line}" if frame.line else ""
    return f'File "{frame.filename}", line {frame.lineno}, in {frame.name}{line}'


class _StandIn:
    """In the place of an object of the user's."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Takes anything."""

    def __setstate__(self, _: object) -> None:
        """Takes anything."""

    def __setitem__(self, _: object, __: object) -> None:
        """Takes anything."""

    def extend(self, _: object) -> None:
        """Takes anything."""

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Reader(pickle.Unpickler):
    """Reads plain data, and makes stand-ins of the rest."""

    def find_class(self, _: str, name: str) -> Any:
        return type(name, (_StandIn,), {})
