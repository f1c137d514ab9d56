"""Workers that another engine runs on its machines, as ``connect(deploy=...)`` sees them. ``deploy`` has some."""

from __future__ import annotations

from typing import Protocol

from bndl.config import Config
from bndl.net.credentials import Credentials

__all__ = ["Deployment"]


class Deployment(Protocol):
    """Workers that another engine runs on its machines."""

    @property
    def expected(self) -> int:
        """How many workers there are to be."""

    def prepare(self, config: Config) -> tuple[Config, Credentials]:
        """Settings with which the driver listens where the workers can reach it, and what it takes to join it."""

    def start(self, cluster: str, seeds: tuple[str, ...]) -> None:
        """Have workers started that join through the seeds, without waiting for them."""

    def stop(self) -> None:
        """End all workers and give back what they had. Idempotent."""
