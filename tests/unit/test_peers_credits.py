"""Peers on a network with faults: what they send is never stuck for want of credits, whatever was lost before."""

from __future__ import annotations

import random

import pytest

from bndl.net.credits import BULK_CREDITS, CREDITS
from bndl.net.memory import MemoryNetwork, VirtualTime
from bndl.net.messages import Message, NodeInfo, Release
from bndl.net.peers import Peers
from bndl.testing.nodes import NodeLoop, TracedFabric

LEASE = 1.0
NAMES = ("a", "b")


class Node:
    """A node that takes notes of what it hears, and how much was on its way to others."""

    def __init__(self, name: str, time: VirtualTime, network: MemoryNetwork) -> None:
        self.heard: list[int] = []
        self.sent: list[str] = []
        self.loop = NodeLoop(time)
        fabric = TracedFabric(network.fabric(name), lambda _sender, _to, kind, _size: self.sent.append(kind))
        info = NodeInfo(name, "worker", name, {"python": "3"})
        self.peers = Peers(self.loop, fabric, info, self, 0.1, greets_all=True)
        self.peers.start()

    def peer_connected(self, info: NodeInfo) -> None:
        """Nothing."""

    def peer_lost(self, name: str, reason: str) -> None:
        """Nothing."""

    def peer_refused(self, info: NodeInfo) -> None:
        """Nothing."""

    def message_received(self, _sender: str, message: Message) -> None:
        assert isinstance(message, Release)
        self.heard.append(message.tasks[0])


class Pair:
    """Two nodes."""

    def __init__(self, seed: int) -> None:
        self.time = VirtualTime()
        self.network = MemoryNetwork(self.time, seed, lease=LEASE)
        self.nodes = {name: Node(name, self.time, self.network) for name in NAMES}
        self.wait_connected()

    def wait_connected(self) -> None:
        self.time.run_until(lambda: all(node.peers.names for node in self.nodes.values()), 60.0)

    def send(self, sender: str, number: int, *, bulk: bool) -> None:
        (to,) = set(NAMES) - {sender}
        self.nodes[sender].peers.send(to, Release([number]), bulk=bulk)

    def sleep(self, seconds: float) -> None:
        self.time.run_until(self.time.now() + seconds)

    def freeze(self, name: str) -> None:
        self.nodes[name].loop.freeze()
        self.network.freeze(name)

    def thaw(self, name: str) -> None:
        self.nodes[name].loop.thaw()
        self.network.thaw(name)


@pytest.mark.parametrize("bulk", [False, True])
def test_no_more_is_sent_than_is_taken(*, bulk: bool) -> None:
    pair = Pair(1)
    pair.sleep(0.5)
    pair.nodes["b"].loop.freeze()  # like a task that holds the interpreter: the network goes on
    for number in range(1000):
        pair.send("a", number, bulk=bulk)
    pair.sleep(5 * LEASE)
    assert pair.nodes["a"].sent.count("Release") == (BULK_CREDITS if bulk else CREDITS)
    pair.nodes["b"].loop.thaw()
    pair.sleep(1.0)
    assert pair.nodes["b"].heard == list(range(1000))
    assert pair.nodes["b"].sent.count("Credit") <= 1000 // ((BULK_CREDITS if bulk else CREDITS) // 2)


@pytest.mark.parametrize("seed", range(200))
def test_no_credit_is_lost_with_what_else_is_lost(seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    pair = Pair(seed)
    faults = [
        lambda: pair.freeze("a"),
        lambda: pair.freeze("b"),
        lambda: pair.network.cut({"a"}),
        pair.nodes["a"].loop.freeze,
    ]
    for _ in range(generator.randrange(1, 6)):
        generator.choice(faults)()
        for _ in range(generator.randrange(1, 20)):
            for _ in range(generator.randrange(1, 100)):
                pair.send(generator.choice(NAMES), -1, bulk=generator.random() < 0.5)
            pair.sleep(generator.uniform(0.0, 0.3 * LEASE))
        pair.network.heal()
        for name in NAMES:
            pair.thaw(name)
        for _ in range(generator.randrange(1, 100)):
            pair.send(generator.choice(NAMES), -1, bulk=generator.random() < 0.5)
        pair.sleep(generator.uniform(0.0, 3 * LEASE))
    pair.sleep(20 * LEASE)
    pair.wait_connected()
    for bulk in (False, True):
        for node in pair.nodes.values():
            node.heard.clear()
        for number in range(3 * CREDITS):
            for name in NAMES:
                pair.send(name, number, bulk=bulk)
        pair.sleep(2.0)
        assert [node.heard for node in pair.nodes.values()] == [list(range(3 * CREDITS))] * 2
