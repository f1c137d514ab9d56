"""Names that users give, or that their functions have: texts that can travel and be shown."""

from __future__ import annotations

from typing import Any

from bndl.errors import InvalidOption

__all__ = ["check_name", "name_of"]


def check_name(what: str, name: object) -> str:
    """The name that was given to ``what``, as a plain string.

    Raises:
        InvalidOption: it is no text, or has half a surrogate pair in it, such as from the name of a strange file.
    """
    if not isinstance(name, str):
        text = f"the name of {what} must be a string, not {name!r}; give str(...) of it, or leave it out."
        raise InvalidOption(text)
    if not _can_travel(name):
        text = f"the name of {what} has characters that are not valid Unicode: {name!r}; give another one."
        raise InvalidOption(text)
    return str.__str__(name)


def name_of(function: Any, default: str) -> str:
    """What a function is called, or ``default``: a callable object may have no name, and any attribute."""
    name = getattr(function, "__name__", None)
    return str.__str__(name) if isinstance(name, str) and name and _can_travel(name) else default


def _can_travel(name: str) -> bool:
    try:
        str.encode(name)
    except UnicodeEncodeError:
        return False
    return True
