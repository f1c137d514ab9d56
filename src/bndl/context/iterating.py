"""What users iterate over while work goes on. Letting go of it stops the work, whether or not it was begun."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from bndl.driver.execution import Execution

__all__ = ["Iteration"]

R = TypeVar("R")


class Iteration(Iterator[R], Generic[R]):
    """An iterator over what an execution brings.

    A generator would do, if it were always begun: what is to happen at its end does not if it is closed, or collected
    as garbage, before that.

    Args:
        execution: is stopped and let go of at the end, however that comes.
        results: what it brings.
        reason: why it is stopped if that is before its own end.
    """

    def __init__(self, execution: Execution, results: Generator[R, None, None], reason: str) -> None:
        self._execution: Execution | None = execution
        self._reason = reason
        self._results = results

    def __next__(self) -> R:
        try:
            return next(self._results)
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Stop what is still under way. Harmless when nothing is."""
        self._let_go()
        with suppress(ValueError):  # another thread waits in it, which hears of the end now
            self._results.close()

    def _let_go(self) -> None:
        """May be called by a finalizer, anywhere: so it only posts."""
        execution = self._execution
        if execution is not None:
            if not execution.over.is_set():
                execution.cancel(self._reason)
            execution.release()
            self._execution = None

    def __del__(self) -> None:
        self._let_go()
