"""Greetings: until they are answered, with a session each time that two nodes begin anew."""

from __future__ import annotations

import pytest

from bndl.net.credits import CREDITS, Credit
from bndl.net.fabric import FabricEvent, Joined, Left, Listener, Received
from bndl.net.memory import MemoryNetwork, VirtualTime
from bndl.net.messages import Hello, Message, NodeInfo, Release, decode, encode
from bndl.net.peers import Peers

INTERVAL = 0.1
LEASE = 2.0
VERSIONS = {"bndl": "1", "python": "3.11"}


def node_info(name: str, incarnation: str = "1", versions: dict[str, str] | None = None) -> NodeInfo:
    return NodeInfo(name, "worker", incarnation, versions or VERSIONS, 1)


class Heard:
    """A listener that takes notes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.messages: list[tuple[str, Message]] = []

    def peer_connected(self, info: NodeInfo) -> None:
        self.events.append(("connected", info.name))

    def peer_lost(self, name: str, _reason: str) -> None:
        self.events.append(("lost", name))

    def peer_refused(self, info: NodeInfo) -> None:
        self.events.append(("refused", info.name))

    def message_received(self, sender: str, message: Message) -> None:
        self.messages.append((sender, message))


class Wire:
    """A fabric that only takes notes of what is sent."""

    name = "here"
    addresses = ()

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.listener: Listener | None = None

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        assert not bulk
        self.sent.append((to, decode(frame)))

    def close(self) -> None:
        pass


class Node:
    """One side, with the other one played by the test."""

    def __init__(self, *, greets_all: bool = True) -> None:
        self.time = VirtualTime()
        self.wire = Wire()
        self.heard = Heard()
        self.peers = Peers(self.time, self.wire, node_info("here"), self.heard, INTERVAL, greets_all=greets_all)
        self.peers.start()

    def tell(self, *events: FabricEvent) -> None:
        assert self.wire.listener is not None
        for event in events:
            self.wire.listener(event)
        self.time.run_until(self.time.now())

    def hellos(self) -> list[tuple[int, bool]]:
        """(session, asks) of what was sent since the last call."""
        sent, self.wire.sent = self.wire.sent, []
        return [(message.session, message.asks) for _, message in sent if isinstance(message, Hello)]


def hello(
    session: int = 1, *, asks: bool, incarnation: str = "1", versions: dict[str, str] | None = None, name: str = "there"
) -> Received:
    return Received("there", encode(Hello(node_info(name, incarnation, versions), session, asks)))


def connected_node() -> Node:
    node = Node()
    node.tell(Joined("there"), hello(asks=True), hello(asks=False))
    assert node.heard.events == [("connected", "there")]
    node.hellos()
    return node


def test_a_node_is_greeted_until_it_answers_each_time_a_little_later() -> None:
    node = Node()
    node.tell(Joined("there"))
    node.time.run_until(1.05)
    assert node.hellos() == [(1, True)] * 5  # at 0.0, 0.1, 0.3, 0.6 and 1.0
    assert node.peers.names == []
    node.tell(hello(asks=False))
    assert node.peers.names == ["there"]
    assert node.peers.is_connected("there")
    node.time.run_until(100.0)
    assert node.hellos() == []


def test_a_node_that_never_answers_is_not_forgotten_and_not_flooded() -> None:
    node = Node()
    node.tell(Joined("there"))
    node.time.run_until(1000.0)
    assert 150 < len(node.hellos()) < 300
    node.tell(Left("there"))
    node.time.run_until(2000.0)
    assert node.hellos() == []
    assert node.heard.events == []


def test_a_greeting_is_answered_but_does_not_connect() -> None:
    node = Node()
    node.tell(Joined("there"))
    node.hellos()
    node.tell(hello(asks=True))
    assert node.hellos() == [(1, False)]
    assert node.peers.names == []


def test_a_greeting_may_come_before_the_announcement() -> None:
    node = Node()
    node.tell(hello(asks=True))
    assert node.hellos() == []
    node.tell(Joined("there"))
    assert node.hellos() == [(1, True), (1, False)]


def test_an_early_greeting_does_not_outlive_its_node() -> None:
    node = Node()
    node.tell(hello(asks=True), Left("there"), Joined("there"))
    assert node.hellos() == [(1, True)]


def test_a_greeting_in_the_name_of_another_node_is_ignored() -> None:
    node = Node()
    node.tell(Joined("there"), hello(asks=False, name="elsewhere"))
    assert node.peers.names == []


MESSAGE = Received("there", encode(Release([1])))


def test_messages_are_heard_from_those_who_greeted() -> None:
    node = Node()
    node.tell(MESSAGE, Joined("there"), MESSAGE)
    assert node.heard.messages == []
    node.tell(hello(asks=True), MESSAGE)
    assert node.heard.messages == [("there", Release([1]))]


def test_who_sends_messages_has_heard_us_and_is_lost_some_day() -> None:
    node = Node()
    node.tell(Joined("there"), hello(asks=True))
    assert node.heard.events == []
    node.tell(MESSAGE)
    assert node.heard.events == [("connected", "there")]
    node.tell(hello(asks=False), Left("there"))
    assert node.heard.events[1:] == [("lost", "there")]


def test_a_process_of_the_right_version_is_heard_after_one_of_another_version() -> None:
    node = Node()
    node.tell(Joined("there"), hello(asks=True, versions={"bndl": "2"}))
    node.tell(hello(asks=True, incarnation="2"), hello(asks=False, incarnation="2"), MESSAGE)
    assert node.heard.events == [("refused", "there"), ("connected", "there")]
    assert node.heard.messages == [("there", Release([1]))]


def test_what_came_on_the_other_way_says_nothing_of_whether_we_were_heard() -> None:
    node = connected_node()
    late = Received("there", MESSAGE.frame, bulk=True)
    node.tell(hello(asks=True, incarnation="2"), late)
    assert node.heard.events[1:] == [("lost", "there")]
    assert node.heard.messages == []
    node.tell(hello(asks=False, incarnation="2"), late)
    assert node.heard.messages == [("there", Release([1]))]


def test_messages_of_a_process_of_another_version_are_not_heard() -> None:
    node = connected_node()
    node.tell(hello(asks=True, incarnation="2", versions={"bndl": "2"}), MESSAGE)
    assert node.heard.messages == []


def test_a_peer_that_leaves_is_lost_and_begins_with_a_new_session() -> None:
    node = connected_node()
    node.tell(Left("there"), Joined("there"), Joined("there"))
    assert node.heard.events[1:] == [("lost", "there")]
    assert node.hellos() == [(2, True)]
    node.tell(hello(2, asks=False))
    assert node.heard.events[2:] == [("connected", "there")]


@pytest.mark.parametrize("anew", [hello(2, asks=True), hello(1, asks=True, incarnation="2")])
def test_a_peer_that_began_anew_is_lost_first(anew: Received) -> None:
    node = connected_node()
    node.tell(anew)
    assert node.heard.events[1:] == [("lost", "there")]
    assert sorted(node.hellos()) == [(1, False), (1, True)]
    again = decode(anew.frame)
    assert isinstance(again, Hello)
    node.tell(Received("there", encode(Hello(again.info, again.session, asks=False))))
    assert node.heard.events[2:] == [("connected", "there")]


def test_two_processes_that_answer_to_one_name_are_not_greeted_more_and_more() -> None:
    node = Node()
    node.tell(Joined("there"))
    for _ in range(10):
        greetings = [asks for _, asks in node.hellos() if asks]
        assert len(greetings) <= 2
        for _ in greetings:
            node.tell(hello(asks=False, incarnation="1"), hello(asks=False, incarnation="2"))
    assert node.heard.events[-1] == ("connected", "there")


NO_MESSAGE = Received("there", b"nothing")


def test_a_peer_that_sends_what_is_no_message_is_lost_and_both_begin_anew() -> None:
    node = connected_node()
    node.tell(NO_MESSAGE)
    assert node.heard.events[1:] == [("lost", "there")]
    assert node.hellos() == [(2, True)]
    node.tell(NO_MESSAGE)
    assert node.hellos() == []
    node.tell(hello(asks=True), hello(asks=False))
    assert node.heard.events[2:] == [("connected", "there")]


def test_what_is_no_message_is_ignored_from_those_who_are_no_peers() -> None:
    node = Node()
    node.tell(NO_MESSAGE, Joined("there"), NO_MESSAGE)
    assert node.heard.events == []
    assert node.hellos() == [(1, True)]


def test_a_node_of_another_version_is_refused_once_and_told_why() -> None:
    node = Node()
    node.tell(Joined("there"))
    node.hellos()
    other = hello(asks=True, versions={"bndl": "2"})
    node.tell(other, other)
    assert node.heard.events == [("refused", "there")]
    assert node.hellos() == [(1, False)]
    node.time.run_until(100.0)
    assert node.hellos() == []
    node.tell(Received("there", encode(Release([1]))))
    assert node.heard.messages == []


def test_a_peer_whose_new_process_has_another_version_is_lost() -> None:
    node = connected_node()
    node.tell(hello(asks=True, incarnation="2", versions={"bndl": "2"}))
    assert node.heard.events[1:] == [("lost", "there"), ("refused", "there")]
    assert node.peers.names == []


def test_a_worker_greets_whom_it_is_to_reach() -> None:
    node = Node(greets_all=False)
    node.tell(Joined("there"))
    assert node.hellos() == []
    assert node.peers.seen == ["there"]
    assert not node.peers.reach("there")
    assert not node.peers.reach("there")
    assert node.hellos() == [(1, True)]
    node.tell(hello(asks=False))
    assert node.peers.reach("there")


def test_a_worker_greets_whom_it_is_to_reach_when_that_is_announced() -> None:
    node = Node(greets_all=False)
    assert not node.peers.reach("there")
    assert node.hellos() == []
    node.tell(Joined("there"))
    assert node.hellos() == [(1, True)]


def test_a_worker_greets_who_greeted_it() -> None:
    node = Node(greets_all=False)
    node.tell(Joined("there"), hello(asks=True))
    assert node.hellos() == [(1, False), (1, True)]
    node.tell(hello(asks=True), hello(asks=False))
    assert node.hellos() == [(1, False)]
    assert node.heard.events == [("connected", "there")]


def test_a_worker_greets_whom_it_finds_again() -> None:
    node = Node(greets_all=False)
    node.tell(Joined("there"), Left("there"), Joined("there"))
    assert node.hellos() == [(2, True)]


def send_many(node: Node, count: int = 2 * CREDITS) -> int:
    """Send messages to the other side; returns how many went out."""
    for _ in range(count):
        node.peers.send("there", Release([1]))
    sent, node.wire.sent = node.wire.sent, []
    return sum(isinstance(message, Release) for _, message in sent)


def hear_many(node: Node, count: int) -> list[Message]:
    """Hear messages of the other side; returns the credits that are given back."""
    node.wire.sent = []
    node.tell(*[Received("there", encode(Release([1])))] * count)
    return [message for _, message in node.wire.sent]


def test_no_more_is_sent_than_there_are_credits_for_and_greetings_are_free() -> None:
    node = connected_node()
    assert send_many(node) == CREDITS
    assert node.peers.is_waiting(["nobody", "there"])
    node.tell(hello(asks=True))
    assert node.hellos() == [(1, False)]
    node.tell(Received("there", encode(Credit(10, bulk=False))))
    assert send_many(node, 0) == 10


@pytest.mark.parametrize(
    "anew",
    [[hello(2, asks=True)], [hello(1, asks=True, incarnation="2")], [NO_MESSAGE], [Left("there"), Joined("there")]],
)
def test_who_begins_anew_has_all_credits_and_what_waited_is_void(anew: list[FabricEvent]) -> None:
    node = connected_node()
    send_many(node)
    node.tell(*anew)
    assert not node.peers.is_waiting(["there"])
    assert send_many(node) == CREDITS


def test_credits_are_given_back_for_what_was_taken_also_of_an_earlier_session() -> None:
    node = connected_node()
    half = CREDITS // 2
    assert hear_many(node, half - 1) == []
    assert hear_many(node, 1) == [Credit(half, bulk=False)]
    assert hear_many(node, half - 1) == []
    # The other side began anew before it sent some of these: it does not know when its greeting is read.
    node.tell(hello(2, asks=True))
    assert hear_many(node, 1) == [Credit(half, bulk=False)]


def test_nothing_is_given_back_to_who_is_not_there() -> None:
    node = Node()
    assert hear_many(node, CREDITS) == []
    node.tell(Joined("there"))
    assert hear_many(node, CREDITS // 2) == [Credit(CREDITS // 2, bulk=False)]  # nor is it heard
    assert node.heard.messages == []


@pytest.mark.parametrize("greets_all", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_both_sides_begin_anew_after_a_cut_whoever_noticed(seed: int, *, greets_all: bool) -> None:
    time = VirtualTime()
    network = MemoryNetwork(time, seed, lease=LEASE)
    heard = {name: Heard() for name in ("a", "b")}
    peers = {
        name: Peers(time, network.fabric(name), node_info(name), heard[name], INTERVAL, greets_all=greets_all)
        for name in heard
    }
    for each in peers.values():
        each.start()
    time.run(1.0)
    assert peers["a"].reach("b") == greets_all
    time.run(1.0)
    network.cut({"a"})
    time.run_until(time.now() + (0.5 + seed % 4) * LEASE)
    network.heal()
    time.run(10.0)
    assert (peers["a"].names, peers["b"].names) == (["b"], ["a"])
    kinds = {name: [kind for kind, _ in each.events] for name, each in heard.items()}
    assert kinds["a"] in (["connected"], ["connected", "lost", "connected"])
    assert kinds["a"] == kinds["b"]
