"""``bndl profile``: a script run under ``bndl run``'s rules, with the whole cluster profiled, and a report of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from bndl.cli.run import run_script
from bndl.cli.settings import ConnectSettings
from bndl.context.default import ctx
from bndl.errors import InvalidOption
from bndl.profiling.checks import check_how
from bndl.profiling.stats import SUFFIXES

__all__ = ["ProfileSettings", "profile_script"]

#: How many seconds local workers may take to come up.
_START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How to profile; the fields but ``output`` are those of ``CpuProfiling.start``."""

    output: Path
    mode: str
    clock: str
    interval: float | None
    native: bool


def profile_script(
    script: str,
    arguments: Sequence[str],
    settings: ConnectSettings,
    profiling: ProfileSettings,
    *,
    as_module: bool = False,
) -> None:
    """Run a script and write a report, also if the script fails.

    Args:
        script: the path of the file, as the user wrote it.
        arguments: what the script finds in ``sys.argv[1:]``.
        settings: how to connect.
        profiling: how to profile.
        as_module: whether ``script`` names a module.

    Raises:
        typer.Exit: the script or the report cannot be read or written (2), or the script ended like that.
        SystemExit: the script ended itself.
        BndlError: connecting or profiling failed.
    """
    output = profiling.output
    try:
        check_how(profiling.mode, profiling.clock, profiling.interval, native=profiling.native, prefix="--")
    except InvalidOption as error:
        _fail(error.message)
    if not output.name.endswith(SUFFIXES):
        _fail(f"{str(output)!r} is no kind of report; let it end in one of {', '.join(SUFFIXES)}")
    try:
        output.open("a").close()
    except OSError as error:
        _fail(f"cannot write to {str(output)!r} ({error.strerror}); give --output another file")
    # The script may change the folder that it is in.
    absolute = output.absolute()

    @contextmanager
    def around() -> Iterator[None]:
        profiler = ctx.cpu_profiling
        ctx.await_workers(connect_timeout=_START_TIMEOUT)
        profiler.start(profiling.mode, clock=profiling.clock, interval=profiling.interval, native=profiling.native)
        try:
            yield
        finally:
            profiler.stop()
            profiler.save(absolute)
            print(f"bndl: wrote {output}", file=sys.stderr)  # noqa: T201 - beside what the script prints

    run_script(script, arguments, settings, around, as_module=as_module)


def _fail(text: str) -> None:
    typer.secho(f"bndl profile: {text}", fg=typer.colors.RED, err=True)
    raise typer.Exit(2)
