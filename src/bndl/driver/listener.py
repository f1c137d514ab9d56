"""What the driver asks of whoever keeps the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bndl.driver.places import Named
from bndl.errors import DeathCertificate
from bndl.net.messages import NodeInfo

__all__ = ["ClusterListener"]


class ClusterListener(Protocol):
    """Who wants to know which peers there are. Called on the driver's loop."""

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer can be talked to."""

    def peer_lost(self, name: str, reason: str) -> None:
        """A peer is gone."""

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions, so it takes no part."""

    def describe_refusals(self) -> str:
        """Sentences on nodes that were refused, each with a space in front; empty if there are none."""

    def death_certificate(self, name: str) -> DeathCertificate | None:
        """What is known of the end of a worker, if more than the fabric knows."""

    def end_worker(self, name: str, reason: str) -> bool:
        """End a worker that does not do what it is told to. Returns whether that is in this node's power."""

    @property
    def workers(self) -> Sequence[Named]:
        """The workers that are connected, as users see them."""
