"""``bndl shell``: a Python shell with a context in it."""

from __future__ import annotations

import code
import importlib
import platform
import sys
from contextlib import suppress
from typing import Any

from bndl import _version
from bndl.cli.settings import ConnectSettings, make_main_module

__all__ = ["run_shell"]


def run_shell(settings: ConnectSettings) -> None:
    """Start a shell: IPython if it is installed, else the one of the standard library.

    Args:
        settings: how to connect.

    Raises:
        BndlError: connecting failed.
    """
    sys.argv = [""]
    if not sys.flags.safe_path:
        sys.path[0] = ""  # modules are found in the current folder, as in python's shell
    settings.connect()
    namespace = make_main_module().__dict__
    namespace["bndl"] = importlib.import_module("bndl")
    banner = _make_banner(settings)
    ipython = _find_ipython()
    if ipython is None:
        _run_plain(namespace, banner)
    else:
        _run_ipython(ipython, namespace, banner)


def _find_ipython() -> Any:
    with suppress(ModuleNotFoundError):
        return importlib.import_module("IPython")
    return None


def _make_banner(settings: ConnectSettings) -> str:
    where = "the workers of the cluster it joins" if settings.seeds else "its workers on this machine"
    return "\n".join(
        [
            f"bndl {_version.__version__} on Python {platform.python_version()}",
            f"  ctx   runs work on {where}: list(ctx.map(abs, range(-3, 3)))",
            "  bndl  the library: bndl.Job, bndl.connect, bndl.errors",
            "ctx.await_workers() waits until the workers are there, help(ctx.map) explains.",
            "",
        ]
    )


def _run_ipython(ipython: Any, namespace: dict[str, Any], banner: str) -> None:
    config = importlib.import_module("traitlets.config").Config()
    config.TerminalInteractiveShell.banner1 = banner
    config.TerminalInteractiveShell.banner2 = ""
    ipython.start_ipython(argv=[], user_ns=namespace, config=config)


def _run_plain(namespace: dict[str, Any], banner: str) -> None:
    with suppress(ImportError):  # not there on every system; without them there is no history and no completion
        readline = importlib.import_module("readline")
        completer = importlib.import_module("rlcompleter").Completer(namespace)
        readline.set_completer(completer.complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner, local=namespace, exitmsg="")
