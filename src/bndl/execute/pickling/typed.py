"""Sources that Python forgets, up to version 3.12: of ``python -c``, of a script on standard input, of its shell."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from types import CodeType
from typing import Any

__all__ = ["NAMES", "find_lines", "has_sources", "read_command"]

_COMMAND = "<string>"
#: Options of the interpreter that have an argument.
_WITH_ARGUMENT = "WX"
#: How many of the last lines of a shell are looked at, and how many of them there may be in a function.
_MOST_HISTORY = 500
_MOST_LINES = 200
_MOST_BYTES = 1 << 20


@lru_cache(maxsize=256)
def find_lines(code: CodeType, last: int) -> list[str]:
    """The lines of code whose file has one of the ``NAMES``, up to ``last``; empty if they are not to be had."""
    return NAMES[code.co_filename](code, last)


def has_sources(name: str) -> bool:
    """Whether the lines of some code of this name may be found here."""
    if name == _COMMAND:
        return bool(read_command(tuple(sys.orig_argv)))
    return bool(_read_input()) or "readline" in sys.modules


def _find_in_command(code: CodeType, last: int) -> list[str]:
    return _find_in(read_command(tuple(sys.orig_argv)), code, last)


def _find_in_input(code: CodeType, last: int) -> list[str]:
    return _find_in(_read_input(), code, last) or _find_in_history(code, last)


def _find_in(source: str, code: CodeType, last: int) -> list[str]:
    """The lines of code, if it is of this source: other code has the same name of a file, such as that of ``exec``."""
    is_in = bool(source) and _key(code) in _keys_of_program(source)
    return source.splitlines(keepends=True)[code.co_firstlineno - 1 : last] if is_in else []


@cache
def read_command(arguments: tuple[str, ...]) -> str:
    """The program that was given with ``-c``; empty if there was none."""
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "--check-hash-based-pycs":
            next(rest, "")
        elif not argument.startswith("-") or argument == "-":
            break
        elif not argument.startswith("--"):
            for index, letter in enumerate(argument[1:], 2):
                if letter == "c":
                    return argument[index:] or next(rest, "")
                if letter == "m":
                    return ""
                if letter in _WITH_ARGUMENT:
                    if not argument[index:]:
                        next(rest, "")
                    break
    return ""


@cache
def _read_input() -> str:
    """The script on standard input, if that is a file, which can be read again."""
    try:
        if stat.S_ISREG(os.fstat(0).st_mode):
            return os.pread(0, _MOST_BYTES, 0).decode()
    except (OSError, UnicodeDecodeError):
        pass
    return ""


def _find_in_history(code: CodeType, last: int) -> list[str]:
    """The last lines of the shell's history that compile to this code."""
    readline: Any = sys.modules.get("readline")
    if readline is None or last > _MOST_LINES:
        return []
    count = readline.get_current_history_length()
    history = [f"{readline.get_history_item(each) or ''}\n" for each in range(max(1, count - _MOST_HISTORY), count + 1)]
    word = code.co_name.strip("<>")
    for start in range(len(history) - last, -1, -1):
        source = "".join(history[start : start + last])
        # The last line may begin a block that is longer than the code looked for.
        if word in source and any(_key(code) in _keys_of(f"{source}{rest}", "single") for rest in ("", " pass\n")):
            return history[start + code.co_firstlineno - 1 : start + last]
    return []


@lru_cache(maxsize=2)
def _keys_of_program(source: str) -> frozenset[tuple[str, int, bytes]]:
    return _keys_of(source, "exec")


def _key(code: CodeType) -> tuple[str, int, bytes]:
    return code.co_qualname, code.co_firstlineno, code.co_code


def _keys_of(source: str, mode: str) -> frozenset[tuple[str, int, bytes]]:
    """All code in a source."""
    try:
        compiled = compile(source, "<typed>", mode, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(map(_key, _walk(compiled)))


def _walk(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _walk(constant)


#: The names that Python gives to what was typed in, each with what finds its lines.
NAMES: dict[str, Callable[[CodeType, int], list[str]]] = {
    _COMMAND: _find_in_command,
    "<stdin>": _find_in_input,
    "<console>": _find_in_history,
}
