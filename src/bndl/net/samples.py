"""Samples of zenoh, read and handled one after the other in a thread of their own."""

from __future__ import annotations

from collections.abc import Callable

import zenoh

from bndl.logs import get_logger

__all__ = ["read_samples"]

logger = get_logger(__name__)


def read_samples(handler: zenoh.Handler[zenoh.Sample], on_sample: Callable[[zenoh.Sample], None]) -> None:
    """Handle samples until their session is closed. An error is logged: what comes after it has to be handled, too."""
    while True:
        try:
            sample = handler.recv()
        except zenoh.ZError:
            return  # the session was closed
        try:
            on_sample(sample)
        except Exception:  # where a sample's handling ends
            logger.exception("a message of zenoh could not be handled")
