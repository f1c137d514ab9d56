"""Which workers of a cluster get work. In a module of its own, which workers can import."""

from __future__ import annotations

import itertools
import time

import bndl

__all__ = ["see_at_work", "slow_name"]

TIMEOUT = 30.0


def slow_name(_: int) -> str:
    time.sleep(0.05)
    return bndl.current_worker()


def see_at_work(ctx: bndl.Context, count: int) -> set[str]:
    """The names of workers that get work, once there are so many of them, while a job runs that does not end."""
    seen: set[str] = set()
    end = time.monotonic() + TIMEOUT
    for name in ctx.map(slow_name, itertools.count()):
        seen.add(name)
        if len(seen) == count:
            break
        assert time.monotonic() < end, seen
    return seen
