"""A fabric in one process and in virtual time, with faults: a whole cluster runs in one deterministic test.

::

    VirtualTime     runs callbacks in the order of their times; no real time passes
    MemoryNetwork   one link per pair of nodes; delays and faults from one seeded generator
    MemoryFabric    a node's end of it

Delays, and so the order of events from different sources, are random, as on a real network: a frame may arrive before
its sender's ``Joined`` or after its ``Left``, and the two sides of a cut notice it at different times. What a
``Fabric`` promises is kept. The same seed and the same calls give the same events at the same times.

A frozen or cut-off node stalls its links. Frames that arrive on a stalled link wait. When it goes on they are
delivered, unless one side had given the link up after its lease: then they are lost, and both sides see the other
``Left`` and ``Joined``.
"""

# ruff: noqa: SLF001 - a network and its fabrics are one thing in two classes

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from bndl.loop import Timer
from bndl.net.fabric import FabricEvent, Joined, Left, Listener, Received
from bndl.net.virtual import VirtualTime

__all__ = ["MemoryFabric", "MemoryNetwork", "VirtualTime"]

#: A peer is given up after the lease times a factor in this range. Of a frozen peer the nodes hear within a keep-alive
#: of each other. After a cut they do not: with zenoh one node took 0.9 times the lease and another 2.25 times.
_FROZEN_LEASES = (1.0, 1.25)
_CUT_LEASES = (0.9, 2.25)

#: Seconds until a link that was given up is there again, once nothing is in its way.
_RECONNECT = (0.1, 2.0)


class MemoryFabric:
    """A node's end of a memory network. Made by ``MemoryNetwork.fabric``."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self._network = network
        self._name = name
        self._listener: Listener | None = None
        self._peers: set[str] = set()
        self._closed = False
        #: Who came and who left while this node was frozen.
        self._missed: list[FabricEvent] = []

    def __repr__(self) -> str:
        return f"<MemoryFabric {self._name!r}>"

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._name

    @property
    def addresses(self) -> tuple[str, ...]:
        """One address; it is only for show, since all nodes of a memory network see each other."""
        return (f"memory/{self._name}",)

    def start(self, listener: Listener) -> None:
        """Go on the air.

        Raises:
            RuntimeError: if the fabric was started or closed before.
            ValueError: if a node of this name is on the air.
        """
        if self._listener is not None or self._closed:
            raise RuntimeError(f"{self!r} was started or closed before; make a new one")
        self._network._attach(self)
        self._listener = listener

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send ``frame``; never blocks."""
        if self._listener is not None and not self._closed:
            self._network._send(self._name, to, bytes(frame), bulk=bulk)

    def close(self) -> None:
        """Withdraw. Frames that were sent before still arrive. Idempotent."""
        if self._listener is not None and not self._closed:
            self._network._detach(self, lossy=False)
        self._closed = True

    def _tell(self, event: FabricEvent) -> None:
        """Call the listener, unless the event is no news."""
        if self._closed or self._listener is None:
            return
        if not isinstance(event, Received):
            present = isinstance(event, Joined)
            if present == (event.name in self._peers):
                return
            (self._peers.add if present else self._peers.discard)(event.name)
        self._listener(event)


class _Link:
    """What is between two nodes that are on the air."""

    __slots__ = ("connecting", "connection", "ends", "held", "lapses", "lost_from", "up")

    def __init__(self, one: MemoryFabric, other: MemoryFabric) -> None:
        self.ends = (one, other)
        #: Whether frames pass. False from when one end gave the other up until both are connected again.
        self.up = True
        #: Counts connections: a frame that was sent on an earlier one is lost.
        self.connection = 0
        #: Frames that arrived while the link was stalled, in order.
        self.held: list[Callable[[], None]] = []
        #: By the name of an end: when it gives the other up.
        self.lapses: dict[str, Timer] = {}
        #: When the ends are connected again, while that is under way.
        self.connecting: Timer | None = None
        #: Frames that would arrive later than this are lost: an end was killed.
        self.lost_from = float("inf")

    def stop_connecting(self) -> None:
        """Something is in the way again."""
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None

    def forget_lapses(self) -> None:
        """Neither end is to give the other up any more."""
        for timer in self.lapses.values():
            timer.cancel()
        self.lapses.clear()


class MemoryNetwork:
    """The network between memory fabrics, and what can go wrong on it.

    Args:
        time: what everything runs on.
        seed: of all random choices.
        delay: the shortest and the longest time that a frame takes, in virtual seconds.
        lease: virtual seconds after which a silent peer is given up.
        together: whether all hear of a new node at the same time, and it of all of them, as behind a router. A network
            of very many nodes takes far fewer timers so.
    """

    def __init__(
        self,
        time: VirtualTime,
        seed: int,
        *,
        delay: tuple[float, float] = (0.0001, 0.002),
        lease: float = 5.0,
        together: bool = False,
    ) -> None:
        self._time = time
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self._delay = delay
        self._lease = lease
        self._together = together
        #: When the last new node has heard of all, and all of it, if they do together.
        self._introduced = 0.0
        self._nodes: dict[str, MemoryFabric] = {}
        self._links: dict[frozenset[str], _Link] = {}
        self._frozen: set[str] = set()
        self._cuts: list[tuple[frozenset[str], frozenset[str] | None]] = []
        #: When the last event of a stream arrives; those after it do not overtake it.
        self._arrivals: dict[tuple[object, ...], float] = {}

    def fabric(self, name: str) -> MemoryFabric:
        """A new fabric for the node ``name``; its address is taken when it is started."""
        return MemoryFabric(self, name)

    def kill(self, name: str) -> None:
        """End a node like SIGKILL: others see it leave after a short delay; the last frames it sent may be lost."""
        self._detach(self._nodes[name], lossy=True)

    def freeze(self, name: str) -> None:
        """Stop a node like SIGSTOP. It hears nothing until ``thaw``; others see it leave after the lease.

        Only the network stops for it: timers of the node that run on the virtual time go on.
        """
        self._frozen.add(self._nodes[name].name)
        self._settle()

    def thaw(self, name: str) -> None:
        """Let a frozen node go on."""
        self._frozen.discard(name)
        fabric = self._nodes[name]
        missed, fabric._missed = fabric._missed, []
        for event in missed:
            self._time.post(self._tell, fabric, event)
        self._settle()

    def cut(self, names: AbstractSet[str], others: AbstractSet[str] | None = None) -> None:
        """Cut the nodes ``names`` off from ``others``, or from all. Each side gives up after about the lease."""
        self._cuts.append((frozenset(names), None if others is None else frozenset(others)))
        self._settle()

    def heal(self) -> None:
        """Undo all cuts."""
        self._cuts.clear()
        self._settle()

    def _attach(self, fabric: MemoryFabric) -> None:
        if fabric.name in self._nodes:
            raise ValueError(f"a node called {fabric.name!r} is on the air; kill or close it first")
        new = self._links[frozenset((fabric.name,))] = _Link(fabric, fabric)
        links = [new]
        for peer in self._nodes.values():
            link = self._links[frozenset((fabric.name, peer.name))] = _Link(fabric, peer)
            links.append(link)
            if self._is_cut(link):
                link.up = False
            elif not self._together:
                self._connect(link)
        if self._together:
            self._introduce(fabric, [link for link in links[1:] if link.up])
        self._nodes[fabric.name] = fabric
        self._settle(links)

    def _detach(self, fabric: MemoryFabric, *, lossy: bool) -> None:
        fabric._closed = True
        for peer in self._nodes.values():
            link = self._links.pop(frozenset((fabric.name, peer.name)))
            if lossy:
                link.lost_from = self._time.now() + self._random.uniform(0.0, self._delay[1])
            # Across a cut nobody hears of an end: the peer is given up as any silent one.
            lapse = link.lapses.get(peer.name) if self._is_cut(link) else None
            delay = self._some_delay() if lapse is None else lapse.when - self._time.now()
            self._announce(peer, Left(fabric.name), delay)
            link.stop_connecting()
            link.forget_lapses()
        del self._nodes[fabric.name]
        self._frozen.discard(fabric.name)

    def _send(self, sender: str, to: str, frame: bytes, *, bulk: bool) -> None:
        receiver = self._nodes.get(to)
        if receiver is None:
            return
        link = self._links[frozenset((sender, to))]
        if link.up:
            arrive = partial(self._arrive, link, link.connection, receiver, Received(sender, frame, bulk))
            self._in_order(("frame", link, sender, bulk), self._some_delay(), arrive)

    def _arrive(self, link: _Link, connection: int, receiver: MemoryFabric, event: Received) -> None:
        if connection != link.connection or not link.up or self._time.now() > link.lost_from:
            return
        if receiver.name in self._frozen or self._is_cut(link):
            link.held.append(partial(self._arrive, link, connection, receiver, event))
        else:
            receiver._tell(event)

    def _settle(self, links: Iterable[_Link] | None = None) -> None:
        """After a fault began or ended: start, keep or stop the leases of these links, or of all."""
        for link in self._links.values() if links is None else links:
            one, other = link.ends
            self._watch(link, one, other)
            self._watch(link, other, one)
            if self._is_stalled(link):
                link.stop_connecting()
            elif not link.up:
                self._reconnect(link)
            else:
                held, link.held = link.held, []
                for arrive in held:
                    self._time.post(arrive)

    def _watch(self, link: _Link, end: MemoryFabric, peer: MemoryFabric) -> None:
        """Let ``end`` give ``peer`` up after the lease, if it is silent and ``end`` is awake to notice."""
        cut = self._is_cut(link)
        silent = (cut or peer.name in self._frozen) and end.name not in self._frozen
        if silent and end.name not in link.lapses:
            leases = self._random.uniform(*(_CUT_LEASES if cut else _FROZEN_LEASES))
            give_up = partial(self._give_up, link, end, peer)
            link.lapses[end.name] = self._time.call_later(self._lease * leases, give_up)
        elif not silent and end.name in link.lapses:
            link.lapses.pop(end.name).cancel()

    def _give_up(self, link: _Link, end: MemoryFabric, peer: MemoryFabric) -> None:
        link.up = False
        link.held.clear()
        self._tell(end, Left(peer.name))

    def _reconnect(self, link: _Link) -> None:
        """Let both ends see that their connection is gone, and each other some time later."""
        if link.connecting is None:
            for end, peer in (link.ends, link.ends[::-1]):
                self._announce(end, Left(peer.name), self._some_delay())
            delay = self._random.uniform(*_RECONNECT)
            link.connecting = self._time.call_later(delay, partial(self._connect, link))

    def _connect(self, link: _Link) -> None:
        link.connecting = None
        link.up = True
        link.connection += 1
        for end, peer in (link.ends, link.ends[::-1]):
            self._announce(end, Joined(peer.name), self._some_delay())

    def _introduce(self, fabric: MemoryFabric, links: Sequence[_Link]) -> None:
        """Let a new node hear of all others at once, and all others of it."""
        others = [link.ends[1] for link in links]
        for link in links:
            link.connection += 1
        tell_others, tell_it = self._some_delay(), self._some_delay()
        self._introduced = max(self._introduced, self._time.now() + max(tell_others, tell_it))
        joined = Joined(fabric.name)
        self._time.call_later(tell_others, partial(self._tell_all, others, [joined] * len(others)))
        self._time.call_later(
            tell_it, partial(self._tell_all, [fabric] * len(others), [Joined(each.name) for each in others])
        )

    def _tell_all(self, fabrics: Sequence[MemoryFabric], events: Sequence[Joined]) -> None:
        for fabric, event in zip(fabrics, events, strict=True):
            self._tell(fabric, event)

    def _announce(self, to: MemoryFabric, event: Joined | Left, delay: float) -> None:
        delay = max(delay, self._introduced - self._time.now())
        self._in_order(("peer", to, event.name), delay, partial(self._tell, to, event))

    def _tell(self, fabric: MemoryFabric, event: FabricEvent) -> None:
        if fabric.name in self._frozen:
            fabric._missed.append(event)
        else:
            fabric._tell(event)

    def _in_order(self, stream: tuple[object, ...], delay: float, callback: Callable[[], None]) -> None:
        """Run the callback after the delay, and after all that was given before for the same stream."""
        when = max(self._time.now() + delay, self._arrivals.get(stream, 0.0))
        self._arrivals[stream] = when
        self._time.call_at(when, callback)

    def _some_delay(self) -> float:
        return self._random.uniform(*self._delay)

    def _is_cut(self, link: _Link) -> bool:
        if not self._cuts:
            return False
        one, other = (end.name for end in link.ends)
        return any(
            (one in names) != (other in names)
            if others is None
            else (one in names and other in others) or (other in names and one in others)
            for names, others in self._cuts
        )

    def _is_stalled(self, link: _Link) -> bool:
        return self._is_cut(link) or any(end.name in self._frozen for end in link.ends)
