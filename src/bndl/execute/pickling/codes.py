"""Code objects: how they travel."""

from __future__ import annotations

from types import CodeType
from typing import Any

from bndl.execute.pickling.sources import find_source, keep_source

__all__ = ["reduce_code"]


class _Inner:
    """The code of a function inside of another one, whose source has that of this one in it."""

    def __init__(self, code: CodeType, file_name: str) -> None:
        self._code = code
        self._file_name = file_name

    def __reduce__(self) -> tuple[Any, ...]:
        return CodeType, _arguments(self._code, self._file_name)


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """What is pickled in the place of a code object. The file's name and the lines stay what they are."""
    source = find_source(code)
    if source is None:
        return CodeType, _arguments(code)
    file_name, first, lines = source
    return make_code, (_arguments(code, file_name), first, lines)


def make_code(arguments: tuple[Any, ...], first: int, lines: list[str]) -> CodeType:
    """The code object, where it arrives, whose source is known from then on."""
    code = CodeType(*arguments)
    name = keep_source(code.co_filename, first, lines)
    return code if name == code.co_filename else _rename(code, name)


def _rename(code: CodeType, file_name: str) -> CodeType:
    inner = (_rename(each, file_name) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_filename=file_name, co_consts=tuple(inner))


def _arguments(code: CodeType, file_name: str = "") -> tuple[Any, ...]:
    """What a code object is made of; with a ``file_name`` the code inside of it has that, and no source."""
    constants: tuple[Any, ...] = code.co_consts
    if file_name:
        constants = tuple(_Inner(each, file_name) if isinstance(each, CodeType) else each for each in constants)
    return (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        file_name or code.co_filename,
        code.co_name,
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
        code.co_freevars,
        code.co_cellvars,
    )
