"""How the benchmarks say what they measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["spread"]


def spread(values: Sequence[float], how: str, unit: str = "") -> str:
    """The median, and the least and the greatest value.

    Args:
        values: what was measured.
        how: the format of each, such as ``.2f``.
        unit: said after the median.
    """
    median = f"{statistics.median(values):{how}} {unit}".rstrip()
    return f"{median} ({min(values):{how}} to {max(values):{how}})"
