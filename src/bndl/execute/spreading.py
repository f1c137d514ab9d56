"""Calls with several arguments where a stage has one item for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["spread"]


def spread(function: Callable[..., Any], arguments: Iterable[Any]) -> Any:
    """Call a function with the parts of an item. ``partial(spread, function)`` is a function of one item."""
    return function(*arguments)
