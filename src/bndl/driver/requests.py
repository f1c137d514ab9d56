"""Questions of user threads to single nodes: calls of functions, and results that stayed on workers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bndl.driver.waiters import Waiters
from bndl.errors import BndlError, InternalError, TaskFailed
from bndl.execute import failures
from bndl.execute.payloads import Packer, unpack
from bndl.execute.transfer import Transfer
from bndl.loop import Loop
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.messages import Message, Space

__all__ = ["Requests"]


class Requests:
    """Asks nodes, and answers through futures. Thread-safe.

    Args:
        loop: the driver's.
        waiters: are told if the driver ends.
        calls: the driver's open questions.
        transfer: fetches.
        name: the driver's name.
    """

    def __init__(self, loop: Loop, waiters: Waiters, calls: Calls, transfer: Transfer, name: str) -> None:
        self._loop = loop
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
        payload = Packer().pack((function, args, kwargs), f"the call of {function!r}")
        future = self._new_future()

        def answered(answer: Message | BndlError) -> None:
            if not self._waiters.claim(future):
                return
            if isinstance(answer, messages.Answer):
                self._resolve(future, peer, function, answer)
            else:
                _fail(future, answer if isinstance(answer, BndlError) else InternalError(f"{peer} answered {answer!r}"))

        self._loop.post(
            lambda: self._calls.ask(peer, lambda call: messages.Call(call, payload), answered, timeout),
        )
        return future

    def fetch_result(self, worker: str, task: int) -> bytes | None:
        """The pickled result of a task that a worker keeps, or None. Waits for it; not for the loop."""
        future = self._new_future()

        def fetched(data: dict[int, bytes], _missing: list[int]) -> None:
            if self._waiters.claim(future):
                future.set_result(data.get(task))

        self._loop.post(lambda: self._transfer.fetch(worker, self._name, Space.RESULT, [task], fetched))
        # Each chunk has its own deadline, and the driver's end is told, so the future always ends.
        data: bytes | None = future.result()
        return data

    def _new_future(self) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiters.add(future, lambda error: _fail(future, error))
        return future

    def _resolve(self, future: Future[Any], peer: str, function: object, answer: messages.Answer) -> None:
        if not answer.succeeded:
            failure, cause = failures.rebuild(answer.payload)
            text = f"the call of {function!r} on {peer} failed: {failure.line}\n\n{failure.trace}"
            error = TaskFailed(text, task=repr(function), job="", attempts=())
            error.__cause__ = cause
            _fail(future, error)
            return
        try:
            value = unpack(answer.payload)
        except BaseException as cause:  # noqa: BLE001 - the user's classes, which must not end the loop
            text = (
                f"the call of {function!r} on {peer} succeeded, but its result cannot be unpickled here "
                f"({type(cause).__name__}: {cause}). Return plain data, or a class that is importable here."
            )
            error = TaskFailed(text, task=repr(function), job="", attempts=())
            error.__cause__ = cause
            _fail(future, error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(value)


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
