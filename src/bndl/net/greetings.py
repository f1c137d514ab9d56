"""How nodes greet each other: the first message between them. When they do is in ``net.peers``."""

from __future__ import annotations

import msgspec

__all__ = ["Hello", "NodeInfo"]


class NodeInfo(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself.

    Attributes:
        name: its name in the cluster.
        node_type: ``driver`` or ``worker``.
        incarnation: random, different for every process that ever had this name.
        versions: of what it must share with its peers, such as Python.
        concurrency: how many tasks it executes at the same time.
        addresses: where it listens.
    """

    name: str
    node_type: str
    incarnation: str
    versions: dict[str, str]
    concurrency: int = 0
    addresses: tuple[str, ...] = ()


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A greeting.

    Attributes:
        info: who greets.
        session: how often the sender has begun anew with the receiver. A change means: forget what was between us.
        asks: whether this is to be answered, with a ``Hello`` that does not ask.
    """

    info: NodeInfo
    session: int
    asks: bool
