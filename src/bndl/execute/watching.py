"""Attempts under observation: how a profiler on a worker gets to know which of its threads executes what.

A driver sends a ``Watch``. From then on each of its attempts runs inside of a watcher, and what that has to say of an
attempt travels in the attempt's ``Result``. So the driver has it if, and only if, it knows that the attempt ended: also
if the worker is lost in the next moment.

Whatever a watcher does for an attempt, it does before the attempt crosses the border (``border``) into the user's code
and after it came back. So nothing that is raised to stop the attempt comes up in it.

The watcher is made beside the loop, which does not wait for what it imports; or in the thread of the first attempt, if
that comes sooner, before the attempt begins. So no attempt that was launched after the ``Watch`` goes unseen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from bndl.execute.current import CurrentTask, describe
from bndl.execute.payloads import unpack
from bndl.logs import get_logger

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = ["Watch", "Watcher"]

logger = get_logger(__name__)

T = TypeVar("T")


class Watcher(Protocol):
    """Watches the attempts of one driver on one worker. Called in the threads of the slots."""

    def run(self, task: CurrentTask, call: Callable[[], T]) -> T:
        """Call ``call``, which executes an attempt of ``task``, and return what it does."""

    def finish(self) -> bytes:
        """The attempt that this thread ran last is over: what is to be said of it."""

    def close(self) -> None:
        """There will be no further attempts."""


class Watch:
    """A driver's wish to have its attempts watched.

    Args:
        maker: pickled; called without arguments it gives the watcher.
    """

    def __init__(self, maker: bytes) -> None:
        self._maker: bytes | None = maker
        self._watcher: Watcher | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the watcher, unless an attempt has done so already."""
        self.watcher()

    def watcher(self) -> Watcher | None:
        """The watcher, or None if it cannot be made or is closed."""
        if self._maker is not None:
            with self._lock:
                self._make()
        return self._watcher

    def run(self, prepared: Prepared, call: Callable[[Prepared], T]) -> T:
        """Execute an attempt, once, and watched if that is possible.

        Args:
            prepared: the attempt.
            call: executes it, and does not raise what it raises.
        """
        calls = [call]
        outcomes: list[T] = []
        watcher = self.watcher()
        if watcher is not None:
            try:
                watcher.run(describe(prepared), lambda: outcomes.append(calls.pop()(prepared)))
            except Exception:  # an attempt must not fail because nobody can watch it
                if not (calls or outcomes):
                    raise
                logger.exception("an attempt cannot be watched")
        return outcomes[0] if outcomes else calls.pop()(prepared)

    def finish(self) -> bytes:
        """What is to be said of the attempt that this thread ran last."""
        watcher = self._watcher
        try:
            return b"" if watcher is None else watcher.finish()
        except Exception:  # an attempt must not fail because nobody can say what it did
            logger.exception("there is nothing to say of an attempt")
            return b""

    def close(self) -> None:
        """Nobody wants to know any more."""
        with self._lock:
            watcher, self._watcher, self._maker = self._watcher, None, None
        if watcher is not None:
            watcher.close()

    def _make(self) -> None:
        if self._maker is None:
            return
        try:
            self._watcher = unpack(self._maker)()
        except Exception:  # an attempt must not fail because nobody can watch it
            logger.exception("attempts cannot be watched")
        self._maker = None  # not before: it tells other threads that there is nothing to wait for
