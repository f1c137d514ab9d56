"""Names of nodes: the host's name reversed, the type of the node, its process, and two counters.

``localdomain.localhost.worker.29235.0.1`` is on the host ``localhost.localdomain`` in the process 29235. The counters
tell apart what a process number cannot: which context of a driver's process a node belongs to, and which worker of that
context it is.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count

__all__ = ["NodeName", "digest_of", "is_worker", "machine_name", "next_context_number"]

_contexts = count()


def next_context_number() -> int:
    """A number for a context, different from all before it in this process."""
    return next(_contexts)


def machine_name() -> str:
    """The name of this host, reversed: the most general part first, so that names sort by network."""
    labels = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".").split(".")
    return ".".join(reversed(labels)) or "localhost"


def digest_of(names: Iterable[str]) -> str:
    """What stands for a set of names, so that two of them can be compared without sending them."""
    return blake2b("\n".join(sorted(set(names))).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class NodeName:
    """The parts of a node's name.

    Attributes:
        machine: the host's name, reversed.
        node_type: ``driver`` or ``worker``.
        pid: the process number on that host.
        context: which context it belongs to, as a counter of that process or of the one that started it.
        index: which node of that context it is.
    """

    machine: str
    node_type: str
    pid: int
    context: int
    index: int

    def __str__(self) -> str:
        return f"{self.machine}.{self.node_type}.{self.pid}.{self.context}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> NodeName:
        """Take a name apart.

        Raises:
            ValueError: it is not the name of a node.
        """
        parts = text.rsplit(".", 4)
        if len(parts) != 5 or not all(part.isdigit() for part in parts[2:]):  # noqa: PLR2004 - the five fields
            msg = f"{text!r} is not the name of a node, which looks like localdomain.localhost.worker.29235.0.1"
            raise ValueError(msg)
        machine, node_type, pid, context, index = parts
        return cls(machine, node_type, int(pid), int(context), int(index))


def is_worker(name: str) -> bool:
    """Whether a name is that of a worker."""
    try:
        return NodeName.parse(name).node_type == "worker"
    except ValueError:
        return False
