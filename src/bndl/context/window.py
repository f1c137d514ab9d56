"""How far ahead of whoever takes the results of ``map`` its items are pulled. Pure: nothing is pulled here.

There are three bounds: work, in seconds, so that the workers are busy; items; and bytes, of the arguments of what is
not done, the results of what is not taken, and the results that are still to come, as far as that can be told from
those that came.
"""

from __future__ import annotations

from bndl.schedule.placement import LOOKAHEAD

__all__ = ["Window"]

#: How many items are pulled for each slot before anything is known of how long they take.
_FIRST = 4
#: How much work, in seconds, is pulled for each slot: enough to fill what the scheduler sends in advance.
_AHEAD = 5 * LOOKAHEAD
#: How many items are pulled at most before their results are taken.
_MOST = 20_000
#: How many items are pulled for each slot however large they are: one that is executed, and the next one.
_LEAST = 2
#: Over how many results the mean of their sizes goes.
_REMEMBERED = 16


class Window:
    """Counts what is pulled and not taken.

    Args:
        slots: how many tasks the workers execute at the same time.
        most_bytes: how many bytes may be under way or wait to be taken.

    Attributes:
        outstanding: items that were pulled and whose results were not taken.
    """

    def __init__(self, slots: int, most_bytes: int) -> None:
        self._slots = max(slots, 1)
        self._most_bytes = most_bytes
        self._items = _FIRST * self._slots
        self.outstanding = 0
        #: Items that are not done, with the size of all of their arguments.
        self._open = 0
        self._argument_bytes = 0
        #: The size of the results that are done and not taken.
        self._result_bytes = 0
        #: Of one result, and how many of them are in the mean.
        self._mean_bytes = 0.0
        self._known = 0

    @property
    def room(self) -> int:
        """How many items may be pulled now. None as long as there are more than half as many as there may be."""
        return 0 if self.outstanding * 2 > self._items else self._items - self.outstanding

    @property
    def is_full(self) -> bool:
        """Whether no more bytes may be under way, or wait."""
        coming = (self._open + 1) * self._mean_bytes
        too_many = self._argument_bytes + self._result_bytes + coming > self._most_bytes
        return too_many and self.outstanding >= _LEAST * self._slots

    def pulled(self, argument_bytes: int) -> None:
        """An item was pulled."""
        self.outstanding += 1
        self._open += 1
        self._argument_bytes += argument_bytes

    def done(self, argument_bytes: int, result_bytes: int) -> None:
        """There is a result of an item; its arguments are needed no more."""
        self._open -= 1
        self._argument_bytes -= argument_bytes
        self._result_bytes += result_bytes
        self._known = min(self._known + 1, _REMEMBERED)
        self._mean_bytes += (result_bytes - self._mean_bytes) / self._known

    def taken(self, result_bytes: int) -> None:
        """Somebody took a result."""
        self.outstanding -= 1
        self._result_bytes -= result_bytes

    def adapt(self, slots: int, seconds: float) -> None:
        """So many slots are there, and so long did the last tasks take on average."""
        self._slots = max(slots, 1)
        ahead = int(_AHEAD / max(seconds, 1e-6))
        self._items = max(_FIRST * self._slots, min(self._slots * ahead, 2 * self._items, _MOST))
