"""Names that users give, or that their functions have: texts that can travel and be shown."""

from __future__ import annotations

from typing import Any

from bndl.checks import check_text

__all__ = ["check_name", "name_of"]


def check_name(what: str, name: object) -> str:
    """The name that was given to ``what``, as a plain string.

    Raises:
        InvalidOption: it is no text, or has half a surrogate pair in it, such as from the name of a strange file.
    """
    return check_text(f"the name of {what}", name, "give str(...) of it, or leave it out")


def name_of(function: Any, default: str) -> str:
    """What a function is called, or ``default``: a callable object may have no name, and any attribute."""
    try:
        name = getattr(function, "__name__", None)
        return check_text("name", name) or default
    except Exception:  # noqa: BLE001 - the user's attribute may raise; and what is no name is left out
        return default
