"""Tasks per second of no-op tasks, next to ``multiprocessing.Pool``, and what one task takes from call to result.

The two take turns in one run, so that a machine that is faster or slower for a while is so for both. What counts is the
ratio; the rates are those of the machine at that time.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from spread import spread

import bndl


def same(value: int) -> int:
    """A task that does nothing."""
    return value


def time_rate(run: Callable[[], int], tasks: int) -> float:
    """Tasks per second of a run, which has to return the sum of its results."""
    start = time.perf_counter()
    total = run()
    seconds = time.perf_counter() - start
    if total != tasks * (tasks - 1) // 2:
        raise SystemExit(f"wrong result: {total}")
    return tasks / seconds


def time_calls(call: Callable[[], object], count: int) -> list[float]:
    """What each of ``count`` calls takes, one after the other, in seconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def main(
    tasks: Annotated[int, typer.Option(help="How many tasks in a round.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="How many rounds of each.")] = 5,
    workers: Annotated[int, typer.Option(help="How many worker processes each has.")] = 2,
    calls: Annotated[int, typer.Option(help="How many single calls in a round.")] = 200,
) -> None:
    """Measure and print a table."""
    rates: dict[str, list[float]] = {"bndl": [], "Pool": []}
    latencies: dict[str, list[float]] = {"bndl": [], "Pool": []}
    with (
        multiprocessing.get_context("spawn").Pool(workers) as pool,
        bndl.connect(workers=workers, progress=False) as ctx,
    ):
        ctx.await_workers()
        pool.map(same, range(1000), chunksize=1)
        sum(ctx.map(same, range(1000)))
        for _ in range(rounds):
            rates["Pool"].append(time_rate(lambda: sum(pool.map(same, range(tasks), chunksize=1)), tasks))
            rates["bndl"].append(time_rate(lambda: sum(ctx.map(same, range(tasks))), tasks))
            latencies["Pool"] += time_calls(lambda: pool.apply(same, (1,)), calls)
            latencies["bndl"] += time_calls(lambda: ctx.submit(same, 1).result(timeout=30), calls)
    table = Table(title=f"{tasks:,} no-op tasks, {workers} workers, {rounds} rounds in turns")
    table.add_column("")
    table.add_column("tasks/s: median (least to greatest)", justify="right")
    table.add_column("one task: median (least to greatest)", justify="right")
    for name, title in (
        ("bndl", "bndl, ctx.map and submit"),
        ("Pool", "multiprocessing.Pool, map(chunksize=1), apply"),
    ):
        microseconds = [value * 1e6 for value in latencies[name]]
        table.add_row(title, spread(rates[name], ",.0f", "/s"), spread(microseconds, ",.0f", "us"))
    console = Console()
    console.print(table)
    ratios = [mine / theirs for mine, theirs in zip(rates["bndl"], rates["Pool"], strict=True)]
    console.print(f"rate of bndl / rate of Pool: {spread(ratios, '.2f')}")


if __name__ == "__main__":
    typer.run(main)
