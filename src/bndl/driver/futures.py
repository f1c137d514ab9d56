"""Futures whose results come from elsewhere.

The driver's loop settles them, and must neither run what users wrote nor wait for what users hold. So what came is
unpickled in the thread that asks for it, callbacks run on a loop of their own, and where a user's thread holds or
watches the future, another loop waits for its locks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from bndl.checks import check_number
from bndl.errors import BndlError, UserError
from bndl.execute.failures import open_cause
from bndl.execute.payloads import Pinned
from bndl.locking import Condition
from bndl.logs import flush, get_logger
from bndl.loop import Loop
from bndl.reprs import safe_repr
from bndl.threads import run_beside
from bndl.waits import LONGEST

__all__ = ["LINES_TIMEOUT", "Loops", "Outcome", "Ready", "RemoteFuture"]

logger = get_logger(__name__)

#: For how many seconds a result waits until the lines that its task said are handled.
LINES_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops of a driver. In a simulation they are one.

    Attributes:
        own: owns the driver's state.
        bulk: serves its store.
        futures: settles the futures that somebody watches.
        callbacks: runs the callbacks of futures; they may wait for other futures.
    """

    own: Loop
    bulk: Loop
    futures: Loop
    callbacks: Loop

    def beside(self, call: Callable[[], object]) -> None:
        """Run other code of users, in a thread of its own."""
        run_beside(call, lambda delay, again: self.own.post(self.own.call_later, delay, again))


def _check_timeout(timeout: float | None) -> float | None:
    """How long to wait. Infinity, and NaN, is as long as a wait can be.

    Raises:
        InvalidOption: it is no number.
    """
    if timeout is None:
        return None
    if type(timeout) in {int, float} and not timeout < LONGEST:  # NaN is neither
        return LONGEST
    return check_number("timeout", timeout, "seconds to wait, or None", least=-math.inf)


class Outcome(Protocol):
    """What a future is settled with."""

    @property
    def result(self) -> Any:
        """The result; asking for it may take long, or raise a ``BndlError``."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A result as it is."""

    result: Any


class RemoteFuture(Future[Any]):
    """A future that the driver settles.

    Args:
        loops: the driver's.
    """

    def __init__(self, loops: Loops) -> None:
        super().__init__()
        self._condition = Condition()
        self._loops = loops
        #: What the payload of the call refers to, to be kept alive until somebody lets go of its result.
        self.pinned: dict[int, Pinned] = {}
        #: Held while the result is unpickled, which is done once.
        self._opening = threading.Lock()

    def settle(self, outcome: Outcome | BndlError) -> None:
        """It is done, with a result or an error. To be called once, from any thread; waits for nothing."""
        if self._condition.acquire(blocking=False):
            try:
                if not self._waiters:
                    self._settle(outcome)
                    return
            finally:
                self._condition.release()
        self._loops.futures.post(self._settle, outcome)

    def _settle(self, outcome: Outcome | BndlError) -> None:
        if not super().set_running_or_notify_cancel():
            return
        if isinstance(outcome, BndlError):
            super().set_exception(outcome)
        else:
            super().set_result(outcome)

    def set_result(self, result: Any) -> None:
        """For those who execute calls, as the documentation of the base class says: here that is the driver.

        Raises:
            UserError: always.
        """
        raise _refuse(f"set_result({safe_repr(result)})")

    def set_exception(self, exception: BaseException | None) -> None:
        """As ``set_result``.

        Raises:
            UserError: always.
        """
        raise _refuse(f"set_exception({safe_repr(exception)})")

    def set_running_or_notify_cancel(self) -> bool:
        """As ``set_result``.

        Raises:
            UserError: always.
        """
        raise _refuse("set_running_or_notify_cancel()")

    def result(self, timeout: float | None = None) -> Any:
        """The result, as of any future."""
        try:
            outcome: Outcome = super().result(_check_timeout(timeout))
        except BndlError as error:
            open_cause(error)
            flush(LINES_TIMEOUT)
            raise
        flush(LINES_TIMEOUT)
        with self._opening:
            return outcome.result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, as of any future."""
        error = super().exception(_check_timeout(timeout))
        if isinstance(error, BndlError):
            return open_cause(error)
        try:
            self.result(0)
        except BndlError as own:
            return own
        return error

    def _invoke_callbacks(self) -> None:
        """Called by the base class when it is done or cancelled."""
        if self._done_callbacks:  # type: ignore[attr-defined]
            self._loops.callbacks.post(self._call_back)

    def _call_back(self) -> None:
        for callback in self._done_callbacks:  # type: ignore[attr-defined]
            try:
                callback(self)
            except BaseException:  # where the user's code ends, as in the standard library
                logger.exception("a callback of %r raised", self)


def _refuse(call: str) -> UserError:
    text = (
        f"{call} was called on a future of bndl, which the driver settles when the call is done. Make a future of your "
        "own, as concurrent.futures.Future(), for what your program settles; cancel() ends this one."
    )
    return UserError(text)
