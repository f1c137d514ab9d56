"""A node as another node sees it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol

from bndl.checks import check_callable
from bndl.net.messages import NodeInfo
from bndl.net.names import NodeName

__all__ = ["Peer"]

#: For how many seconds ``Peer.execute`` waits for an answer: a day, as what is called may take long.
_TIMEOUT = 86_400.0


class Caller(Protocol):
    """Calls functions on nodes."""

    def call(
        self, peer: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> Future[Any]:
        """Call a function on a node."""


class Peer:
    """A node of the cluster that this one is, or was, connected to.

    Attributes:
        name: its name: the host's name reversed, the type of the node, its process, and counters.
        node_type: ``worker`` or ``driver``.
        machine: the host's name, reversed; empty if the node's name does not tell.
        pid: the number of its process on that host; 0 if the node's name does not tell.
        addresses: where it listens.
        concurrency: how many tasks it executes at the same time.
        connected_on: when it was connected, local time with its zone.
        is_connected: whether it still is.
    """

    def __init__(self, info: NodeInfo, caller: Caller) -> None:
        machine, pid = _place_of(info.name)
        self.name = info.name
        self.node_type = info.node_type
        self.machine = machine
        self.pid = pid
        self.addresses = info.addresses
        self.concurrency = info.concurrency
        self.connected_on = datetime.now().astimezone()
        self.is_connected = True
        self._caller = caller

    def execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function on this node, at once and beside its tasks.

        Args:
            fn: what to call.
            args: its arguments.
            kwargs: its keyword arguments.

        Returns:
            A future of its result. It raises ``TaskFailed`` if the function did, and ``PeerLost`` if the peer is lost.

        Raises:
            InvalidOption: ``fn`` cannot be called.
            NotPicklable: the call cannot travel.
        """
        check_callable("fn", fn, "peer.execute(function, *args)")
        return self._caller.call(self.name, fn, args, kwargs, _TIMEOUT)

    def __repr__(self) -> str:
        return f"<Peer: {self.name}>"


def _place_of(name: str) -> tuple[str, int]:
    """The host and the process of a node. A member may have any name."""
    try:
        parts = NodeName.parse(name)
    except ValueError:
        return "", 0
    return parts.machine, parts.pid
