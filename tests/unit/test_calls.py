"""Each question has one outcome: its answer, a timeout, or that the peer is gone."""

from __future__ import annotations

import pytest

from bndl.errors import BndlError, CallTimeout, PeerLost
from bndl.net.calls import Calls
from bndl.net.memory import VirtualTime
from bndl.net.messages import Answer, Call, Message

PATIENCE = 2.0


class Asker:
    def __init__(self, *connected: str) -> None:
        self.time = VirtualTime()
        self.connected = set(connected)
        self.sent: list[tuple[str, Message]] = []
        self.outcomes: list[Message | BndlError] = []
        self.calls = Calls(
            self.time, lambda to, message: self.sent.append((to, message)), self.connected.__contains__, PATIENCE
        )

    def ask(self, peer: str, timeout: float = 10.0) -> None:
        self.calls.ask(peer, lambda call: Call(call, b"?"), self.outcomes.append, timeout)

    @property
    def questions(self) -> list[tuple[str, int]]:
        return [(to, message.call) for to, message in self.sent if isinstance(message, Call)]


def answer(call: int) -> Answer:
    return Answer(call, succeeded=True, payload=b"!")


def test_an_answer_goes_to_who_asked_and_only_once() -> None:
    asker = Asker("peer")
    asker.ask("peer")
    asker.ask("peer")
    assert asker.questions == [("peer", 1), ("peer", 2)]
    asker.calls.answer(2, "peer", answer(2))
    asker.calls.answer(2, "peer", answer(2))
    assert asker.outcomes == [answer(2)]
    assert asker.time.run(100.0)
    assert len(asker.outcomes) == 2
    assert isinstance(asker.outcomes[1], CallTimeout)


def test_a_late_answer_is_dropped() -> None:
    asker = Asker("peer")
    asker.ask("peer", timeout=3.0)
    asker.time.run_until(2.9)
    assert asker.outcomes == []
    asker.time.run_until(3.1)
    (error,) = asker.outcomes
    assert isinstance(error, CallTimeout)
    assert (error.peer, error.timeout) == ("peer", 3.0)
    asker.calls.answer(1, "peer", answer(1))
    assert asker.outcomes == [error]


def test_only_who_was_asked_can_answer() -> None:
    asker = Asker("peer", "other")
    asker.ask("peer")
    asker.calls.answer(1, "other", answer(1))
    assert asker.outcomes == []


def test_a_peer_that_is_lost_answers_nothing_any_more() -> None:
    asker = Asker("peer", "other")
    asker.ask("peer")
    asker.ask("other")
    asker.ask("peer")
    asker.calls.lose("peer")
    assert [type(outcome) for outcome in asker.outcomes] == [PeerLost, PeerLost]
    asker.calls.answer(1, "peer", answer(1))
    asker.calls.answer(2, "other", answer(2))
    assert asker.outcomes[2:] == [answer(2)]
    assert asker.time.run(100.0)
    assert len(asker.outcomes) == 3


def test_a_question_to_a_peer_that_is_not_connected_is_held_until_it_is() -> None:
    asker = Asker()
    asker.ask("peer", timeout=10.0)
    asker.ask("other", timeout=10.0)
    asker.time.run_until(1.0)
    assert asker.sent == []
    asker.connected.add("peer")
    asker.calls.send_held("peer")
    asker.calls.send_held("peer")
    assert asker.questions == [("peer", 1)]
    asker.time.run_until(10.0)
    assert [type(outcome) for outcome in asker.outcomes] == [PeerLost]
    asker.calls.answer(1, "peer", answer(1))
    assert asker.outcomes[1:] == [answer(1)]


@pytest.mark.parametrize(("timeout", "when"), [(10.0, PATIENCE), (0.5, 0.5)])
def test_a_question_is_not_held_for_long(timeout: float, when: float) -> None:
    asker = Asker()
    asker.ask("peer", timeout)
    asker.time.run_until(when - 0.1)
    assert asker.outcomes == []
    asker.time.run_until(when)
    (error,) = asker.outcomes
    assert isinstance(error, PeerLost)
    assert error.peer == "peer"
    asker.calls.send_held("peer")
    assert asker.sent == []


def test_who_is_told_may_ask_again() -> None:
    asker = Asker("peer")
    asker.calls.ask("peer", lambda call: Call(call, b"?"), lambda _: asker.ask("peer"), 1.0)
    asker.calls.lose("peer")
    assert asker.questions == [("peer", 1), ("peer", 2)]
    assert asker.outcomes == []
