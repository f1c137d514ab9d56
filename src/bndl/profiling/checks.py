"""Checks of options of profiling. ``bndl.checks`` has those of all options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bndl.checks import MOST_SECONDS, check_number, check_path, check_whole, complain, is_a
from bndl.errors import InvalidOption

__all__ = [
    "check_choice",
    "check_count",
    "check_file",
    "check_how",
    "check_modules",
    "check_named",
    "check_positive",
    "check_target",
]


#: Looking more often would leave no time for what is looked at.
_SHORTEST_INTERVAL = 0.0005
_INTERVAL = 0.01


def check_how(
    mode: str, clock: str, interval: float | None, *, native: bool = False, sampler: str = "auto", prefix: str = ""
) -> tuple[str, str, float]:
    """Return mode, clock and interval as plain values.

    Args:
        mode: how CPU is profiled.
        clock: which time is measured.
        interval: seconds between two samples; None for the default.
        native: whether functions of C are seen.
        sampler: what takes the samples.
        prefix: stands before the names of options.

    Raises:
        InvalidOption: CPU cannot be profiled like this.
    """
    mode = check_choice(f"{prefix}mode", mode, ("tracing", "sampling"))
    clock = check_choice(f"{prefix}clock", clock, ("cpu", "wall"))
    if mode == "sampling" and clock == "wall":
        raise InvalidOption(
            f"{prefix}clock cannot be 'wall' with sampling, which has the CPU clock; trace, or leave it out."
        )
    if mode == "tracing":
        given = {"interval": interval is not None, "native": native, "sampler": sampler != "auto"}
        useless = [name for name, is_given in given.items() if is_given]
        if useless:
            raise InvalidOption(f"{prefix}{useless[0]} has no meaning with tracing; sample, or leave it out.")
    if interval is None:
        interval = _INTERVAL
    interval = check_positive(f"{prefix}interval", interval, "seconds between two samples")
    if interval < _SHORTEST_INTERVAL:
        raise complain(f"{prefix}interval", f"at least {_SHORTEST_INTERVAL}", interval, "seconds between two samples")
    return mode, clock, interval


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return one of several words, or raise ``InvalidOption``."""
    known = list(choices)
    if not is_a(value, str) or str.__str__(value) not in known:
        raise complain(name, f"one of {', '.join(known)}", value)
    return str.__str__(value)


def check_positive(name: str, value: object, unit: str) -> float:
    """Return a number greater than 0 and not greater than a year has seconds, or raise ``InvalidOption``."""
    try:
        number = check_number(name, value)
    except InvalidOption:
        number = -1.0
    if not 0 < number <= MOST_SECONDS:
        bound = f"at most {MOST_SECONDS:,.0f}" if number > 0 else "more than 0"
        raise complain(name, bound, value, unit)
    return number


def check_count(name: str, value: object) -> int | None:
    """Return a whole number, 0 or more, or None, for all; or raise ``InvalidOption``."""
    try:
        return None if value is None else check_whole(name, value, least=0)
    except InvalidOption:
        raise complain(name, "a whole number, 0 or more, or None", value, "None shows all") from None


def check_modules(name: str, value: object) -> None:
    """Raise ``InvalidOption`` if a value is neither the name of a module or package, nor several, nor None."""
    if value is None or is_a(value, str):
        return
    values: Any = value
    if not is_a(value, (list, tuple, set, frozenset)) or not all(is_a(each, str) for each in values):
        raise complain(name, "the name of a module or package, or several", value, "such as 'json' or ['json', 'csv']")


def check_named(name: str, value: object, kind: type) -> None:
    """Raise ``InvalidOption`` if a value is neither a name nor of a kind that has one."""
    if not is_a(value, (str, kind)):
        raise complain(name, f"a {name} or its name", value, "leave it out for all")


def check_file(file: object) -> None:
    """Raise ``InvalidOption`` if a value is neither a file that can be written to nor None."""
    if file is None:
        return
    try:
        write = getattr(file, "write", None)
    except Exception:  # noqa: BLE001 - of the value's own
        write = None
    if not callable(write):
        raise complain("file", "a file that is open for writing text", file, "leave it out for standard output")


def check_target(path: object) -> str:
    """Return the path of a report that is to be written, or raise ``InvalidOption``."""
    return check_path("path", path, "of the file to write")
