"""What profiling costs, next to the same profilers alone in one process.

Two kinds of work: a loop of nothing but calls of an empty function, which is the worst case of tracing, and the
census of ``bndl demo`` over a sample of the files on this machine. In each round every way of profiling takes its turn
right after a run without, and what counts is the ratio of the two.
"""

from __future__ import annotations

import cProfile
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer
import yappi
from rich.console import Console
from rich.table import Table
from spread import spread

import bndl
from bndl.cli.census import find_files, run_serial
from bndl.cli.demo import make_job

TOP = 20


def nothing() -> None:
    """An empty function."""


def loop(calls: int) -> int:
    """Nothing but calls."""
    for _ in range(calls):
        nothing()
    return calls


# Profilers alone


@contextmanager
def off() -> Iterator[None]:
    """No profiler."""
    yield


@contextmanager
def with_cprofile() -> Iterator[None]:
    """The standard library's profiler."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()


@contextmanager
def with_yappi(clock: str) -> Iterator[None]:
    """Yappi as its documentation has it, with builtins as bndl has it."""
    yappi.set_clock_type(clock)
    yappi.start(builtins=True)
    try:
        yield
    finally:
        yappi.stop()
        yappi.clear_stats()


@contextmanager
def with_tracemalloc() -> Iterator[None]:
    """One frame, as bndl has it."""
    tracemalloc.start(1)
    try:
        yield
    finally:
        tracemalloc.stop()


@contextmanager
def with_py_spy() -> Iterator[None]:
    """py-spy at 100 samples a second, from when it is attached until it is told to stop."""
    program = str(Path(sys.executable).with_name("py-spy"))
    command = [program, "record", "--pid", str(os.getpid()), "--format", "raw", "--output", os.devnull]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if "Sampling process" in line:
                break
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)


ALONE: dict[str, Callable[[], object]] = {
    "cProfile": with_cprofile,
    "yappi, cpu": lambda: with_yappi("cpu"),
    "yappi, wall": lambda: with_yappi("wall"),
    "py-spy": with_py_spy,
    "tracemalloc": with_tracemalloc,
}


def time_alone(profiler: str, work: str, size: int, files: list[str]) -> float:
    """Seconds that some work takes in this process under a profiler."""
    manager = off() if profiler == "off" else ALONE[profiler]()
    with manager:  # type: ignore[attr-defined]
        began = time.perf_counter()
        if work == "loop":
            loop(size)
        else:
            run_serial(files, TOP)
        return time.perf_counter() - began


# bndl


def start_cpu(**options: str) -> Callable[[bndl.Context], object]:
    """A way to start the profiling of CPU; ``stop`` ends it."""

    def start(ctx: bndl.Context) -> None:
        ctx.cpu_profiling.start(**options)  # type: ignore[arg-type]

    return start


IN_BNDL: dict[str, Callable[[bndl.Context], object]] = {
    "tracing, cpu": start_cpu(mode="tracing", clock="cpu"),
    "tracing, wall": start_cpu(mode="tracing", clock="wall"),
    "sampling, py-spy": start_cpu(mode="sampling", sampler="py-spy"),
    "sampling, in-process": start_cpu(mode="sampling", sampler="in-process"),
    "memory": lambda ctx: ctx.memory_profiling.start(),
}


def time_in_bndl(
    ctx: bndl.Context, start: Callable[[bndl.Context], object], work: str, size: int, files: list[str]
) -> float:
    """Seconds that the same work takes on workers, while they are profiled."""
    slots = ctx.worker_count
    if work == "loop":
        job = bndl.Job("loop")
        job.stage(loop, [size] * slots, name="loop")
    else:
        job = make_job(files, parts=4 * slots, top=TOP)
    start(ctx)
    try:
        began = time.perf_counter()
        ctx.run(job)
        return time.perf_counter() - began
    finally:
        ctx.cpu_profiling.stop()
        ctx.memory_profiling.stop()


# Together


def main(
    rounds: Annotated[int, typer.Option(help="How many rounds.")] = 7,
    calls: Annotated[int, typer.Option(help="How many calls the loop makes.")] = 1_000_000,
    every: Annotated[int, typer.Option(help="The census takes one file of this many.")] = 8,
    workers: Annotated[int, typer.Option(help="How many worker processes there are.")] = 2,
    only: Annotated[str, typer.Option(help="Only ways of profiling with this in their name, such as sampling.")] = "",
) -> None:
    """Measure and print a table for each kind of work."""
    console = Console(width=110)
    alone_ways = {name: way for name, way in ALONE.items() if only in name}
    bndl_ways = {name: way for name, way in IN_BNDL.items() if only in name}
    if not alone_ways and not bndl_ways:
        raise typer.BadParameter(f"no way of profiling has {only!r} in its name: {', '.join((*ALONE, *IN_BNDL))}")
    files = find_files()[::every]
    with (
        multiprocessing.get_context("spawn").Pool(1) as alone,
        bndl.connect(workers=workers, progress=False) as ctx,
    ):
        ctx.await_workers(workers, connect_timeout=30)
        for work, size in (("loop", calls), ("census", 0)):
            ratios: dict[str, list[float]] = {name: [] for name in (*alone_ways, *bndl_ways)}
            for number in range(rounds + 1):
                for name in alone_ways:
                    plain = alone.apply(time_alone, ("off", work, size, files))
                    ratios[name].append(alone.apply(time_alone, (name, work, size, files)) / plain)
                for name, start in bndl_ways.items():
                    plain = time_in_bndl(ctx, lambda _: None, work, size, files)
                    ratios[name].append(time_in_bndl(ctx, start, work, size, files) / plain)
                if number == 0:  # to warm up
                    ratios = {name: [] for name in ratios}
            what = f"{calls:,} calls of an empty function" if work == "loop" else f"the census of {len(files):,} files"
            table = Table(title=f"{what}: time with profiling / time without; {rounds} rounds in turns")
            table.add_column("alone, in one process")
            table.add_column("median (least to greatest)", justify="right")
            table.add_column(f"bndl, {workers} workers")
            table.add_column("median (least to greatest)", justify="right")
            for one, other in zip_longest(alone_ways, bndl_ways, fillvalue=""):
                cells = [spread(ratios[name], ".3f") if name else "" for name in (one, other)]
                table.add_row(one, cells[0], other, cells[1])
            console.print(table)


if __name__ == "__main__":
    typer.run(main)
