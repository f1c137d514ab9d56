"""Results that are too large for a message, fetched from the workers that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import psutil

from bndl.errors import BndlError, ResultTooLarge
from bndl.execute.transfer import Transfer
from bndl.net.messages import Result, Space
from bndl.schedule.events import Event, ResultsDelivered, ResultsLost

__all__ = ["Delivery"]

#: How much of the memory that is free one result may take. Unpickling takes as much again.
_SHARE_OF_FREE_MEMORY = 0.4


class Delivery:
    """Fetches results for the driver. To be used on the driver's loop only.

    Args:
        transfer: fetches.
        name: the driver's name.
        handle: gives an event to the scheduler.
    """

    def __init__(self, transfer: Transfer, name: str, handle: Callable[[Event], None]) -> None:
        self._transfer = transfer
        self._name = name
        self._handle = handle
        self.on_delivered: Callable[[str, Mapping[int, bytes | BndlError], Mapping[int, Result]], None]

    def fetch(self, worker: str, tasks: Sequence[tuple[int, int]], results: Mapping[int, Result]) -> None:
        """Fetch the results of these tasks, (task, attempt), from a worker. ``results`` says how large they are."""
        wanted = {number: results[number] for number, _ in tasks}
        free = psutil.virtual_memory().available
        refused: dict[int, bytes | BndlError] = {}
        for number, result in wanted.items():
            limit = int(free * _SHARE_OF_FREE_MEMORY)
            if result.size > limit:
                refused[number] = _too_large(result.size, limit)
        if refused:
            self.on_delivered(worker, refused, wanted)
            self._handle(ResultsDelivered(list(refused)))
        numbers = [number for number in wanted if number not in refused]
        if not numbers:
            return

        def came(data: dict[int, bytes]) -> None:
            self.on_delivered(worker, data, wanted)
            self._handle(ResultsDelivered(list(data)))

        def ended(_: dict[int, bytes], missing: list[int]) -> None:
            if missing:
                self._handle(ResultsLost(worker, missing))

        # Each result is delivered as it comes: once the worker is lost, what was fetched before would be made again.
        self._transfer.fetch(worker, self._name, Space.RESULT, numbers, ended, came)


def _too_large(size: int, limit: int) -> ResultTooLarge:
    text = (
        f"its result takes {size:,} bytes and may take {limit:,} here, a part of the memory that is free. Use it in a "
        "later stage, so that it stays on the workers, or return less."
    )
    return ResultTooLarge(text, size_bytes=size, limit_bytes=limit)
