"""The warnings that bndl gives. Users find them in ``bndl.errors``."""

from __future__ import annotations

__all__ = ["ClusterUnstableWarning", "RepeatedNumbersWarning"]


class ClusterUnstableWarning(UserWarning):
    """The peers did not agree on who is there within the time given."""


class RepeatedNumbersWarning(UserWarning):
    """Several tasks get a random generator in the same state, so they draw the same numbers."""
