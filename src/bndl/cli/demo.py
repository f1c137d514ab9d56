"""``bndl demo``: the census as a job on workers, and how much quicker that is than one process."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import typer
from rich.console import Console

from bndl.cli.census import (
    Census,
    as_text,
    find_files,
    merge_counts,
    parse_file,
    printable,
    rank_modules,
    run_serial,
)
from bndl.cli.census_report import render
from bndl.cluster.threads import count_cores
from bndl.context.connect import connect
from bndl.driver.jobs import Job
from bndl.driver.report import JobReport

__all__ = ["make_job", "run_demo"]

#: Merge tasks for each slot: enough that a slow worker gets fewer of them.
_PARTS = 4
#: The width of what is printed to a file or pipe; the report needs this much.
_WIDTH = 110


class _Run(NamedTuple):
    """What came of the census on workers."""

    census: Census
    report: JobReport
    workers: int
    #: Until the workers were there.
    start_seconds: float


def make_job(files: Sequence[str], *, parts: int, top: int) -> Job:
    """The census as a job; the result of its last stage is the ``Census``.

    The files stay in the order of their paths. Beginning with the largest was measured as well and is no quicker: there
    are many files to each worker, and none is so large that the others have to wait for it.

    Args:
        files: paths of Python files.
        parts: in how many tasks to merge.
        top: how many modules to rank.
    """
    job = Job("census", attempts=3)
    parse = job.stage(parse_file, files, name="parse")
    merge = job.stage(merge_counts, parse.split(min(parts, len(files))), name="merge")
    job.stage(partial(rank_modules, top=top), [merge.results], name="rank")
    return job


def run_demo(
    paths: Sequence[Path] | None, *, workers: int | None, concurrency: int, compare: bool, top: int, text: Path | None
) -> None:
    """Take the census and print it, the job's report and the speed.

    Args:
        paths: files and folders; None for the standard library and the site-packages.
        workers: how many worker processes; None for one per core.
        concurrency: how many tasks each of them executes at the same time.
        compare: whether to measure one process doing the same.
        top: how many modules to rank.
        text: where to write the whole result as plain text.

    Raises:
        typer.Exit: a path is not there or nothing is in it (2), or the comparison gave another result (1).
        BndlError: the job did not succeed.
    """
    files = _find(paths)
    if text is not None:
        _check_writable(text)
    if compare:
        _say("reading all files once, so that neither measurement waits for the disk")
        _read(files)
    run = _run_on_workers(files, workers or count_cores(), concurrency, top)
    console = _make_console()
    console.print(render(run.census))
    console.print()
    console.print(run.report)
    if text is not None:
        text.write_text(as_text(run.census), encoding="utf-8")
    console.print(_describe_speed(run, len(files)), highlight=False)
    if compare:
        _say("the same in one process, for comparison")
        _compare(console, run, files, top)


def _run_on_workers(files: Sequence[str], workers: int, concurrency: int, top: int) -> _Run:
    _say(f"a census of {len(files):,} Python files")
    began = time.perf_counter()
    with connect(workers=workers, concurrency=concurrency) as ctx:
        count = ctx.await_workers(workers, connect_timeout=30.0)
        seconds = time.perf_counter() - began
        job = make_job(files, parts=_PARTS * workers * concurrency, top=top)
        (census,) = ctx.run(job)
        return _Run(census, job.report(), count, seconds)


def _describe_speed(run: _Run, files: int) -> str:
    seconds = run.report.wall_seconds
    return (
        f"{_count_workers(run)}: {seconds:.2f} s, {files / seconds:,.0f} files per second, "
        f"after {run.start_seconds:.2f} s to start"
    )


def _compare(console: Console, run: _Run, files: Sequence[str], top: int) -> None:
    began = time.perf_counter()
    serial = run_serial(files, top)
    seconds = time.perf_counter() - began
    if as_text(serial) != as_text(run.census):
        _fail("one process gave another result; if no file changed in the meantime this is a bug in bndl", code=1)
    ratio = seconds / run.report.wall_seconds
    with_start = seconds / (run.report.wall_seconds + run.start_seconds)
    console.print(f"one process: {seconds:.2f} s, {len(files) / seconds:,.0f} files per second, the same to the byte")
    console.print(
        f"speed of {_count_workers(run)} on {count_cores()} cores: [bold]{ratio:.2f} times[/bold] one process "
        f"({with_start:.2f} times with their start)"
    )


def _count_workers(run: _Run) -> str:
    return "1 worker" if run.workers == 1 else f"{run.workers} workers"


def _find(paths: Sequence[Path] | None) -> list[str]:
    try:
        files = find_files(paths or None)
    except FileNotFoundError as error:
        _fail(str(error))
    if not files:
        _fail(f"no .py files in {', '.join(map(str, paths or ()))}: give a folder with Python code, or no path")
    return files


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        _fail(f"cannot write to {str(path)!r} ({error.strerror}): give --text another file")


def _read(files: Sequence[str]) -> None:
    for file in files:
        try:
            Path(file).read_bytes()
        except OSError:  # the census lists it
            continue


def _make_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - beside the result, which is on standard output


def _fail(text: str, code: int = 2) -> NoReturn:
    typer.secho(f"bndl demo: {printable(text)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)
