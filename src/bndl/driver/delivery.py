"""Results that are too large for a message, fetched from the workers that made them, as far as there is room here."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import psutil

from bndl.errors import BndlError, ResultTooLarge
from bndl.execute.transfer import Transfer
from bndl.net.messages import Result, Space
from bndl.schedule.events import Event, ResultsDelivered, ResultsLost

__all__ = ["Delivery"]

#: How much of the memory that is free the results under way may take. Unpickling them takes as much again.
_SHARE_OF_FREE_MEMORY = 0.4


def _read_free_memory() -> int:
    try:
        free: int = psutil.virtual_memory().available
    except OSError:  # there is no /proc
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free


class Delivery:
    """Fetches results for the driver, in the order in which they were made. To be used on the driver's loop only.

    Args:
        transfer: fetches.
        name: the driver's name.
        handle: gives an event to the scheduler.
        read_free_memory: how many bytes are free. What has come is not free any more; what is under way is subtracted.
    """

    def __init__(
        self,
        transfer: Transfer,
        name: str,
        handle: Callable[[Event], None],
        read_free_memory: Callable[[], int] = _read_free_memory,
    ) -> None:
        self._transfer = transfer
        self._name = name
        self._handle = handle
        self._read_free_memory = read_free_memory
        #: Each with the worker that has it.
        self._waiting: deque[tuple[str, Result]] = deque()
        #: How many bytes are under way.
        self._coming = 0
        self.on_delivered: Callable[[str, Mapping[int, bytes | BndlError], Mapping[int, Result]], None]

    def fetch(self, worker: str, tasks: Sequence[tuple[int, int]], results: Mapping[int, Result]) -> None:
        """Fetch the results of these tasks, (task, attempt), from a worker. ``results`` says how large they are."""
        self._waiting.extend((worker, results[number]) for number, _ in tasks)
        self._go_on()

    def lose(self, worker: str) -> None:
        """A worker is gone: what it has will be made again."""
        self._waiting = deque(each for each in self._waiting if each[0] != worker)
        self._go_on()

    def _go_on(self) -> None:
        """Fetch as much of what waits as there is room for."""
        while self._waiting:
            limit = int(self._read_free_memory() * _SHARE_OF_FREE_MEMORY)
            worker, result = self._waiting[0]
            if self._coming + result.size > limit:
                if self._coming:
                    return  # when that has come it is looked at again
                self._waiting.popleft()
                self._refuse(worker, result, limit)
                continue
            wanted: dict[int, Result] = {}
            while self._waiting and self._waiting[0][0] == worker:
                result = self._waiting[0][1]
                if self._coming + result.size > limit:
                    break
                self._waiting.popleft()
                self._coming += result.size
                wanted[result.task] = result
            self._start(worker, wanted)

    def _refuse(self, worker: str, result: Result, limit: int) -> None:
        self.on_delivered(worker, {result.task: _too_large(result.size, limit)}, {result.task: result})
        self._handle(ResultsDelivered([result.task]))

    def _start(self, worker: str, wanted: Mapping[int, Result]) -> None:
        def came(data: dict[int, bytes]) -> None:
            self._coming -= sum(wanted[number].size for number in data)
            self.on_delivered(worker, data, wanted)
            self._handle(ResultsDelivered(list(data)))
            self._go_on()

        def ended(_: dict[int, bytes], missing: list[int]) -> None:
            self._coming -= sum(wanted[number].size for number in missing)
            if missing:
                self._handle(ResultsLost(worker, missing))
                self._go_on()

        # Each result is delivered as it comes: once the worker is lost, what was fetched before would be made again.
        sizes = {number: result.size for number, result in wanted.items()}
        self._transfer.fetch(worker, self._name, Space.RESULT, list(wanted), ended, came, sizes)


def _too_large(size: int, limit: int) -> ResultTooLarge:
    text = (
        f"its result takes {size:,} bytes and may take {limit:,} here, a part of the memory that is free. Use it in a "
        "later stage, so that it stays on the workers, take results as they come, or return less."
    )
    return ResultTooLarge(text, size_bytes=size, limit_bytes=limit)
