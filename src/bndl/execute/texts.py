"""Texts of the user's code, made fit to travel."""

from __future__ import annotations

__all__ = ["cut", "cut_middle", "mark", "plain"]


def plain(text: str) -> str:
    """The text as UTF-8 can have it: half a surrogate pair, such as in the name of a strange file, is spelled out."""
    if type(text) is str and text.isascii():
        return text
    return str.encode(text, "utf-8", "backslashreplace").decode()


def mark(count: int) -> str:
    """What stands in the place of text that was left out."""
    return f"... ({count:,} characters more)"


def cut(text: str, length: int) -> str:
    """The text, or its beginning with a mark."""
    return text if len(text) <= length else text[:length] + mark(len(text) - length)


def cut_middle(text: str, length: int) -> str:
    """The text, or its beginning and its end with a mark between them."""
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}\n{mark(len(text) - 2 * half)} ...\n{text[-half:]}"
