"""The ``bndl`` command and its options. What a command does is in the module of its name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bndl import _version
from bndl.errors import BndlError

__all__ = ["app", "main"]

app = typer.Typer(
    name="bndl",
    help="Executes tasks on workers: jobs of stages of tasks, on one machine or a cluster that finds itself.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="How many worker processes to start.", show_default="one per core"),
]
Concurrency = Annotated[
    int, typer.Option(min=1, metavar="N", help="How many tasks each worker executes at the same time.")
]
Seeds = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Join a running cluster: the address of a node of it. May be repeated."),
]
SecretFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds the secret of the cluster that is joined.")
]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value of the option
    if wanted:
        typer.echo(f"bndl {_version.__version__}")
        raise typer.Exit


@app.callback()
def bndl(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Executes tasks on workers: jobs of stages of tasks, on one machine or a cluster that finds itself."""


@app.command()
def demo(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files and folders.", show_default="standard library, site-packages"),
    ] = None,
    *,
    workers: Workers = None,
    concurrency: Concurrency = 1,
    compare: Annotated[bool, typer.Option("--compare", help="Measure one process doing the same as well.")] = False,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many modules to rank.")] = 20,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the whole result as plain text to a file.")
    ] = None,
) -> None:
    """Take a census of the Python code on this machine.

    Every .py file is parsed on the workers, the counts are merged, and the most imported modules are ranked.
    """
    from bndl.cli.demo import run_demo

    run_demo(paths, workers=workers, concurrency=concurrency, compare=compare, top=top, text=text)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="The script's own.")] = None,
    *,
    workers: Workers = None,
    concurrency: Concurrency = 1,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
) -> None:
    """Run a script as python does, with `ctx` ready in it.

    Options for bndl go before the script; all that comes after it is the script's.
    """
    from bndl.cli.run import run_script
    from bndl.cli.settings import ConnectSettings

    settings = ConnectSettings(workers, concurrency, tuple(seeds or ()), secret_file)
    run_script(script, arguments or [], settings)


@app.command()
def shell(
    *,
    workers: Workers = None,
    concurrency: Concurrency = 1,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
) -> None:
    """Start a Python shell with `ctx` ready in it: IPython if it is installed."""
    from bndl.cli.settings import ConnectSettings
    from bndl.cli.shell import run_shell

    run_shell(ConnectSettings(workers, concurrency, tuple(seeds or ()), secret_file))


def main() -> None:
    """Run the command line. Exits with 0, 1 (it failed), 2 (bad input) or 130 (interrupted)."""
    try:
        # Not app(): that replaces sys.excepthook, which belongs to the script in ``bndl run``.
        typer.main.get_command(app)(prog_name="bndl")
    except BndlError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        sys.exit(1)
