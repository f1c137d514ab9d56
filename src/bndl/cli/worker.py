"""``bndl worker``: workers of this machine for a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from bndl.cluster.host import WorkerHost
from bndl.cluster.threads import count_cores
from bndl.config import Config
from bndl.configure import configure
from bndl.net.credentials import Credentials, find_credentials, require_credentials

__all__ = ["describe_credentials", "end_on_signals", "run_worker", "written"]

#: Seconds between looks at the workers.
_INTERVAL = 0.1


def run_worker(arguments: Mapping[str, object]) -> None:
    """Run workers until they are told to leave.

    Args:
        arguments: settings that the command line gave; None for those that it did not.

    Raises:
        InvalidOption: an option makes no sense, or is not safe.
        ClusterError: it cannot listen.
        WorkerFailedToStart: no worker stays up.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    config = configure(arguments).config
    credentials = require_credentials(config)
    count = config.workers if config.workers is not None else count_cores()
    host = WorkerHost(count, config, credentials)
    leave = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(host.stop)
        end_on_signals(leave)
        host.start()
        named = find_credentials(config) is not None
        secret_file = None if named else stack.enter_context(written(credentials))
        _introduce(host, config, secret_file)
        said = False
        while not leave.wait(_INTERVAL):
            if not said and host.are_there.is_set():
                said = True
                concurrency = f"{config.concurrency} tasks at a time in each"
                typer.echo(f"{count} workers of cluster {host.cluster!r} are there, {concurrency}")
            if not host.running and host.failure is not None:
                raise host.failure
        typer.echo("leaving: the workers finish what they run; Ctrl-C ends them at once")
        host.drain()


def end_on_signals(leave: threading.Event) -> None:
    """Set the event on SIGTERM and Ctrl-C; a second Ctrl-C interrupts."""

    def handle(number: int, _frame: object) -> None:
        if leave.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        leave.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


@contextlib.contextmanager
def written(credentials: Credentials) -> Iterator[Path]:
    """A fresh secret in a file, for those who are to join. It goes when the workers go."""
    handle, name = tempfile.mkstemp(prefix="bndl-", suffix=".secret")  # only this user may read it
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(credentials.secret + "\n")
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def describe_credentials(config: Config, secret_file: Path | None) -> str:
    """The options that others join with."""
    if config.credentials:
        option = f"--credentials {shlex.quote(config.credentials)}"
    else:
        option = f"--secret-file {shlex.quote(str(secret_file or config.secret_file))}"
    return option + (f" --cluster {shlex.quote(config.cluster)}" if config.cluster else "")


def _introduce(host: WorkerHost, config: Config, secret_file: Path | None) -> None:
    """Say how others join. The first line is for programs, too."""
    if not host.addresses:
        typer.echo(f"joined through {' '.join(config.seeds)}")
        return
    typer.echo(f"listening on {' '.join(host.addresses)}")
    options = describe_credentials(config, secret_file)
    typer.echo(f"to join: bndl worker --seeds {host.addresses[0]} {options}")
    typer.echo(f"to use it: bndl shell --seeds {host.addresses[0]} {options}")
