"""Credits: what is on its way is bounded, nothing is lost or overtaken, whenever credits come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bndl.net.credits import Tally, Window
from bndl.net.fabric import Listener
from bndl.net.sending import Sending


def test_a_frame_without_a_credit_waits_in_line() -> None:
    window = Window(2)
    assert [window.send(frame) for frame in (b"a", b"b", b"c", b"d")] == [True, True, False, False]
    assert window.next() is None
    window.grant(1)
    assert (window.next(), window.next()) == (b"c", None)
    window.grant(2)
    assert (window.next(), window.next()) == (b"d", None)
    assert window.outstanding == 1


def test_nothing_overtakes_what_is_in_line() -> None:
    window = Window(1)
    window.send(b"a")
    window.send(b"b")
    window.grant(1)
    assert not window.send(b"c")
    assert window.next() == b"b"


def test_credits_of_an_earlier_session_do_not_widen_the_window() -> None:
    window = Window(3)
    window.send(b"a")
    window.grant(100)
    window.grant(-5)
    assert window.outstanding == 0
    assert [window.send(b"") for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("size", "given_back"), [(1, [1, 1, 1, 1]), (2, [1, 1, 1, 1]), (5, [0, 0, 3, 0])])
def test_credits_are_given_back_for_half_a_window(size: int, given_back: list[int]) -> None:
    tally = Tally(size)
    assert [tally.take() for _ in given_back] == given_back


class Pair:
    """A sender, a receiver, and what is on its way between them, in both directions."""

    def __init__(self, size: int) -> None:
        self.window = Window(size)
        self.tally = Tally(size)
        self.sent: list[bytes] = []
        self.way: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.back: deque[int] = deque()
        self.strays = 0

    def send(self) -> None:
        self.sent.append(b"%d" % len(self.sent))
        if self.window.send(self.sent[-1]):
            self.way.append(self.sent[-1])

    def arrive(self) -> None:
        if self.way:
            self.taken.append(self.way.popleft())
            if count := self.tally.take():
                self.back.append(count)

    def give_back(self) -> None:
        if self.back:
            self.accept(self.back.popleft())

    def stray(self) -> None:
        """A credit for something of a time before."""
        self.strays += 1
        self.accept(1)

    def accept(self, count: int) -> None:
        self.window.grant(count)
        while (frame := self.window.next()) is not None:
            self.way.append(frame)


EVENTS = (Pair.send, Pair.arrive, Pair.give_back, Pair.stray)


@given(st.integers(1, 9), st.lists(st.sampled_from(EVENTS), max_size=200))
def test_any_order_of_events(size: int, events: list[Callable[[Pair], None]]) -> None:
    pair = Pair(size)
    window = pair.window
    for event in events:
        event(pair)
        assert len(pair.way) <= size + pair.strays
        assert window.outstanding <= size
        assert not window.waiting or window.outstanding == size
        assert [*pair.taken, *pair.way, *window.waiting] == pair.sent
    while pair.way or pair.back:
        pair.arrive()
        pair.give_back()
    assert pair.taken == pair.sent


class Wire:
    """A fabric that takes notes, and lets the test act in the middle of sending."""

    name = "here"
    addresses = ()

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bool]] = []
        self.sending: Sending
        self.there: set[str]
        self.during: deque[bytes] = deque()

    def start(self, listener: Listener) -> None:
        raise NotImplementedError

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        if self.during:  # another thread sends while this one has not yet
            self.sending.send(to, self.during.popleft(), bulk=bulk)
        self.sent.append((frame, bulk))

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr("bndl.net.sending.CREDITS", 2)
    monkeypatch.setattr("bndl.net.sending.BULK_CREDITS", 1)
    wire = Wire()
    wire.there = {"x"}
    wire.sending = Sending(wire, wire.there.__contains__)
    return wire


def test_bulk_does_not_hold_up_the_rest(wire: Wire) -> None:
    for frame in (b"1", b"2"):
        wire.sending.send("x", frame, bulk=True)
    wire.sending.send("x", b"control")
    assert wire.sent == [(b"1", True), (b"control", False)]
    assert wire.sending.waiting("x") == 1
    wire.sending.granted("x", 1, bulk=False)
    assert wire.sending.waiting("x") == 1
    wire.sending.granted("x", 1, bulk=True)
    assert wire.sent[-1] == (b"2", True)


def test_who_sends_while_the_line_is_sent_gets_in_line(wire: Wire) -> None:
    for number in range(4):
        wire.sending.send("x", b"%d" % number)
    wire.during.append(b"4")
    wire.sending.granted("x", 2, bulk=False)
    wire.sending.granted("x", 2, bulk=False)
    assert [frame for frame, _ in wire.sent] == [b"0", b"1", b"2", b"3", b"4"]


def test_what_waits_for_a_peer_that_is_gone_or_begins_anew_is_void(wire: Wire) -> None:
    for number in range(4):
        wire.sending.send("x", b"%d" % number)
    wire.sending.reset("x")
    wire.sending.granted("x", 9, bulk=False)
    wire.sending.send("x", b"new")
    wire.there.clear()
    wire.sending.reset("x")
    wire.sending.send("x", b"lost")
    wire.sending.granted("x", 9, bulk=False)
    assert [frame for frame, _ in wire.sent] == [b"0", b"1", b"new"]
    assert wire.sending.waiting("x") == 0


def test_a_long_line_is_told_of(wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.net.sending._MANY", 5)
    for _ in range(20):
        wire.sending.send("x", b"")
    assert [record.message for record in caplog.records] == [
        "x takes nothing, or less than it is sent: 5 messages wait for it"
    ]


def test_a_frame_that_is_too_large_is_refused_before_it_waits(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.net.fabric.MAX_FRAME_BYTES", 3)
    for _ in range(3):
        wire.sending.send("x", b"")
    with pytest.raises(ValueError, match="over the limit of 3"):
        wire.sending.send("x", b"four")
