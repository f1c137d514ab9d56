"""Checks of what users give: one place, one wording, one error.

Each check returns a plain ``int``, ``float``, ``bool`` or ``str``, also where a number of numpy was given. The value's
own methods are not trusted: they may raise, and its ``repr`` may be long. Times have an upper bound, because no wait of
the platform takes just any number.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from bndl.errors import InvalidOption
from bndl.remedies import remedy_for
from bndl.reprs import safe_repr

__all__ = [
    "MOST",
    "MOST_SECONDS",
    "check_callable",
    "check_choice",
    "check_flag",
    "check_instance",
    "check_number",
    "check_optional",
    "check_path",
    "check_seconds",
    "check_text",
    "check_texts",
    "check_whole",
    "complain",
    "is_a",
]

T = TypeVar("T")

#: The longest time that anything waits for: a year.
MOST_SECONDS = 31_536_000.0
#: The largest number of anything that is counted; it is also how many tasks a stage can have.
MOST = 1 << 32
#: What Linux takes.
_LONGEST_PATH = 4095


def complain(name: str, rule: str, value: object, hint: str = "") -> InvalidOption:
    """The error of a value that breaks a rule; ``hint`` says what to give instead."""
    return InvalidOption(f"{name} must be {rule}, got {safe_repr(value)}{f': {hint}' if hint else ''}.")


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is of a type. ``isinstance`` asks the value for its ``__class__``, which may raise."""
    return issubclass(type(value), kind)


def check_whole(name: str, value: object, hint: str = "", *, least: int = 1, most: int = MOST) -> int:
    """Return a whole number from ``least`` to ``most``.

    Raises:
        InvalidOption: it is none; ``hint`` ends the text.
    """
    if type(value) is not int:
        try:
            whole = None if is_a(value, bool) else operator.index(value)  # type: ignore[arg-type] # what raises is none
        except Exception:  # noqa: BLE001 - of the value's own __index__, or it has none
            whole = None
        if whole is None:
            raise complain(name, "a whole number", value, hint)
        value = int(whole)
    if value < least:
        raise complain(name, f"at least {least:,}", value, hint)
    if value > most:
        raise complain(name, f"at most {most:,}", value, hint)
    return value


def check_number(
    name: str, value: object, hint: str = "", *, least: float = 0.0, most: float = math.inf, unit: str = ""
) -> float:
    """Return a number from ``least`` to ``most``, of which the error gives the unit. Never infinite, and never NaN.

    Raises:
        InvalidOption: it is none; ``hint`` ends the text.
    """
    if is_a(value, bool) or not is_a(value, numbers.Real):
        raise complain(name, "a number", value, hint)
    try:
        number = float(value)  # type: ignore[arg-type] # it is a Real
    except OverflowError:
        number = math.inf
    except Exception:  # noqa: BLE001 - of the value's own __float__
        number = math.nan
    if math.isnan(number):
        raise complain(name, "a number", value, hint)
    _check_least(name, number, least, hint)
    if number > most or math.isinf(number):
        raise complain(name, "finite" if math.isinf(most) else f"at most {most:,.12g}{unit}", value, hint)
    return number


def _check_least(name: str, number: float, least: float, hint: str) -> None:
    if number >= least:
        return
    if least > 0.0 and number == 0.0:
        raise complain(name, "more than 0", number, f"at least {least:,g}; {hint}")
    if least >= 0.0 > number:
        raise InvalidOption(f"{name} must not be negative, got {number:g}{f': {hint}' if hint else ''}.")
    raise complain(name, f"at least {least:,g}", number, hint)


def check_seconds(name: str, value: object, hint: str = "", *, least: float = 0.0, above: bool = False) -> float:
    """Return a number of seconds, up to a year.

    Args:
        name: of the option.
        value: what was given.
        hint: ends the text of the error.
        least: the shortest time.
        above: whether it must be longer than that.

    Raises:
        InvalidOption: it is none, or too short or too long.
    """
    seconds = check_number(name, value, hint, least=least, most=MOST_SECONDS, unit=" seconds, a year")
    if above and seconds <= least:
        raise complain(name, f"more than {least:g}", value, hint)
    return seconds


def check_flag(name: str, value: object, hint: str = "") -> bool:
    """Return True or False.

    Raises:
        InvalidOption: it is neither; a number or a text is not taken for one.
    """
    kind: Any = type(value)
    if kind is bool or (kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"}):
        return bool(value)
    raise complain(name, "True or False", value, hint)


def check_text(name: str, value: object, hint: str = "") -> str:
    """Return a plain string that is valid Unicode.

    Raises:
        InvalidOption: it is none, or has half a surrogate pair in it, such as from the name of a strange file.
    """
    if not is_a(value, str):
        raise complain(name, "a string", value, hint)
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise complain(name, "valid Unicode", text, hint) from None
    return text


def check_texts(name: str, value: object, hint: str = "") -> tuple[str, ...]:
    """Return several strings, or a single one, as a tuple.

    Raises:
        InvalidOption: it is something else.
    """
    if is_a(value, str):
        return (check_text(name, value, hint),)
    if not is_a(value, (list, tuple)):
        raise complain(name, "a list of texts", value, hint)
    values: Any = value
    if not all(is_a(each, str) for each in values):
        raise complain(name, "a list of texts", value, hint)
    return tuple(check_text(f"{name}[{index}]", each, hint) for index, each in enumerate(values))


def check_path(name: str, value: object, hint: str = "") -> str:
    """Return a path as a string.

    Raises:
        InvalidOption: it is none.
    """
    try:
        path = os.fspath(value)  # type: ignore[call-overload] # what raises is none
    except Exception:  # noqa: BLE001 - of the value's own __fspath__, or it has none
        path = None
    if not is_a(path, str):
        raise complain(name, "a path", value, hint)
    text = str.__str__(path)
    if "\0" in text:
        raise complain(name, "a path without null characters", text, hint)
    if len(text) > _LONGEST_PATH:
        raise complain(name, f"a path of at most {_LONGEST_PATH:,} characters", text, hint)
    return text


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return one of several words.

    Raises:
        InvalidOption: it is none of them.
    """
    known = list(choices)
    if not is_a(value, str) or str.__str__(value) not in known:
        raise complain(name, f"one of {', '.join(known)}", value)
    return str.__str__(value)


def check_callable(name: str, value: T, hint: str = "") -> T:
    """Return something that can be called.

    Raises:
        InvalidOption: it cannot.
    """
    if not callable(value):
        remedy = remedy_for(value).rstrip(".")
        raise complain(name, "callable", value, f"{hint}. {remedy}" if hint and remedy else remedy or hint)
    return value


def check_instance(name: str, value: object, kind: type[T], rule: str, hint: str = "") -> T:
    """Return an instance of a class, which ``rule`` names.

    Raises:
        InvalidOption: it is something else.
    """
    if not is_a(value, kind):
        raise complain(name, rule, value, hint)
    return value  # type: ignore[return-value] # it is one


def check_optional(check: Callable[..., T], name: str, value: object, hint: str = "", **bounds: Any) -> T | None:
    """Return None for None, and else what a check returns."""
    return None if value is None else check(name, value, hint, **bounds)
