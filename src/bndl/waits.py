"""How long a wait may be: the calls of the system refuse times that they cannot count, and raise ``OverflowError``."""

from __future__ import annotations

__all__ = ["LONGEST", "capped"]

#: In seconds, 31 years. Every call of the system takes it, and it can be added to a clock.
LONGEST = 1e9


def capped(seconds: float) -> float:
    """A time that every call of the system takes: ``seconds``, or ``LONGEST`` if that is less or ``seconds`` is NaN."""
    return float(seconds) if seconds < LONGEST else LONGEST
