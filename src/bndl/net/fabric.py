"""What carries messages between nodes.

A fabric knows nodes by name. It says who joined and who left, and it carries frames: bytes from one named node to
another, in order for each pair and priority, or not at all if either end is lost. It does not know what is in a frame.

::

    Fabric.send(to, frame) ~~~> the other node's listener(Received(sender, frame))
                           ~~~> listener(Joined(name)), listener(Left(name)) as nodes come and go

Implementations: ``net.zenoh`` (real sockets) and ``net.memory`` (one process, seeded, virtual time).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_MESSAGE_BYTES",
    "Fabric",
    "FabricEvent",
    "Joined",
    "Left",
    "Listener",
    "Received",
    "check_size",
]

#: Zenoh's receiver puts a message together in memory. It drops a larger one, and the connection with it.
MAX_MESSAGE_BYTES = 2**28
#: The same without zenoh's own headers.
MAX_FRAME_BYTES = MAX_MESSAGE_BYTES - 2**16


class Joined(msgspec.Struct, frozen=True):
    """A node announced itself. It may be one that was ``Left`` before: a stopped or cut-off peer that came back."""

    name: str


class Left(msgspec.Struct, frozen=True):
    """A node withdrew, died, or was not heard of for the lease."""

    name: str


class Received(msgspec.Struct, frozen=True):
    """A frame arrived.

    ``frame`` is only valid to read; keep a copy of what must be changed. ``bulk`` is as it was sent.
    """

    sender: str
    frame: bytes
    bulk: bool = False


FabricEvent = Joined | Left | Received
Listener = Callable[[FabricEvent], None]


def check_size(to: str, frame: bytes) -> None:
    """Check that a frame can be sent.

    Raises:
        ValueError: it has more than ``MAX_FRAME_BYTES``.
    """
    if len(frame) > MAX_FRAME_BYTES:
        raise ValueError(
            f"a frame of {len(frame)} bytes to {to!r} is over the limit of {MAX_FRAME_BYTES}; send it in parts"
        )


class Fabric(Protocol):
    """Carries frames between the nodes of one cluster."""

    @property
    def name(self) -> str:
        """The name of this node, unique in the cluster."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node listens, as others can use it for a seed, such as ``tcp/127.0.0.1:40117``."""

    def start(self, listener: Listener) -> None:
        """Go on the air: from now on ``listener`` is called with events, in order, from one thread at a time.

        The listener must be quick: nothing further is received while it runs.
        Receiving is set up before this node announces itself, so no frame sent to a ``Joined`` node is dropped
        for want of a receiver at its end.
        """

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send ``frame`` to the node called ``to``. Thread-safe. May block while the network is congested.

        A frame to a node that is not there is dropped in silence, like one to a node that dies before it arrives.
        ``bulk`` frames go at a lower priority, ordered among themselves but not with others, so that a large
        transfer does not hold up control messages.
        """

    def close(self) -> None:
        """Withdraw and let go of all resources. Others see ``Left``. No event is delivered after it returns.

        Idempotent.
        """
