"""What the commands have in common that run until they are told to end, and that others join."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from bndl.config import Config
from bndl.configure import configure
from bndl.errors import InvalidOption
from bndl.net.credentials import Credentials, find_credentials, require_credentials

__all__ = ["Leave", "begin", "describe_credentials", "end_on_signals", "say", "secret_file"]

#: Seconds between looks at whether to end. Signals are handled between two of them.
_INTERVAL = 0.1


def begin(arguments: Mapping[str, object]) -> tuple[Config, Credentials]:
    """Log to standard error, and find the settings and the credentials.

    Args:
        arguments: settings that the command line gave; None for those that it did not.

    Raises:
        InvalidOption: an option makes no sense, or is not safe.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    config = configure(arguments).config
    return config, require_credentials(config)


class Leave:
    """Whether to leave. Without a lock: a signal may come while the thread that it comes to has that."""

    def __init__(self) -> None:
        self.is_wanted = False

    def after_a_moment(self) -> bool:
        """Whether to leave, a moment from now, or at once if it is so already."""
        if not self.is_wanted:
            time.sleep(_INTERVAL)
        return self.is_wanted


def end_on_signals(leave: Leave) -> None:
    """Have us leave on SIGTERM, on the end of the terminal and on Ctrl-C; a second Ctrl-C interrupts."""

    def handle(number: int, _frame: object) -> None:
        if leave.is_wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        leave.is_wanted = True

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    # Under nohup it is ignored, and stays so.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handle)


def say(text: str) -> None:
    """Write a line, unless the terminal is gone: that is no reason not to end in order."""
    with contextlib.suppress(OSError):
        typer.echo(text)


@contextlib.contextmanager
def secret_file(config: Config, credentials: Credentials) -> Iterator[Path | None]:
    """The file of a fresh secret, for those who are to join, as long as it is needed. None if the settings name one.

    Raises:
        InvalidOption: there is no folder for it.
    """
    if find_credentials(config) is not None:
        yield None
        return
    try:
        handle, name = tempfile.mkstemp(prefix="bndl-", suffix=".secret")  # only this user may read it
    except OSError as error:
        text = (
            f"the file of a fresh secret cannot be written ({error.strerror}). Give --secret-file or --credentials, or "
            "name a folder that can be written to with TMPDIR."
        )
        raise InvalidOption(text) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(credentials.secret + "\n")
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def describe_credentials(config: Config, secret: Path | None) -> str:
    """The options that others join with, with the file of a fresh secret if there is one."""
    if config.credentials:
        option = f"--credentials {shlex.quote(config.credentials)}"
    else:
        option = f"--secret-file {shlex.quote(str(secret or config.secret_file))}"
    return option + (f" --cluster {shlex.quote(config.cluster)}" if config.cluster else "")
