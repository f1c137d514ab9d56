"""The iterator over the results of work under way. Dropping it stops the work, whether or not it has begun."""

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
    """An iterator over the results of an execution. Threads may share it: each result goes to one of them.

    A generator is not enough: only one thread at a time may take from it, and its ``finally`` does not run if it is
    closed or collected before its first result is taken.

    Args:
        execution: is stopped at the end of the iteration, whatever ends it.
        results: the results.
        reason: the reason of the cancellation if the iteration ends before the execution.
        bars: show the progress; None for no bars.
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
                "code that this iterator calls itself, such as the generator of its items, asked for its next result. "
                "Take the results outside of that code; the iterator goes on."
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
