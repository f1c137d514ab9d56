"""Values that a driver shares with its tasks: it has broadcasts ready to be fetched, and counts what tasks add."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from bndl.checks import check_callable
from bndl.execute import shared
from bndl.execute.payloads import Packer, unpack
from bndl.execute.shared import Accumulator, Broadcast
from bndl.execute.store import Store
from bndl.net.messages import Space

__all__ = ["Sharing"]

T = TypeVar("T")


class Sharing:
    """The shared values of a driver. Thread-safe.

    Args:
        name: the driver's name.
        store: where workers fetch from.
        next_number: gives numbers that no stage and no other shared value has.
        forget: has all workers drop what they have of a number.
        post: runs something on the driver's loop.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        next_number: Callable[[], int],
        forget: Callable[[int], None],
        post: Callable[..., None],
    ) -> None:
        self._name = name
        self._store = store
        self._next_number = next_number
        self._forget = forget
        self._post = post
        #: Those that somebody has.
        self._accumulators: WeakValueDictionary[int, Accumulator[Any]] = WeakValueDictionary()
        shared.begin(name)

    def broadcast(self, value: T) -> Broadcast[T]:
        """Share a value with tasks.

        Raises:
            NotPicklable: it cannot travel.
        """
        packer = Packer()
        payload = packer.pack(value, "the value of the broadcast", is_shared=True)
        number = self._next_number()
        key = (self._name, Space.SHARED, number)
        self._store.put(key, payload)

        pinned = packer.take_pinned()  # other broadcasts in it

        def release() -> None:
            pinned.clear()
            self._store.drop([key])
            self._forget(number)

        made = Broadcast(self._name, number, value, release)
        shared.keep(made)
        # The collection of garbage may call it anywhere, so it only posts.
        weakref.finalize(made, self._post, release).atexit = False
        return made

    def accumulate(self, value: T, combine: Callable[[T, T], T]) -> Accumulator[T]:
        """Begin to count what tasks add.

        Raises:
            InvalidOption: ``combine`` is no function.
        """
        check_callable("combine", combine, "a function of two values: operator.add, or max, for example")
        number = self._next_number()
        made = Accumulator(self._name, number, combine, value, is_home=True)
        self._accumulators[number] = made
        shared.keep(made)
        return made

    def note_additions(self, payload: bytes) -> None:
        """An attempt that counts added something."""
        for number, added in unpack(payload).items():  # numbers and bytes, nothing of the user's
            accumulator = self._accumulators.get(number)
            if accumulator is not None:
                accumulator.note(added)

    def close(self) -> None:
        """Nobody runs tasks any more."""
        shared.forget_all(self._name)
        self._store.drop_where(lambda _: True)
