"""Questions of user threads to single nodes: calls of functions, and results that stayed on workers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from typing import Any

from bndl.driver.futures import Loops, Ready, RemoteFuture
from bndl.driver.waiters import Waiters
from bndl.errors import BndlError, InternalError, NotUnpicklable, TaskFailed
from bndl.execute import failures
from bndl.execute.payloads import Packer, unpack
from bndl.execute.shown import function_name
from bndl.execute.transfer import Transfer
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.messages import Message, Space
from bndl.reprs import safe_str, type_name

__all__ = ["Requests"]


class Requests:
    """Asks nodes, and answers through futures. Thread-safe.

    Args:
        loops: the driver's.
        waiters: are told if the driver ends.
        calls: the driver's open questions.
        transfer: fetches.
        name: the driver's name.
    """

    def __init__(self, loops: Loops, waiters: Waiters, calls: Calls, transfer: Transfer, name: str) -> None:
        self._loops = loops
        self._waiters = waiters
        self._calls = calls
        self._transfer = transfer
        self._name = name

    def call(
        self, peer: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> Future[Any]:
        """Call a function on a node, beside the tasks.

        Args:
            peer: the node.
            function: what to call.
            args: its arguments.
            kwargs: its keyword arguments.
            timeout: how many seconds the answer may take.

        Returns:
            Its result. ``PeerLost`` or ``CallTimeout`` if there is no answer, ``TaskFailed`` if it raised.

        Raises:
            NotPicklable: the call cannot travel.
            BndlError: the driver has ended.
        """
        what = function_name(function)  # here, and not on the loop: it is the user's
        packer = Packer()
        payload = packer.pack((function, args, kwargs), f"the call of {what}")
        future = self._new_future()
        future.pinned = packer.take_pinned()

        def answered(answer: Message | BndlError) -> None:
            if self._waiters.claim(future):
                future.settle(_read(peer, what, answer))

        self._loops.own.post(
            lambda: self._calls.ask(peer, lambda call: messages.Call(call, payload), answered, timeout),
        )
        return future

    def fetch_result(self, worker: str, task: int) -> bytes | None:
        """The pickled result of a task that a worker keeps, or None. Waits for it; not for the loop."""
        future = self._new_future()

        def fetched(data: dict[int, bytes], _missing: list[int]) -> None:
            if self._waiters.claim(future):
                future.settle(Ready(data.get(task)))

        self._loops.own.post(lambda: self._transfer.fetch(worker, self._name, Space.RESULT, [task], fetched))
        # Each chunk has its own deadline, and the driver's end is told, so the future always ends.
        data: bytes | None = future.result()
        return data

    def _new_future(self) -> RemoteFuture:
        future = RemoteFuture(self._loops)
        self._waiters.add(future, future.settle)
        return future


class _Reply:
    """The answer to a call that succeeded."""

    def __init__(self, peer: str, what: str, payload: bytes) -> None:
        self._peer = peer
        self._what = what
        self._payload = payload

    @cached_property
    def result(self) -> Any:
        try:
            return unpack(self._payload)
        except (Exception, SystemExit) as cause:
            text = (
                f"the call of {self._what} on {self._peer} succeeded, but its result cannot be "
                f"unpickled here ({type_name(cause)}: {safe_str(cause)}). Return plain data, or a class that is "
                "importable here."
            )
            raise TaskFailed(text, task=self._what, job="", attempts=()) from cause


def _read(peer: str, what: str, answer: Message | BndlError) -> _Reply | BndlError:
    """What an answer means for who called."""
    if isinstance(answer, BndlError):
        return answer
    if not isinstance(answer, messages.Answer):
        return InternalError(f"{peer} answered {answer!r}")
    if answer.succeeded:
        return _Reply(peer, what, answer.payload)
    failure, cause = failures.read(answer.payload)
    place = f"\n  {failure.place}" if failure.place else ""
    text = f"the call of {failure.call or what} on {peer} failed: {failure.line}{place}"
    kind: type[TaskFailed] = TaskFailed
    if failure.loading:
        text = f"{what} was not called on {peer}, because the call could not be unpickled there: {failure.line}{place}"
        kind = NotUnpicklable
    error = kind(text, task=what, job="", attempts=())
    error.__cause__ = cause
    return error
