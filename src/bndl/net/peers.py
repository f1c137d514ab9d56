"""Who is there, and can be talked to.

A fabric says that a node announced itself. That is not yet a peer: a frame sent to it may still be dropped, it may run
another version, or it may be the same name with another process behind it. So nodes greet each other, again and again
until answered. A peer is connected once it answered a greeting of ours, or sends anything else after its own: then it
did hear us.

A driver greets all nodes. A worker greets who greeted it, and the workers that it is to ask for something: if all
workers greeted all others, a thousand of them would begin with two million messages, most for nothing. It also greets
whom it finds again after it had lost it, because the other side may not have noticed.

::

    Joined(x) --> Hello(asks) ~~~> x
                  Hello       <~~~ x   --> connected(x)
    Left(x), a Hello with another incarnation or session, or a malformed frame --> lost(x)

The session of a greeting counts how often we began anew with a peer. When one side lost the other and finds it again,
its next greeting has a new session, and the other side forgets what was between them, even if it never noticed.

What is sent to a peer costs credits, which the peer gives back: see ``net.credits``. Greetings and credits are free.

A peer may send anything. Malformed frames, and messages that others find to make no sense, are reported to
``net.misconduct``, which refuses a peer that goes on with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from bndl.loop import Loop
from bndl.net.credits import BULK_CREDITS, CREDITS, Credit, Tally
from bndl.net.early import Early
from bndl.net.fabric import Fabric, FabricEvent, Joined, Left, Received
from bndl.net.messages import Hello, Message, NodeInfo, decode, encode
from bndl.net.misconduct import STRANGERS, Misconduct
from bndl.net.sending import Sending

__all__ = ["PeerListener", "Peers", "own_versions"]

#: The types of nodes.
_NODE_TYPES = frozenset({"driver", "worker"})
#: Of how many nodes that are not there it is remembered that they were, or that they are to be greeted.
_MOST_ABSENT = 10_000


def own_versions(bndl_version: str) -> dict[str, str]:
    """What must be the same on both sides: functions travel as the bytecode of one Python."""
    return {"bndl": bndl_version, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


class PeerListener(Protocol):
    """What a node does when its peers change or speak. All is called on the node's loop."""

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer can be talked to; nothing was between us."""

    def peer_lost(self, name: str, reason: str) -> None:
        """A connected peer is gone, or began anew."""

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions. It is never connected."""

    def message_received(self, sender: str, message: Message) -> None:
        """A connected peer sent something."""


class _Node:
    """A node that announced itself."""

    __slots__ = ("connected", "greeted", "info", "refused", "session")

    def __init__(self) -> None:
        #: Whether it answered a greeting of ours.
        self.connected = False
        #: Whether it runs other versions, and so is never connected.
        self.refused = False
        #: What it said of itself; None before its first greeting.
        self.info: NodeInfo | None = None
        #: The session of its greetings.
        self.session = 0
        #: How often we greeted it.
        self.greeted = 0


class Peers:
    """The nodes of a cluster as one of them sees them.

    Args:
        loop: everything happens on it.
        fabric: carries the greetings. ``start`` puts it on the air.
        info: what this node says of itself.
        listener: hears of changes and messages.
        interval: seconds until an unanswered greeting is repeated.
        greets_all: whether to greet every node that comes.
    """

    def __init__(
        self,
        loop: Loop,
        fabric: Fabric,
        info: NodeInfo,
        listener: PeerListener,
        interval: float,
        *,
        greets_all: bool,
    ) -> None:
        self._loop = loop
        self._fabric = fabric
        self._info = info
        self._listener = listener
        self._interval = interval
        self._greets_all = greets_all
        #: Those that are to be greeted when they are announced, the oldest wish first.
        self._wanted: dict[str, None] = {}
        self._nodes: dict[str, _Node] = {}
        self._sending = Sending(fabric, self._nodes.__contains__)
        #: What was taken of each node that announced itself, and of its bulk frames. It outlives sessions, so that
        #: nothing that was taken goes uncounted; the other side has all credits when it begins anew.
        self._taken: dict[tuple[str, bool], Tally] = {}
        #: How often we began anew with each node, those that were there last at the end.
        self._sessions: dict[str, int] = {}
        self._early = Early()
        self._misconduct = Misconduct(loop, self._ban)
        self._handlers: dict[type, Callable[..., None]] = {
            Received: self._on_received,
            Joined: self._on_joined,
            Left: self._on_left,
        }

    def start(self) -> None:
        """Go on the air."""
        self._fabric.start(lambda event: self._loop.run_or_post(self.handle, event))

    def handle(self, event: FabricEvent) -> None:
        """Take note of what the fabric says."""
        self._handlers[type(event)](event)

    def send(self, to: str, message: Message, *, bulk: bool = False) -> None:
        """Send a message to a node. Thread-safe. Lost in silence if the node is.

        It waits in line while too much is on its way there: see ``net.credits``.
        """
        self._sending.send(to, encode(message), bulk=bulk)

    def is_waiting(self, names: Iterable[str]) -> bool:
        """Whether messages to some of these nodes wait for the nodes to take others. Thread-safe."""
        return any(self._sending.waiting(name) for name in names)

    @property
    def names(self) -> list[str]:
        """The connected peers, in the order of their names. Thread-safe."""
        return sorted(name for name, node in list(self._nodes.items()) if node.connected)

    @property
    def seen(self) -> list[str]:
        """The nodes that announced themselves, connected or not. Thread-safe."""
        return list(self._nodes)

    def of_type(self, node_type: str) -> list[str]:
        """The connected peers of a type. On the loop."""
        nodes = self._nodes.items()
        return [name for name, node in nodes if node.connected and node.info and node.info.node_type == node_type]

    def is_connected(self, name: str) -> bool:
        """Whether a node can be talked to."""
        node = self._nodes.get(name)
        return node is not None and node.connected

    def reach(self, name: str) -> bool:
        """Whether a node can be talked to. If not, it is greeted, now or when it is announced."""
        node = self._nodes.get(name)
        if node is None:
            self._wanted[name] = None
            _trim(self._wanted)
        elif not node.greeted:
            self._greet(name, node)
        return node is not None and node.connected

    def report(self, name: str, what: str) -> None:
        """A peer sent a message that makes no sense. On the loop.

        Args:
            name: of the peer.
            what: what it sent, in words that follow "sent".
        """
        self._misconduct.report(name if name in self._nodes else STRANGERS, what)

    def _on_received(self, event: Received) -> None:
        if self._misconduct.drops_frame(event.sender):
            return
        try:
            message = decode(event.frame)
        except msgspec.DecodeError as error:
            self._take(event)
            self._lose_track(event.sender)
            self.report(event.sender, f"a frame of {len(event.frame)} bytes that is no message ({error})")
            return
        if type(message) is Hello:
            self._on_hello(event.sender, message, len(event.frame))
            return
        if type(message) is Credit:
            self._sending.granted(event.sender, message.count, bulk=message.bulk)
            return
        self._take(event)
        node = self._nodes.get(event.sender)
        if node is None or node.info is None or node.refused:
            return
        # Bulk frames come on a way of their own, so this one may be of the time before.
        if node.connected or not event.bulk:
            self._connect(node, node.info)  # what it sends is to end with it
            self._listener.message_received(event.sender, message)

    def _take(self, event: Received) -> None:
        """A frame was taken that cost its sender a credit: give some back when there are enough."""
        stream = (event.sender, event.bulk)
        tally = self._taken.get(stream)
        if tally is None:
            if event.sender not in self._nodes:  # it will begin anew when it is announced
                return
            tally = self._taken[stream] = Tally(BULK_CREDITS if event.bulk else CREDITS)
        if count := tally.take():
            self._fabric.send(event.sender, encode(Credit(count, event.bulk)))

    def _on_joined(self, event: Joined) -> None:
        if event.name in self._nodes:
            return
        self._nodes[event.name] = node = _Node()
        self._sending.reset(event.name)
        session = self._begin_session(event.name)
        if self._greets_all or session > 1 or event.name in self._wanted:
            self._wanted.pop(event.name, None)
            self._greet(event.name, node)
        early = self._early.take(event.name)
        if early is not None:
            self._on_hello(event.name, early, 0)

    def _begin_session(self, name: str) -> int:
        """Count that we begin anew with a node."""
        self._sessions[name] = session = self._sessions.pop(name, 0) + 1
        if len(self._sessions) > 2 * (len(self._nodes) + _MOST_ABSENT):
            absent = [each for each in self._sessions if each not in self._nodes]
            for each in absent[:-_MOST_ABSENT]:
                del self._sessions[each]
        return session

    def _on_left(self, event: Left) -> None:
        self._early.take(event.name)
        self._wanted.pop(event.name, None)
        self._misconduct.leave(event.name)
        node = self._nodes.pop(event.name, None)
        self._sending.reset(event.name)
        self._taken.pop((event.name, False), None)
        self._taken.pop((event.name, True), None)
        if node is not None and node.connected:
            self._listener.peer_lost(event.name, "it left, died, or was silent for too long")

    def _greet(self, name: str, node: _Node) -> None:
        """Greet a node until it answers."""
        if self._nodes.get(name) is not node or node.connected or node.refused:
            return
        node.greeted += 1
        self._send_hello(name, asks=True)
        # Each time a little later: a node that is stopped, or too busy to answer, is not to be buried in greetings.
        delay = min(self._interval * node.greeted, 50 * self._interval)
        self._loop.call_later(delay, lambda: self._greet(name, node))

    def _send_hello(self, name: str, *, asks: bool) -> None:
        if not self._info.addresses:  # they are not known before the fabric is on the air
            self._info = msgspec.structs.replace(self._info, addresses=self._fabric.addresses)
        self._fabric.send(name, encode(Hello(self._info, self._sessions.get(name, 1), asks)))

    def _on_hello(self, sender: str, hello: Hello, size: int) -> None:
        info = hello.info
        if info.name != sender or info.node_type not in _NODE_TYPES:
            self.report(sender, f"a greeting of the {info.node_type!r} {info.name!r}")
            return
        node = self._nodes.get(sender)
        if node is None:
            self._early.put(sender, hello, size)
            return
        if hello.info.versions != self._info.versions:
            if not node.refused:
                self._refuse(node, hello.info)
            return
        if node.refused:
            node = self._begin_anew(sender, node, hello)
        if node.info is None:
            node.info = hello.info
            node.session = hello.session
        elif (node.info.incarnation, node.session) != (hello.info.incarnation, hello.session):
            node = self._begin_anew(sender, node, hello)
        if hello.asks:
            self._send_hello(sender, asks=False)
            if not node.greeted:
                self._greet(sender, node)
        else:
            self._connect(node, node.info or hello.info)

    def _connect(self, node: _Node, info: NodeInfo) -> None:
        """A peer has heard us, and we have heard it."""
        if not node.connected:
            node.connected = True
            self._listener.peer_connected(info)

    def _refuse(self, node: _Node, info: NodeInfo) -> None:
        """A node runs other versions."""
        if node.connected:  # to a process before it
            node.connected = False
            self._listener.peer_lost(info.name, "it began anew with other versions")
        node.refused = True
        self._send_hello(info.name, asks=False)  # so that the other side knows why, too
        self._listener.peer_refused(info)

    def _lose_track(self, name: str) -> None:
        """What a peer sent is no message. It counts on something that is not known here: so begin anew with it."""
        node = self._nodes.get(name)
        if node is None or not node.connected:
            return
        self._sending.reset(name)
        self._listener.peer_lost(name, "it sent a malformed message")
        self._nodes[name] = fresh = _Node()
        self._begin_session(name)
        self._greet(name, fresh)

    def _ban(self, name: str, reason: str) -> None:
        """Have nothing to do with a peer any more, until it leaves."""
        node = self._nodes.get(name)
        if node is None:
            return
        node.refused = True
        self._sending.reset(name)
        if node.connected:
            node.connected = False
            self._listener.peer_lost(name, reason)

    def _begin_anew(self, name: str, node: _Node, hello: Hello) -> _Node:
        """The other side has lost us, or is another process: what was between us is void on both sides.

        It is greeted only if it asked: what answers has heard us. If two processes answered to one name, and each
        answer led to a greeting, these would double with each round.
        """
        self._sending.reset(name)
        if node.connected:
            self._listener.peer_lost(name, "it began anew")
        self._nodes[name] = fresh = _Node()
        fresh.info = hello.info
        fresh.session = hello.session
        return fresh


def _trim(names: dict[str, None]) -> None:
    """Forget the oldest of too many names."""
    if len(names) > _MOST_ABSENT:
        del names[next(iter(names))]
