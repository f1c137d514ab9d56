"""What a task costs in a small job and in a very large one, and how much memory the driver takes.

Each job has ten stages. Its first stage makes numbers, each task of the stages after it takes one result of the stage
before, which stays on the workers, and the last stage adds up. Small and large jobs take turns in one run.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from typing import Annotated, Self

import psutil
import typer
from rich.console import Console
from rich.table import Table
from spread import spread

import bndl

_MEBIBYTE = 1 << 20


class PeakMemory:
    """The most memory that this process had resident, looked at often, while it is entered."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(5.0)

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.05):
            self.bytes = max(self.bytes, process.memory_info().rss)


def increase(value: int) -> int:
    """A task that does next to nothing."""
    return value + 1


def make_job(tasks: int, stages: int, *, linked: bool) -> bndl.Job:
    """A job of so many tasks in so many stages."""
    size = tasks // stages
    job = bndl.Job("scale")
    stage = job.stage(increase, range(size), name="stage-0")
    for number in range(1, stages):
        stage = job.stage(increase, list(stage.results) if linked else range(size), name=f"stage-{number}")
    return job


def measure(ctx: bndl.Context, tasks: int, stages: int, *, linked: bool) -> tuple[float, int]:
    """Seconds for each task, and the most memory the driver had."""
    gc.collect()
    with PeakMemory() as peak:
        start = time.perf_counter()
        job = make_job(tasks, stages, linked=linked)
        total = sum(ctx.run(job))
        seconds = time.perf_counter() - start
    size = tasks // stages
    expected = sum(range(size)) + size * (stages if linked else 1)
    if total != expected:
        raise SystemExit(f"wrong result: {total}, not {expected}")
    return seconds / tasks, peak.bytes


def main(
    tasks: Annotated[int, typer.Option(help="How many tasks the large job has.")] = 1_000_000,
    small: Annotated[int, typer.Option(help="How many tasks the small job has.")] = 10_000,
    stages: Annotated[int, typer.Option(help="In how many stages.")] = 10,
    workers: Annotated[int, typer.Option(help="How many worker processes.")] = 2,
    rounds: Annotated[int, typer.Option(help="How often the large job runs; the small one runs before and after.")] = 3,
) -> None:
    """Measure and print a table."""
    table = Table(title=f"{tasks:,} tasks and {small:,} tasks, each in {stages} stages, {workers} workers")
    for heading in (
        "",
        "a task, small job",
        "a task, large job",
        "ratio: median (least to greatest)",
        "driver at most",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    with bndl.connect(workers=workers, progress=False) as ctx:
        ctx.await_workers(workers)
        measure(ctx, small, stages, linked=True)
        for title, linked in (("plain arguments", False), ("each task takes a result", True)):
            costs: dict[int, list[float]] = {tasks: [], small: []}
            ratios = []
            memory = 0
            for _ in range(rounds):
                around = [measure(ctx, small, stages, linked=linked)[0] for _ in range(5)]
                large, peak = measure(ctx, tasks, stages, linked=linked)
                around += [measure(ctx, small, stages, linked=linked)[0] for _ in range(5)]
                costs[tasks].append(large)
                costs[small] += around
                ratios.append(large / statistics.median(around))
                memory = max(memory, peak)
            table.add_row(
                title,
                f"{statistics.median(costs[small]) * 1e6:.1f} us",
                f"{statistics.median(costs[tasks]) * 1e6:.1f} us",
                spread(ratios, ".2f"),
                f"{memory / _MEBIBYTE:,.0f} MiB",
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
