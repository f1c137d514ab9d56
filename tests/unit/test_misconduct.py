"""What a peer that holds the secret sends and must not: counted in one place, logged within bounds, and refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bndl.net import messages
from bndl.net.bounds import SOME
from bndl.net.early import MOST_BYTES, MOST_GREETINGS, Early
from bndl.net.fabric import FabricEvent, Joined, Left, Listener, Received
from bndl.net.greetings import Hello, NodeInfo
from bndl.net.memory import VirtualTime
from bndl.net.messages import Message, Release, decode, encode
from bndl.net.misconduct import INTERVAL, MOST
from bndl.net.peers import Peers

VERSIONS = {"bndl": "1", "python": "3.11"}
NOISE = b"\xc1noise"


def node_info(name: str, **changes: Any) -> NodeInfo:
    return msgspec.structs.replace(NodeInfo(name, "worker", "1", VERSIONS, 1), **changes)


class Node:
    """A node whose peers are played by the test."""

    name = "here"
    addresses = ()

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.events: list[tuple[str, str]] = []
        self.messages: list[Message] = []
        self.listener: Listener
        self.peers = Peers(self.time, self, node_info("here"), self, 0.1, greets_all=True)
        self.peers.start()

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        pass

    def close(self) -> None:
        pass

    def peer_connected(self, info: NodeInfo) -> None:
        self.events.append(("connected", info.name))

    def peer_lost(self, name: str, reason: str) -> None:
        self.events.append(("lost", name))
        self.reason = reason

    def peer_refused(self, info: NodeInfo) -> None:
        self.events.append(("refused", info.name))

    def message_received(self, _sender: str, message: Message) -> None:
        self.messages.append(message)

    def tell(self, *events: FabricEvent) -> None:
        for event in events:
            self.listener(event)
        self.time.run_until(self.time.now())

    def meet(self, name: str = "there", **changes: Any) -> None:
        info = node_info(name, **changes)
        self.tell(Joined(name), Received(name, encode(Hello(info, 1, asks=False))))


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING)

    def take() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return texts

    return take


def test_noise_fills_no_log_and_its_peer_is_refused(warnings: Callable[[], list[str]]) -> None:
    node = Node()
    node.meet()
    for _ in range(10_000):
        node.tell(Received("there", NOISE))
    first, refused = warnings()
    assert first.startswith("there sent a frame of 6 bytes that is no message")
    assert refused == f"there is refused until it leaves: it sent {MOST} malformed messages"
    assert node.peers.names == []
    node.time.run_until(INTERVAL + 1)
    assert warnings() == [f"{10_000 - 1} more frames of there, which is refused, were dropped"]
    node.time.run_until(10 * INTERVAL)
    assert warnings() == []
    node.tell(Received("there", encode(Hello(node_info("there"), 2, asks=True))), Received("there", NOISE))
    assert node.events == [("connected", "there"), ("lost", "there")]
    node.tell(Left("there"))
    node.meet()
    assert node.peers.names == ["there"]


def test_a_few_malformed_frames_are_counted_and_the_peer_begins_anew(warnings: Callable[[], list[str]]) -> None:
    node = Node()
    node.meet()
    for _ in range(5):
        node.tell(Received("there", NOISE))
    assert len(warnings()) == 1
    node.time.run_until(INTERVAL + 1)
    (summary,) = warnings()
    assert "there sent 4 more malformed messages in the last 10 s" in summary
    node.tell(Received("there", encode(Hello(node_info("there"), 2, asks=False))))
    assert node.peers.names == ["there"]


def test_a_connected_peer_is_lost_with_the_reason_when_others_report_it() -> None:
    node = Node()
    node.meet()
    for _ in range(MOST):
        node.peers.report("there", "an answer that does not fit")
    assert node.events == [("connected", "there"), ("lost", "there")]
    assert node.reason == f"it sent {MOST} malformed messages"
    node.tell(Received("there", encode(Release([1]))))
    assert node.messages == []


def test_invented_names_share_one_account(warnings: Callable[[], list[str]]) -> None:
    node = Node()
    node.meet()
    for number in range(20_000):
        node.tell(Received(f"invented-{number}", NOISE))
    node.time.run_until(INTERVAL + 1)
    assert len(warnings()) == 2
    assert len(node.peers._misconduct._accounts) == 1  # noqa: SLF001 - a bound on memory
    assert node.peers.names == ["there"]


def test_peers_that_leave_and_come_back_do_not_fill_the_log(warnings: Callable[[], list[str]]) -> None:
    node = Node()
    for _ in range(1000):
        node.tell(Joined("there"), Received("there", NOISE), Left("there"))
    assert len(warnings()) <= 10
    for number in range(100):
        node.tell(Joined(f"n{number}"), *[Received(f"n{number}", NOISE)] * 3)
    node.time.run_until(INTERVAL + 1)
    lines = warnings()
    assert len(lines) <= 11
    assert lines[-1].startswith("90 other peers sent 270 malformed messages")


@pytest.mark.parametrize(
    "changes",
    [{"name": "another"}, {"node_type": "observer"}, {"node_type": ""}],
    ids=["another name", "another type", "no type"],
)
def test_a_greeting_that_cannot_be_is_reported(changes: dict[str, str], warnings: Callable[[], list[str]]) -> None:
    node = Node()
    info = msgspec.structs.replace(node_info("there"), **changes)
    node.tell(Joined("there"), Received("there", encode(Hello(info, 1, asks=False))))
    assert node.peers.names == []
    (line,) = warnings()
    assert line.startswith("there sent a greeting of the ")


# Greetings of nodes that are not there


def test_greetings_of_nodes_that_never_announce_themselves_are_bounded() -> None:
    node = Node()
    for number in range(3 * MOST_GREETINGS):
        node.tell(Received(f"n{number}", encode(Hello(node_info(f"n{number}"), 1, asks=True))))
    early = node.peers._early  # noqa: SLF001 - a bound on memory
    assert len(early) == MOST_GREETINGS
    node.tell(Joined(f"n{3 * MOST_GREETINGS - 1}"))
    assert len(early) == MOST_GREETINGS - 1


def test_large_early_greetings_are_bounded_by_their_bytes() -> None:
    early = Early()
    hello = Hello(node_info("n"), 1, asks=True)
    for number in range(20):
        early.put(str(number), hello, MOST_BYTES // 4)
    assert len(early) == 4
    early.put("whole", hello, MOST_BYTES + 1)
    assert len(early) == 0
    early.put("small", hello, 1)
    assert early.take("small") == hello
    assert early.take("small") is None


def test_names_that_are_wanted_or_were_there_are_bounded() -> None:
    node = Node()
    for number in range(35_000):
        node.peers.reach(f"wanted-{number}")
        node.tell(Joined(f"n{number}"), Left(f"n{number}"))
    assert len(node.peers._wanted) <= 10_000  # noqa: SLF001 - a bound on memory
    assert len(node.peers._sessions) <= 20_001  # noqa: SLF001 - a bound on memory
    # What was there last is remembered: it is greeted as one that comes back.
    assert "n34999" in node.peers._sessions  # noqa: SLF001 - as above


# What the decoder refuses


def frame_of(shape: object) -> bytes:
    return msgspec.msgpack.encode(shape)


RESULT = [5, 1, 0, 1.0]


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param([7, [[-1, 1, 0, 1.0]]], id="negative task"),
        pytest.param([7, [[1 << 63, 1, 0, 1.0]]], id="huge task"),
        pytest.param([7, [[5, -1, 0, 1.0]]], id="negative attempt"),
        pytest.param([7, [[5, 1, 4, 1.0]]], id="unknown kind"),
        pytest.param([7, [[5, 1, 0, -1.0]]], id="negative seconds"),
        pytest.param([7, [[5, 1, 0, math.inf]]], id="infinite seconds"),
        pytest.param([7, [[5, 1, 0, math.nan]]], id="no seconds"),
        pytest.param([7, [[5, 1, 0, 1.0, b"", True, -1]]], id="negative size"),
        pytest.param([8, [[-1, 1]]], id="returned negative"),
        pytest.param([9, 1, "d", 0, [1], -1, 10], id="negative offset"),
        pytest.param([9, 1, "d", 0, [1], 0, -1], id="negative limit"),
        pytest.param([9, 1, "d" * 2000, 0, [1], 0, 1], id="long name"),
        pytest.param([10, 1, [[1, -2, b""]]], id="fetched negative"),
        pytest.param([0, ["n", "worker", "1", {}, -1], 1, True], id="negative concurrency"),
        pytest.param([0, ["n", "worker", "1", {}, 1 << 40], 1, True], id="huge concurrency"),
        pytest.param([0, ["n", "worker", "1", {str(n): "" for n in range(200)}], 1, True], id="many versions"),
        pytest.param([2, 1, [[5, 1, b"", [], -1.0]]], id="negative timeout"),
    ],
)
def test_what_no_honest_node_sends_is_no_message(shape: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(frame_of(shape))


def test_the_shapes_above_are_refused_for_what_is_wrong_with_them() -> None:
    for shape in ([7, [RESULT]], [8, [[1, 1]]], [9, 1, "d", 0, [1], 0, 10], [10, 1, [[1, -1, b""]]]):
        assert decode(frame_of(shape))
    assert decode(encode(messages.Launch(1, [messages.Attempt(5, 1, b"x", timeout=math.inf)])))


def test_a_list_that_is_too_long_is_refused_before_its_items_are_read() -> None:
    count = 2 * SOME
    head = b"\x92\x07\xdd" + count.to_bytes(4, "big")
    with pytest.raises(msgspec.DecodeError, match="length"):
        decode(head + b"\x94\x05\x01\x00\xca\x00\x00\x00\x00" * count)
    with pytest.raises(msgspec.DecodeError, match="length"):
        decode(head)  # nothing of it is there
