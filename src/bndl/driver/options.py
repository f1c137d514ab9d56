"""What can be set for a job, a stage or a task; the innermost wins."""

from __future__ import annotations

from dataclasses import dataclass

from bndl.errors import InvalidOption

__all__ = ["Options", "check_count"]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a job, a stage or a task. None leaves the choice to what is around it.

    Attributes:
        attempts: how often a task may be tried before it has failed; 1 if nothing says otherwise.
        concurrency: how many tasks may be under way at the same time; without limit if nothing says otherwise.

    Raises:
        InvalidOption: a value makes no sense.
    """

    attempts: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts, "1 runs each task once, 2 tries it once more")
        check_count("concurrency", self.concurrency, "leave it out for no limit")


def check_count(name: str, value: object, hint: str) -> None:
    """Raise ``InvalidOption`` if a value that is given is not a whole number from 1 up; ``hint`` ends the text."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        text = f"{name} must be a whole number, not {value!r}: {hint}."
        raise InvalidOption(text)
    if value < 1:
        text = f"{name} must be at least 1, not {value}: {hint}."
        raise InvalidOption(text)
