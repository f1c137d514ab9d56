"""What a number, a text or a list in a message may be.

A peer that holds the secret can send any number. The decoder refuses those that no honest node sends, before anything
counts with them, and a list that is too long before memory is taken for its items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

__all__ = ["MANY", "SOME", "Amount", "Attempts", "Count", "Name", "Number", "Numbers", "Seconds", "Size", "Timeout"]

#: The most items of a list of numbers.
MANY = 1 << 20
#: The most items of a list of structures: an item may take a hundred times the memory of its bytes.
SOME = 1 << 17

#: Numbers of tasks, stages and calls.
Number = Annotated[int, Meta(ge=0, le=1 << 62)]
#: The number of an attempt of a task.
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
#: How many bytes something has.
Amount = Annotated[int, Meta(ge=0, le=1 << 62)]
#: The same, with -1 for a thing that is not there.
Size = Annotated[int, Meta(ge=-1, le=1 << 62)]
#: Seconds; neither negative, nor infinite, nor NaN.
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
#: Seconds that something may take; infinity means no limit.
Timeout = Annotated[float, Meta(ge=0.0)]
#: The name of a node, a version, an address.
Name = Annotated[str, Meta(max_length=1024)]
#: Numbers of tasks or stages, which may be of none that is there.
Numbers = Annotated[Sequence[int], Meta(max_length=MANY)]
#: Attempts, as (task, number).
Attempts = Annotated[Sequence[tuple[Number, Count]], Meta(max_length=MANY)]
