"""Short texts of any value for errors and logs. They never raise, whatever the value's own methods do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

__all__ = ["safe_repr", "safe_str", "type_name"]

#: How many characters a text has at most.
LIMIT = 100
#: How many elements of a collection are shown, and how many collections inside each other.
_ELEMENTS = 6
_DEPTH = 3
#: Larger whole numbers are shown by their size: Python refuses to spell out some, and is slow with many.
_MOST_BITS = 256
#: How much of a text is looked at: escapes may make it shorter than the limit allows, never longer.
_LOOKED_AT = 4


def safe_repr(value: object, limit: int = LIMIT) -> str:
    """``repr()`` of any value in one printable line of at most ``limit`` characters.

    Of long texts and large collections only the beginning is looked at. If the value's own ``__repr__`` raises, the
    text names its type.
    """
    return _guard(lambda: _shorten(_repr(value, limit, _DEPTH), limit), value, "repr")


def safe_str(value: object, limit: int = LIMIT) -> str:
    """``str()`` of any value, such as an exception, in one printable line of at most ``limit`` characters."""
    return _guard(lambda: _shorten(_to_line(str(value)), limit), value, "str")


def type_name(value: object) -> str:
    """The name of the type of a value, also where its metaclass has something else in its place."""
    kind = type(value)
    try:
        return _printable(type.__dict__["__name__"].__get__(kind))
    except Exception:  # noqa: BLE001 - a text for an error must not raise another one
        return "object"


def _guard(make: Callable[[], str], value: object, method: str) -> str:
    try:
        return make()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's method; the text that asks for it is about an error already
        return f"<{type_name(value)} object whose {method} raises {type_name(error)}>"


def _repr(value: object, limit: int, depth: int) -> str:
    # By the method and not by the type: a subclass of list that shows itself as a list does is as large as a list.
    kind: Any = type(value).__repr__
    if kind is str.__repr__ or kind is bytes.__repr__ or kind is bytearray.__repr__:
        part: Any = value
        return repr(part[: limit * _LOOKED_AT])
    if kind is int.__repr__ and isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"<whole number of {value.bit_length():,} bits>"
    show = _COLLECTIONS.get(kind)
    return _guard(lambda: _to_line(repr(value)), value, "repr") if show is None else show(value, limit, depth)


def _enclosed(first: str, last: str, kind: Any) -> Callable[[Any, int, int], str]:
    """Shows collections of a kind, whose own methods are used: those of a subclass may do anything."""

    def show(value: Any, limit: int, depth: int) -> str:
        if not depth:
            return f"{first}...{last}"
        shown = [_repr(each, limit, depth - 1) for each in islice(kind.__iter__(value), _ELEMENTS)]
        if kind.__len__(value) > _ELEMENTS:
            shown.append("...")
        elif kind is tuple and len(shown) == 1:
            return f"({shown[0]},)"
        return f"{first}{', '.join(shown)}{last}"

    return show


def _show_dict(value: dict[Any, Any], limit: int, depth: int) -> str:
    if not depth:
        return "{...}"
    shown = [
        f"{_repr(key, limit, depth - 1)}: {_repr(each, limit, depth - 1)}"
        for key, each in islice(dict.items(value), _ELEMENTS)
    ]
    if dict.__len__(value) > _ELEMENTS:
        shown.append("...")
    return f"{{{', '.join(shown)}}}"


def _show_set(value: Any, limit: int, depth: int) -> str:
    kind = frozenset if isinstance(value, frozenset) else set
    text = _enclosed("{", "}", kind)(value, limit, depth)
    if not kind.__len__(value):
        return f"{kind.__name__}()"
    return f"frozenset({text})" if kind is frozenset else text


_COLLECTIONS: dict[Any, Callable[[Any, int, int], str]] = {
    list.__repr__: _enclosed("[", "]", list),
    tuple.__repr__: _enclosed("(", ")", tuple),
    set.__repr__: _show_set,
    frozenset.__repr__: _show_set,
    dict.__repr__: _show_dict,
}


def _to_line(text: str) -> str:
    """The text without line breaks: tables and objects of many lines show themselves like that."""
    text = str.__str__(text)  # a subclass may have methods of its own
    return " ".join(text[: 100 * LIMIT].split()) if "\n" in text else text


def _shorten(text: str, limit: int) -> str:
    text = _printable(text[: limit * _LOOKED_AT])
    return text if len(text) <= limit else text[: max(limit - 3, 0)] + "..."


def _printable(text: Iterable[str]) -> str:
    """The text with terminal escapes, surrogates and other control characters spelled out."""
    return "".join(_spell(text))


def _spell(text: Iterable[str]) -> Iterator[str]:
    for each in text:
        yield each if each.isprintable() else each.encode("unicode_escape").decode()
