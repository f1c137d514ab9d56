"""Questions that are answered: each has a number, a deadline, and one outcome."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from bndl.errors import BndlError, CallTimeout, PeerLost
from bndl.loop import Loop, Timer
from bndl.net.messages import Message

__all__ = ["Calls"]

#: Called once, with the answer or with why there is none.
OnAnswer = Callable[[Message | BndlError], None]


class Calls:
    """The questions of one node that are not answered yet. To be used on the node's loop only.

    Args:
        loop: for deadlines.
        send: sends a message to a node.
    """

    def __init__(self, loop: Loop, send: Callable[[str, Message], None]) -> None:
        self._loop = loop
        self._send = send
        self._numbers = count(1)
        self._open: dict[int, tuple[str, OnAnswer, Timer]] = {}

    def ask(self, peer: str, question: Callable[[int], Message], on_answer: OnAnswer, timeout: float) -> None:
        """Send a question.

        Args:
            peer: whom to ask.
            question: makes the message, given the number of the call.
            on_answer: called on the loop with the answer, or with ``PeerLost`` or ``CallTimeout``.
            timeout: seconds.
        """
        number = next(self._numbers)
        timer = self._loop.call_later(timeout, lambda: self._expire(number, timeout))
        self._open[number] = (peer, on_answer, timer)
        self._send(peer, question(number))

    def answer(self, number: int, sender: str, message: Message) -> None:
        """An answer came. One that nobody waits for any more is dropped."""
        call = self._open.get(number)
        if call is None or call[0] != sender:
            return
        del self._open[number]
        call[2].cancel()
        call[1](message)

    def lose(self, peer: str) -> None:
        """A peer is gone: it answers nothing any more."""
        for number in [number for number, call in self._open.items() if call[0] == peer]:
            _, on_answer, timer = self._open.pop(number)
            timer.cancel()
            on_answer(PeerLost(f"{peer} left before it answered. Look for the reason in its log.", peer=peer))

    def _expire(self, number: int, timeout: float) -> None:
        call = self._open.pop(number, None)
        if call is not None:
            text = f"{call[0]} did not answer within {timeout:g} s. It may be stopped, cut off or overloaded."
            call[1](CallTimeout(text, peer=call[0], timeout=timeout))
