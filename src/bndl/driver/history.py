"""What happened to a task, as its user sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bndl.schedule.story import Chapter
from bndl.schedule.transitions import Cause, State

__all__ = ["Transition", "tell"]


class Transition(NamedTuple):
    """One transition of a task.

    Attributes:
        when: seconds since its job began.
        before: its state before; None if it was not known.
        after: its state from then on.
        cause: why.
        worker: the worker concerned, or empty.
        attempt: its current attempt, counted from 1; 0 before the first.
    """

    when: float
    before: State | None
    after: State
    cause: Cause
    worker: str
    attempt: int

    def __str__(self) -> str:
        where = f" on {self.worker}" if self.worker else ""
        attempt = f", attempt {self.attempt}{where}" if self.attempt else ""
        return f"{self.when:.6f} {self.before or 'new'} -> {self.after}: {self.cause}{attempt}"


def tell(chapters: Iterable[Chapter], start: float) -> tuple[Transition, ...]:
    """A story, with its times counted from ``start``."""
    return tuple(
        Transition(each.when - start, each.before, each.after, each.cause, each.worker, each.number)
        for each in chapters
    )
