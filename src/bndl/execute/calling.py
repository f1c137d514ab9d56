"""Calls of functions by peers, beside the tasks: each in a thread of its own, up to a number at a time."""

from __future__ import annotations

from collections.abc import Callable

from bndl.errors import ClusterError
from bndl.execute import failures
from bndl.execute.payloads import Packer, unpack
from bndl.execute.shown import function_name
from bndl.net.messages import Answer, Call, Message

__all__ = ["MOST_CALLS", "Calling"]

#: How many calls may be under way at a time. Each takes a thread.
MOST_CALLS = 256


class Calling:
    """The calls that are under way on a node.

    Args:
        send: sends a message to a node. Thread-safe.
        run_beside: runs something in a thread of its own.
    """

    def __init__(self, send: Callable[[str, Message], None], run_beside: Callable[[Callable[[], None]], None]) -> None:
        self._send = send
        self._run_beside = run_beside
        #: By object, as two drivers may use one number. Changed by single steps of the interpreter.
        self._running: set[object] = set()

    def handle(self, sender: str, message: Call) -> None:
        """Make a call, and answer it."""
        if len(self._running) >= MOST_CALLS:
            text = f"{len(self._running)} calls are under way on this worker. Call again when some of them have ended."
            self._answer(sender, message, failures.describe(ClusterError(text), 0), succeeded=False)
            return
        mark = object()
        self._running.add(mark)

        def run() -> None:
            try:
                self._run(sender, message)
            finally:
                self._running.discard(mark)

        try:
            self._run_beside(run)
        except RuntimeError as error:  # the system has no room for another thread
            self._running.discard(mark)
            text = f"no thread can be started for a call on this worker ({error}). Call again when it has less to do."
            self._answer(sender, message, failures.describe(ClusterError(text), 0), succeeded=False)

    def _run(self, sender: str, message: Call) -> None:
        call, loading = "", "the call"
        try:
            function, args, kwargs = unpack(message.function)
            call, loading = function_name(function), ""
            payload = Packer().pack(function(*args, **kwargs), "the result")
            # In here, because this raises, too, if the result is too large for a message.
            self._answer(sender, message, payload, succeeded=True)
        except BaseException as error:  # noqa: BLE001 - where the thread ends; it goes to the caller
            self._answer(sender, message, failures.describe(error, 1, call=call, loading=loading), succeeded=False)

    def _answer(self, sender: str, message: Call, payload: bytes, *, succeeded: bool) -> None:
        self._send(sender, Answer(message.call, succeeded, payload))
