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


class _Open:
    """A question that is not answered yet."""

    __slots__ = ("on_answer", "peer", "question", "sent", "timeout", "timer")

    def __init__(self, peer: str, question: Callable[[int], Message], on_answer: OnAnswer, timeout: float) -> None:
        self.peer = peer
        self.question = question
        self.on_answer = on_answer
        self.timeout = timeout
        self.sent = False
        self.timer: Timer


class Calls:
    """The questions of one node that are not answered yet. To be used on the node's loop only.

    A question to a peer that is not connected is held until it is: the two may not have met yet, although somebody
    else knows both, and what is sent before they have is dropped.

    Args:
        loop: for deadlines.
        send: sends a message to a node.
        reach: whether a node can be talked to; if not, it sees to it that the two meet.
        patience: for how many seconds a question is held at most.
    """

    def __init__(
        self, loop: Loop, send: Callable[[str, Message], None], reach: Callable[[str], bool], patience: float
    ) -> None:
        self._loop = loop
        self._send = send
        self._reach = reach
        self._patience = patience
        self._numbers = count(1)
        self._open: dict[int, _Open] = {}

    def ask(self, peer: str, question: Callable[[int], Message], on_answer: OnAnswer, timeout: float) -> int:
        """Send a question. Returns the number of the call.

        Args:
            peer: whom to ask.
            question: makes the message, given the number of the call.
            on_answer: called on the loop with the answer, or with ``PeerLost`` or ``CallTimeout``.
            timeout: seconds that the answer may take.
        """
        number = next(self._numbers)
        call = self._open[number] = _Open(peer, question, on_answer, timeout)
        if self._reach(peer):
            self._send_now(number, call)
        else:
            call.timer = self._loop.call_later(min(self._patience, timeout), lambda: self._expire(number))
        return number

    def withdraw(self, number: int) -> None:
        """Nobody waits for an answer any more, nor is to be told that there is none."""
        call = self._open.pop(number, None)
        if call is not None:
            call.timer.cancel()

    def send_held(self, peer: str) -> None:
        """A peer is connected: it can be asked now."""
        for number, call in list(self._open.items()):
            if call.peer == peer and not call.sent:
                call.timer.cancel()
                self._send_now(number, call)

    def answer(self, number: int, sender: str, message: Message) -> None:
        """An answer came. One that nobody waits for any more is dropped."""
        call = self._open.get(number)
        if call is None or call.peer != sender:
            return
        del self._open[number]
        call.timer.cancel()
        call.on_answer(message)

    def lose(self, peer: str) -> None:
        """A peer is gone: it answers nothing any more."""
        lost = [number for number, call in self._open.items() if call.peer == peer]
        for number in lost:
            call = self._open.pop(number)
            call.timer.cancel()
            text = f"{peer} left before it answered. Look for the reason in its log."
            call.on_answer(PeerLost(text, peer=peer))

    def _send_now(self, number: int, call: _Open) -> None:
        call.sent = True
        call.timer = self._loop.call_later(call.timeout, lambda: self._expire(number))
        self._send(call.peer, call.question(number))

    def _expire(self, number: int) -> None:
        call = self._open.pop(number, None)
        if call is None:
            return
        if call.sent:
            text = f"{call.peer} did not answer within {call.timeout:g} s. It may be stopped, cut off or overloaded."
            call.on_answer(CallTimeout(text, peer=call.peer, timeout=call.timeout))
        else:
            text = f"{call.peer} was not connected within {self._patience:g} s. It may be gone, stopped or cut off."
            call.on_answer(PeerLost(text, peer=call.peer))
