"""What users iterate over while work goes on. Letting go of it stops the work, whether or not it was begun."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

from bndl.context.progress import Bars
from bndl.driver.execution import Execution
from bndl.driver.futures import LINES_TIMEOUT
from bndl.errors import UserError
from bndl.logs import flush

__all__ = ["Iteration"]

R = TypeVar("R")


class Iteration(Iterator[R], Generic[R]):
    """An iterator over what an execution brings. Threads may share it: each result goes to one of them.

    A generator would do, if it were always begun, and taken from by one thread: what is to happen at its end does not
    if it is closed, or collected as garbage, before that.

    Args:
        execution: is stopped and let go of at the end, however that comes.
        results: what it brings.
        reason: why it is stopped if that is before its own end.
        bars: show how far it is, if they are wanted.
    """

    def __init__(
        self, execution: Execution, results: Generator[R, None, None], reason: str, bars: Bars | None = None
    ) -> None:
        self._bars = bars
        self._execution: Execution | None = execution
        self._reason = reason
        self._results = results
        #: Held by the thread that takes a result. Entered and left in one step of the interpreter: see ``locking``.
        self._turn = threading.Lock()
        #: Which thread that is.
        self._taker = 0
        self._closed = False

    def __next__(self) -> R:
        if self._taker == threading.get_ident():
            text = (
                "the next result was asked for by code that this iterator calls itself, such as the generator of its "
                "items. Take the results outside of it; the iterator goes on."
            )
            raise UserError(text)
        with self._turn:
            if self._closed:
                raise StopIteration
            self._taker = threading.get_ident()
            try:
                return next(self._results)
            except BaseException:
                self._let_go()
                raise
            finally:
                self._taker = 0
                flush(LINES_TIMEOUT)

    def close(self) -> None:
        """Stop what is still under way. Harmless when nothing is, and for all threads, also those that take results."""
        self._closed = True
        self._let_go()
        # Whoever has the turn, which may be this thread, hears of the end, and is the last to take anything.
        if self._turn.acquire(blocking=False):
            try:
                self._results.close()
            finally:
                self._turn.release()

    def _let_go(self) -> None:
        """May be called by a finalizer, anywhere: so it only posts."""
        if self._bars is not None:
            self._bars.is_over = True
        execution = self._execution
        if execution is not None:
            if not execution.over.is_set():
                execution.cancel(self._reason)
            execution.release()
            self._execution = None

    def __del__(self) -> None:
        self._let_go()
