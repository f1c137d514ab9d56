"""Text of users made harmless where it is shown: what a task prints, raises or is named cannot do anything there.

A terminal acts on escape sequences: they clear the screen, retitle the window, write into other lines. A line break in
a log is a new entry, half a surrogate pair cannot be encoded, and a direction mark shows text in another order than it
has. So these are spelled out. Colours are left out without a trace, because programs print many of them.
"""

from __future__ import annotations

import re

__all__ = ["printable", "printable_error", "printable_line"]

#: Sequences that only set colours and weight: SGR of ECMA-48.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
#: Controls of C0 and C1 but for the tab, breaks of lines, marks and overrides of direction, halves of surrogate pairs.
_ODD = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_ODD_BUT_BREAKS = re.compile(_ODD.pattern.replace("\x0a-\x1f", "\x0b-\x1f"))


def printable(text: str) -> str:
    """The text with its line breaks, and with all else spelled out that is not just shown."""
    return _clean(_ODD_BUT_BREAKS, text)


def printable_line(text: str) -> str:
    """The text as one line, with all spelled out that is not just shown."""
    return _clean(_ODD, text)


def printable_error(error: Exception) -> str:
    """``str()`` of an error of bndl, which may have names and texts of users in it."""
    return printable(Exception.__str__(error))


def _clean(odd: re.Pattern[str], text: str) -> str:
    text = str.__str__(text)  # a subclass may have methods of its own
    if odd.search(text) is None:
        return text
    return odd.sub(_spell, _COLOUR.sub("", text))


def _spell(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
