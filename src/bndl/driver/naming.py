"""Names that users give, or that their functions have: texts that can travel and be shown."""

from __future__ import annotations

from typing import Any

from bndl.checks import check_text, is_a
from bndl.errors import InvalidOption
from bndl.execute.texts import cut, plain
from bndl.reprs import safe_repr

__all__ = ["CANCELLED", "check_name", "check_reason", "name_of"]

#: Why something was cancelled if its user does not say.
CANCELLED = "cancelled by the user"
#: In characters.
_LONGEST_REASON = 1_000


def check_name(what: str, name: object) -> str:
    """The name that was given to ``what``, as a plain string.

    Raises:
        InvalidOption: it is no text, or has half a surrogate pair in it, such as from the name of a strange file.
    """
    return check_text(f"the name of {what}", name, "give str(...) of it, or leave it out")


def check_reason(reason: object) -> str:
    """The reason that was given for a cancellation, as a plain string that is not empty.

    Raises:
        InvalidOption: it is no text.
    """
    if not is_a(reason, str):
        text = f"reason must be a string, got {safe_repr(reason)}: say why you cancel it, or leave it out."
        raise InvalidOption(text)
    return cut(plain(str.__str__(reason)).strip(), _LONGEST_REASON) or CANCELLED


def name_of(function: Any, default: str) -> str:
    """What a function is called, or ``default``: a callable object may have no name, and any attribute."""
    try:
        name = getattr(function, "__name__", None)
        return check_text("name", name) or default
    except Exception:  # noqa: BLE001 - the user's attribute may raise; and what is no name is left out
        return default
