"""The ``bndl`` command and its options. What a command does is in the module of its name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bndl import _version
from bndl.errors import BndlError
from bndl.printable import printable

__all__ = ["app", "main"]

app = typer.Typer(
    name="bndl",
    help="Executes tasks on workers: jobs of stages of tasks, on one machine or a cluster that finds itself.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cluster_app = typer.Typer(help="Make what a cluster of several machines needs.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")

Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="How many worker processes to start.", show_default="one per core"),
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="How many tasks each worker executes at the same time.", show_default="1"),
]
Seeds = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Join a running cluster: the address of a node of it. May be repeated."),
]
SecretFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Holds the secret of the cluster.")]
CredentialsFolder = Annotated[
    Path | None,
    typer.Option("--credentials", metavar="DIR", help="Made by bndl cluster init: the secret, and keys for TLS."),
]
ClusterName = Annotated[str | None, typer.Option("--cluster", metavar="NAME", help="The name of the cluster.")]
Mesh = Annotated[
    bool | None,
    typer.Option(
        "--mesh/--no-mesh",
        help="Connect to all other nodes, or to one of the seeds only, which must be routers.",
        show_default="--mesh",
    ),
]
Listen = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Where other nodes can join, such as tls/10.0.0.5:5000. May be repeated."),
]
SCRIPT_HELP = "A Python file, or a folder or zip file with a __main__.py."
AsModule = Annotated[
    bool, typer.Option("-m", "--module", help="SCRIPT is the name of a module or package, as with python -m.")
]
InsecurePlaintext = Annotated[
    bool | None,
    typer.Option("--insecure-plaintext", help="Listen on the network without TLS; for networks that you trust."),
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
    concurrency: Concurrency = None,
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

    run_demo(paths, workers=workers, concurrency=concurrency or 1, compare=compare, top=top, text=text)


@app.command(context_settings={"allow_interspersed_args": False})
def run(  # noqa: PLR0913 - typer makes an option of each
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help=SCRIPT_HELP)],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="The script's own.")] = None,
    *,
    module: AsModule = False,
    workers: Workers = None,
    concurrency: Concurrency = None,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    mesh: Mesh = None,
) -> None:
    """Run a script as python does, with `ctx` ready in it.

    Options for bndl go before the script; all that comes after it is the script's.
    """
    from bndl.cli.run import run_script
    from bndl.cli.settings import ConnectSettings

    settings = ConnectSettings(workers, concurrency, _split(seeds), secret_file, credentials, cluster, mesh)
    run_script(script, arguments or [], settings, as_module=module)


@app.command(context_settings={"allow_interspersed_args": False})
def profile(  # noqa: PLR0913 - typer makes an option of each
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help=SCRIPT_HELP)],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="The script's own.")] = None,
    *,
    module: AsModule = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the report; the suffix is its kind.")
    ] = Path("profile.html"),
    mode: Annotated[str, typer.Option(metavar="MODE", help="sampling, quick; tracing, exact.")] = "sampling",
    clock: Annotated[str, typer.Option(metavar="CLOCK", help="Of tracing: cpu or wall.")] = "cpu",
    interval: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Of sampling: between two samples.", show_default="0.01"),
    ] = None,
    native: Annotated[bool, typer.Option("--native", help="Of sampling: see functions of C as well.")] = False,
    workers: Workers = None,
    concurrency: Concurrency = None,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    mesh: Mesh = None,
) -> None:
    """Run a script as `bndl run` does, profile the whole cluster meanwhile, and write a report.

    Kinds of reports: .html, .speedscope.json, .pstats and .callgrind.
    """
    from bndl.cli.profile import ProfileSettings, profile_script
    from bndl.cli.settings import ConnectSettings

    settings = ConnectSettings(workers, concurrency, _split(seeds), secret_file, credentials, cluster, mesh)
    profiling = ProfileSettings(output, mode, clock, interval, native)
    profile_script(script, arguments or [], settings, profiling, as_module=module)


@app.command()
def shell(
    *,
    workers: Workers = None,
    concurrency: Concurrency = None,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    mesh: Mesh = None,
) -> None:
    """Start a Python shell with `ctx` ready in it: IPython if it is installed."""
    from bndl.cli.settings import ConnectSettings
    from bndl.cli.shell import run_shell

    run_shell(ConnectSettings(workers, concurrency, _split(seeds), secret_file, credentials, cluster, mesh))


@app.command()
def worker(  # noqa: PLR0913 - typer makes an option of each
    *,
    workers: Workers = None,
    concurrency: Concurrency = None,
    listen: Listen = None,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    mesh: Mesh = None,
    insecure_plaintext: InsecurePlaintext = None,
) -> None:
    """Run workers for a cluster until SIGTERM, Ctrl-C or the end of the terminal: they finish what they run, and leave.

    A second Ctrl-C ends them at once.
    """
    from bndl.cli.worker import run_worker

    run_worker(
        {
            "workers": workers,
            "concurrency": concurrency,
            "listen": _split(listen),
            "seeds": _split(seeds),
            "secret_file": secret_file,
            "credentials": credentials,
            "cluster": cluster,
            "mesh": mesh,
            "insecure_plaintext": insecure_plaintext,
        }
    )


@app.command()
def router(
    *,
    listen: Listen = None,
    seeds: Seeds = None,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    insecure_plaintext: InsecurePlaintext = None,
) -> None:
    """Run a router for nodes with --no-mesh, until SIGTERM, Ctrl-C or the end of the terminal.

    Seeds are other routers.
    """
    from bndl.cli.router import run_router

    run_router(
        {
            "listen": _split(listen),
            "seeds": _split(seeds),
            "secret_file": secret_file,
            "credentials": credentials,
            "cluster": cluster,
            "insecure_plaintext": insecure_plaintext,
        }
    )


@app.command()
def config() -> None:
    """Print each setting with where it comes from: defaults, bndl.toml, the environment."""
    from bndl.cli.config import print_config

    print_config()


@cluster_app.command("init")
def cluster_init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    *,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="Make credentials for this machine. May be repeated."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, metavar="N", help="For how many days the certificates are valid.")] = 3650,
) -> None:
    """Make what the nodes of a cluster need to trust each other: a secret, and certificates for TLS.

    Each machine gets one folder of DIR, to be named with --credentials. What is in DIR itself is to make more of them.
    """
    from bndl.cli.cluster import init_cluster

    init_cluster(folder, hosts or ["node"], days)


@cluster_app.command("add")
def cluster_add(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made by bndl cluster init.")],
    hosts: Annotated[list[str], typer.Argument(metavar="NAME...", help="Machines that join the cluster.")],
    *,
    days: Annotated[int, typer.Option(min=1, metavar="N", help="For how many days the certificates are valid.")] = 3650,
) -> None:
    """Make credentials for more machines."""
    from bndl.cli.cluster import add_hosts

    add_hosts(folder, hosts, days)


def _split(addresses: list[str] | None) -> tuple[str, ...] | None:
    """An option may be repeated, or have several addresses with commas."""
    return tuple(part for each in addresses for part in each.split(",") if part) if addresses else None


@cluster_app.command("check")
def cluster_check(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Of a node, such as tls/10.0.0.5:5000.")],
    *,
    secret_file: SecretFile = None,
    credentials: CredentialsFolder = None,
    cluster: ClusterName = None,
    mesh: Mesh = None,
) -> None:
    """See whether this machine can join at ADDRESS: reachable, TLS, secret, cluster, versions, clock.

    Nothing is started there. The exit code is 0 if it can join.
    """
    from bndl.cli.check import check_cluster

    check_cluster(address, {"secret_file": secret_file, "credentials": credentials, "cluster": cluster, "mesh": mesh})


def main() -> None:
    """Run the command line. Exits with 0, 1 (it failed), 2 (bad input) or 130 (interrupted)."""
    try:
        # Not app(): that replaces sys.excepthook, which belongs to the script in ``bndl run``.
        typer.main.get_command(app)(prog_name="bndl")
    except BndlError as error:
        from bndl.cli.wording import in_options

        typer.secho(printable(in_options(error)), fg=typer.colors.RED, err=True)
        sys.exit(1)
