"""How nodes greet each other: the first message between them. When they do is in ``net.peers``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bndl.net.bounds import MANY, Name, Number

__all__ = ["Hello", "NodeInfo", "hash_text"]


class NodeInfo(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself.

    Attributes:
        name: its name in the cluster.
        node_type: ``driver`` or ``worker``.
        incarnation: random, different for every process that ever had this name.
        versions: of what it must share with its peers, such as Python.
        concurrency: how many tasks it executes at the same time.
        addresses: where it listens.
        text_hash: the hash of a certain text in its process, which tells whether hashes are the same elsewhere.
    """

    name: Name
    node_type: Name
    incarnation: Name
    versions: Annotated[dict[Name, Name], Meta(max_length=100)]
    concurrency: Annotated[int, Meta(ge=0, le=MANY)] = 0
    addresses: Annotated[tuple[Name, ...], Meta(max_length=4096)] = ()
    text_hash: int = 0


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A greeting.

    Attributes:
        info: who greets.
        session: how often the sender has begun anew with the receiver. A change means: forget what was between us.
        asks: whether this is to be answered, with a ``Hello`` that does not ask.
    """

    info: NodeInfo
    session: Number
    asks: bool


def hash_text() -> int:
    """The ``text_hash`` of this process."""
    return hash("bndl")
