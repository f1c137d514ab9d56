"""Checks of options."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bndl.errors import InvalidOption

__all__ = ["check_choice", "check_count", "check_how", "check_modules", "check_named", "check_positive"]


#: Looking more often would leave no time for what is looked at.
_SHORTEST_INTERVAL = 0.0005


def check_how(mode: str, clock: str, interval: float, prefix: str = "") -> None:
    """Raise ``InvalidOption`` if CPU cannot be profiled like this; ``prefix`` stands before the names of options."""
    check_choice(f"{prefix}mode", mode, ("tracing", "sampling"))
    clocks = ("cpu", "wall") if mode == "tracing" else ("cpu",)
    if clock == "wall" and clock not in clocks:
        raise InvalidOption(
            f"{prefix}clock cannot be 'wall' with sampling, which has the CPU clock; trace, or leave it out."
        )
    check_choice(f"{prefix}clock", clock, clocks)
    check_positive(f"{prefix}interval", interval, "seconds between two samples")
    if interval < _SHORTEST_INTERVAL:
        raise InvalidOption(f"{prefix}interval cannot be {interval!r}; give {_SHORTEST_INTERVAL} seconds or more.")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ``InvalidOption`` if a value is not one of those that there are."""
    known = list(choices)
    if value not in known:
        raise InvalidOption(f"{name} cannot be {value!r}; choose one of {', '.join(known)}.")


def check_positive(name: str, value: float, unit: str) -> None:
    """Raise ``InvalidOption`` if a number is not greater than 0, or has no end."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidOption(f"{name} cannot be {value!r}; give {unit}, more than 0.")


def check_count(name: str, value: object) -> None:
    """Raise ``InvalidOption`` if a value is neither a whole number, 0 or more, nor None, for all."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidOption(f"{name} cannot be {value!r}; give a whole number, 0 or more, or None for all.")


def check_modules(name: str, value: object) -> None:
    """Raise ``InvalidOption`` if a value is neither the name of a module or package, nor several, nor None."""
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, Iterable) or not all(isinstance(each, str) for each in value):
        raise InvalidOption(f"{name} cannot be {value!r}; give the name of a module or package, or several.")


def check_named(name: str, value: object, attribute: str) -> None:
    """Raise ``InvalidOption`` if a value is neither a name nor of a kind that has an attribute."""
    if not isinstance(value, str) and not hasattr(value, attribute):
        raise InvalidOption(f"{name} cannot be {value!r}; give a {name} or its name.")
