"""Names of functions and files, short enough to read and the same on all nodes."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from functools import lru_cache
from types import CodeType

from bndl.printable import printable_line
from bndl.profiling.wire import FunctionInfo

__all__ = ["builtin_info", "code_info", "make_info", "module_of", "shorten"]

_METHOD = re.compile(r"^<method '(?P<name>\w+)' of '(?P<type>[\w.]+)' objects>$")
#: ``<function Pickler.dump at 0x7f0f2e68f240>``; the address is another one on each node.
_PRINTED = re.compile(r"^<(?:function|slot wrapper|built-in \w+) '?(?P<name>[\w.]+).*>$")
_STDLIB = frozenset(sysconfig.get_path(which) for which in ("stdlib", "platstdlib"))


def _strip(path: str, *, stdlib: bool) -> str:
    best = ""
    for entry in sys.path:
        if not entry or (entry in _STDLIB and not stdlib):
            continue
        folder = entry.rstrip(os.sep) + os.sep
        if len(folder) > len(best) and path.startswith(folder):
            best = folder
    return path[len(best) :].lstrip(os.sep)


@lru_cache(maxsize=16_384)
def shorten(path: str) -> str:
    """The path of a file without the folder that its module was found in.

    Files of the standard library keep their folder, so that they are told apart from those of packages.
    """
    return path if path.startswith("<") else _strip(path, stdlib=False)


@lru_cache(maxsize=16_384)
def module_of(path: str) -> str:
    """The dotted name of the module in a file, as far as the path tells."""
    if path.startswith("<frozen "):
        return path[len("<frozen ") :].rstrip(">")
    name = _strip(path, stdlib=True).removesuffix(".py").replace(os.sep, ".")
    return name.removesuffix(".__init__")


def make_info(path: str, line: int, name: str, module: str, file: str) -> FunctionInfo:
    """A function, in texts that can travel and be shown: names of files and functions may have anything in them."""
    return printable_line(path), line, printable_line(name), printable_line(module), printable_line(file)


def code_info(code: CodeType) -> FunctionInfo:
    """A function, known by its code."""
    # Without the functions that it is defined in: the line tells which it is.
    name = getattr(code, "co_qualname", code.co_name).rpartition("<locals>.")[2]
    path = code.co_filename
    return make_info(shorten(path), code.co_firstlineno, name, module_of(path), path)


def builtin_info(module: str, name: str) -> FunctionInfo:
    """A function that is not written in Python.

    Args:
        module: as yappi names it.
        name: its name, or how it is printed.
    """
    if method := _METHOD.match(name):
        owner, _, kind = method["type"].rpartition(".")
        module = owner or module
        name = f"{kind}.{method['name']}"
    elif printed := _PRINTED.match(name):
        name = printed["name"]
    return make_info(module, 0, name, module, "")
