"""Values that nobody expects where an option or an argument stands: what a sweep over all entry points gives them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

__all__ = ["ODD", "Hostile"]


class Hostile:
    """Raises at whatever is asked of it, its class included."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __hash__ = __eq__ = __index__ = __float__ = _raise
    __lt__ = __gt__ = __le__ = __ge__ = __fspath__ = __contains__ = __getitem__ = __reduce_ex__ = _raise
    __class__ = property(_raise)


class Mute:
    """Has no text: its own methods raise something that is no ``Exception``."""

    def __repr__(self) -> NoReturn:
        raise SystemExit(3)

    __str__ = __repr__


class Undecided:
    """Is neither true nor false."""

    def __bool__(self) -> NoReturn:
        raise ValueError("neither true nor false")


class Unequal:
    """Cannot be compared, or be in a set."""

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("not to be compared")

    def __hash__(self) -> NoReturn:
        raise RuntimeError("not to be hashed")


class _Meta(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(metaclass=_Meta):
    """Its class has no name."""


class Unnamed:
    """A function whose name raises."""

    @property
    def __name__(self) -> NoReturn:
        raise RuntimeError("no name")

    def __call__(self, *_: object) -> int:
        return 1


class Bottomless:
    """Is pickled without end."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Bottomless, (), {"more": Bottomless()}


class Liar:
    """Has every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Liar()


def _cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


#: How each is made, by what it is: one that was used may have changed.
ODD: Mapping[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "10**18": lambda: 10**18,
    "10**400": lambda: 10**400,
    "-10**400": lambda: -(10**400),
    "0.0": lambda: 0.0,
    "1.5": lambda: 1.5,
    "-1e-9": lambda: -1e-9,
    "1e-300": lambda: 1e-300,
    "1e10": lambda: 1e10,
    "1e300": lambda: 1e300,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "complex": lambda: 1j,
    "decimal": lambda: Decimal("NaN"),
    "fraction": lambda: Fraction(1, 3),
    "numpy integer": lambda: np.int64(3),
    "numpy float": lambda: np.float32("inf"),
    "numpy bool": lambda: np.True_,
    "array": lambda: np.array([1, 2]),
    "empty text": lambda: "",
    "text": lambda: "x",
    "surrogate": lambda: "half \ud800",
    "null": lambda: "a\0b",
    "long text": lambda: "x" * 100_000,
    "escapes": lambda: "\x1b[31m[bold]a\nb",
    "bytes": lambda: b"x",
    "path": lambda: Path("somewhere"),
    "list": list,
    "list of None": lambda: [None],
    "tuple": lambda: (),
    "dict": dict,
    "set": lambda: {1},
    "range": lambda: range(3),
    "generator": lambda: (each for each in (1, 2)),
    "cyclic": _cyclic,
    "deep": _deep,
    "object": object,
    "class": lambda: int,
    "function": lambda: abs,
    "lambda": lambda: lambda *_: None,
    "module": lambda: math,
    "lock": threading.Lock,
    "error": lambda: ValueError("a value"),
    "hostile": Hostile,
    "mute": Mute,
    "undecided": Undecided,
    "unequal": Unequal,
    "nameless": Nameless,
    "unnamed": Unnamed,
    "bottomless": Bottomless,
    "liar": Liar,
}
