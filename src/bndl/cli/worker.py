"""``bndl worker``: workers of this machine for a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from bndl.cli.serving import Leave, begin, describe_credentials, end_on_signals, say, secret_file
from bndl.cluster.host import WorkerHost
from bndl.cluster.threads import count_cores
from bndl.config import Config

__all__ = ["run_worker"]


def run_worker(arguments: Mapping[str, object]) -> None:
    """Run workers until they are told to leave.

    Args:
        arguments: settings that the command line gave; None for those that it did not.

    Raises:
        InvalidOption: an option makes no sense, or is not safe.
        ClusterError: it cannot listen.
        WorkerFailedToStart: no worker stays up.
    """
    config, credentials = begin(arguments)
    count = config.workers if config.workers is not None else count_cores()
    host = WorkerHost(count, config, credentials)
    leave = Leave()
    with contextlib.ExitStack() as stack:
        stack.callback(host.stop)
        end_on_signals(leave)
        host.start()
        _introduce(host, config, stack.enter_context(secret_file(config, credentials)))
        said = False
        while not leave.after_a_moment():
            if not said and host.are_there.is_set():
                said = True
                concurrency = f"{config.concurrency} tasks at a time in each"
                say(f"{count} workers of cluster {host.cluster!r} are there, {concurrency}")
            if not host.running and host.failure is not None:
                raise host.failure
        say("leaving: the workers finish what they run; Ctrl-C ends them at once")
        host.drain()


def _introduce(host: WorkerHost, config: Config, secret: Path | None) -> None:
    """Say how others join. The first line is for programs, too."""
    if not host.addresses:
        say(f"joined through {' '.join(config.seeds)}")
        return
    say(f"listening on {' '.join(host.addresses)}")
    options = describe_credentials(config, secret)
    say(f"to join: bndl worker --seeds {host.addresses[0]} {options}")
    say(f"to use it: bndl shell --seeds {host.addresses[0]} {options}")
