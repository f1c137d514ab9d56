"""``bndl run``: a program, run as python runs it, but with a context that is connected as the options say.

It is what python takes: a file, a folder or zip file with a ``__main__.py``, or, with ``-m``, a module or package.
"""

from __future__ import annotations

import importlib.util
import io
import pkgutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn, cast

import typer

from bndl.cli.settings import ConnectSettings, make_main_module

__all__ = ["run_script"]

#: The modules whose frames come before those of the user's program.
_MACHINERY = (__name__, "importlib", "_frozen_importlib", "zipimport", "pkgutil")


@dataclass(frozen=True, slots=True)
class _Program:
    """What is run.

    Attributes:
        path: the file that the code is from, for ``__file__``.
        load: makes the code. It raises what python would print, such as ``SyntaxError``.
        loader: made the code; it also has the source, for tracebacks.
        spec: how it was found, if it was not named by its file.
    """

    path: str
    load: Callable[[], CodeType]
    loader: object
    spec: ModuleSpec | None = None


def run_script(
    script: str,
    arguments: Sequence[str],
    settings: ConnectSettings,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    as_module: bool = False,
) -> None:
    """Run a program as ``__main__``. ``SystemExit`` passes; other exceptions are printed as python prints them.

    Args:
        script: the path of the file, folder or zip file, as the user wrote it, or the name of the module.
        arguments: what the program finds in ``sys.argv[1:]``.
        settings: how to connect.
        around: entered once the context is connected, and left when the program is over.
        as_module: whether ``script`` names a module.

    Raises:
        typer.Exit: there is no such program (2), it raised (1), or it was interrupted (130).
        SystemExit: the program ended itself.
        BndlError: connecting failed.
    """
    if as_module:
        with suppress(OSError):  # the current folder was removed
            _put_first(str(Path.cwd()), is_code=False)
        program = None
        if importlib.util.find_spec(script.partition(".")[0]) is None:  # looking further runs code of the packages
            _fail(f"no module named {script!r}; give the name of a module that can be imported here")
        sys.argv = ["-m", *arguments]
    else:
        program = _find_file(script)
        sys.argv = [script, *arguments]
    settings.connect()
    module = make_main_module()
    try:
        if program is None:
            program = _find_module(script)
            sys.argv[0] = program.path
        _describe(module, program)
        with around():
            exec(program.load(), module.__dict__)  # noqa: S102 - its purpose
    except (SystemExit, typer.Exit):
        raise
    except BaseException as error:  # noqa: BLE001 - the program ends here, whatever it raised
        _print(error)
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else 1) from None


def _find_file(script: str) -> _Program:
    path = Path(script)
    try:
        entry = str(path.absolute())
    except OSError:  # the current folder was removed
        entry = script
    importer = pkgutil.get_importer(entry)
    if importer is not None:
        spec = importer.find_spec("__main__", None)
        if spec is None:
            _fail(f"can't find '__main__' module in {script!r}; give a folder or zip file with a __main__.py")
        _put_first(entry, is_code=True)
        return _program_of(spec)
    try:
        with io.open_code(str(path.absolute())) as file:
            source = file.read()
    except OSError as error:
        _fail(f"can't open file {script!r}: {error.strerror}; give the path of a Python script")
    _put_first(str(path.resolve().parent), is_code=False)
    name = str(path.absolute())
    if path.suffix == ".pyc":
        compiled = SourcelessFileLoader("__main__", name)
        return _Program(name, lambda: _get_code(compiled, "__main__"), compiled)
    return _Program(name, lambda: compile(source, name, "exec", dont_inherit=True), SourceFileLoader("__main__", name))


def _find_module(name: str) -> _Program:
    """Find a module, or the ``__main__`` of a package. Imports the packages that it is in, which may raise anything."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        inner = f"{name}.__main__"
        if importlib.util.find_spec(inner) is None:
            _fail(f"no module named {inner!r}; {name!r} is a package and cannot be run without it")
        return _find_module(inner)
    if spec is None:
        _fail(f"no module named {name!r}; give the name of a module that can be imported here")
    return _program_of(spec)


def _program_of(spec: ModuleSpec) -> _Program:
    loader = spec.loader
    if loader is None or not hasattr(loader, "get_code"):
        _fail(f"{spec.name!r} has no code that can be run")
    return _Program(spec.origin or spec.name, lambda: _get_code(cast("InspectLoader", loader), spec.name), loader, spec)


def _get_code(loader: InspectLoader, name: str) -> CodeType:
    code = loader.get_code(name)
    if code is None:
        _fail(f"{name!r} has no code that can be run; it may be an extension module")
    return code


def _put_first(entry: str, *, is_code: bool) -> None:
    """Have modules looked for there first, as python does; also in its safe mode (-P) if that is what is run."""
    if not sys.flags.safe_path:
        sys.path[0] = entry
    elif is_code:
        sys.path.insert(0, entry)


def _describe(module: ModuleType, program: _Program) -> None:
    module.__file__ = program.path
    module.__loader__ = program.loader  # type: ignore[assignment] # each loader is as python has it
    spec = module.__spec__ = program.spec
    module.__dict__["__cached__"] = spec.cached if spec is not None else None
    if spec is not None:
        module.__package__ = spec.parent


def _fail(text: str) -> NoReturn:
    typer.secho(f"bndl: {text}", fg=typer.colors.RED, err=True)
    raise typer.Exit(2)


def _print(error: BaseException) -> None:
    """Print an exception of the program, without the frames that run it."""
    trace = _cut(error.__traceback__)
    # The hook prints the traceback that the exception has, so it must be cut there too.
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _cut(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_MACHINERY):
        trace = trace.tb_next
    return trace
