"""``bndl run``: a script, run as python runs it, but with a context that is connected as the options say."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

import typer

from bndl.cli.settings import ConnectSettings, make_main_module

__all__ = ["run_script"]


def run_script(
    script: str,
    arguments: Sequence[str],
    settings: ConnectSettings,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Run a script as ``__main__``. ``SystemExit`` passes; other exceptions are printed as python prints them.

    Args:
        script: the path of the file, as the user wrote it.
        arguments: what the script finds in ``sys.argv[1:]``.
        settings: how to connect.
        around: entered once the context is connected, and left when the script is over.

    Raises:
        typer.Exit: the script cannot be read (2), it raised (1), or it was interrupted (130).
        SystemExit: the script ended itself.
        BndlError: connecting failed.
    """
    path = Path(script)
    try:
        with io.open_code(str(path.absolute())) as file:
            source = file.read()
    except OSError as error:
        text = f"bndl: can't open file {script!r}: {error.strerror}; give the path of a Python script"
        typer.secho(text, fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
    sys.argv = [script, *arguments]
    sys.path[0] = str(path.resolve().parent)
    settings.connect()
    module = _make_module(str(path.absolute()))
    try:
        with around():
            exec(compile(source, str(module.__file__), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - its purpose
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the script ends here, whatever it raised
        _print(error)
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else 1) from None


def _make_module(path: str) -> ModuleType:
    module = make_main_module()
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    module.__dict__["__cached__"] = None
    return module


def _print(error: BaseException) -> None:
    """Print an exception of the script, without the frames that run it."""
    trace = _cut(error.__traceback__)
    # The hook prints the traceback that the exception has, so it must be cut there too.
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _cut(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code is run_script.__code__:
        trace = trace.tb_next
    return trace
