"""How long after ``connect()`` the cluster is stable: ``await_workers()`` is back, so all workers see each other.

Each round is a new context with new processes. The first one is measured as well: it is what a user waits for.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import typer

import bndl


def time_start(workers: int) -> float:
    """Seconds from the call of ``connect`` until ``await_workers`` is back."""
    start = time.perf_counter()
    with bndl.connect(workers=workers, progress=False) as ctx:
        count = ctx.await_workers()
        seconds = time.perf_counter() - start
    if count != workers:
        raise SystemExit(f"{count} workers came, not {workers}")
    return seconds


def main(
    workers: Annotated[int, typer.Option(help="How many worker processes to start.")] = 4,
    rounds: Annotated[int, typer.Option(help="How often.")] = 10,
) -> None:
    """Measure and print."""
    times = [time_start(workers) for _ in range(rounds)]
    print(f"{workers} workers stable after connect(), {rounds} rounds: {', '.join(f'{each:.2f}' for each in times)} s")
    print(f"median {statistics.median(times):.2f} s, least {min(times):.2f} s, greatest {max(times):.2f} s")


if __name__ == "__main__":
    typer.run(main)
