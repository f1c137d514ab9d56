"""Code objects: how they travel."""

from __future__ import annotations

from types import CodeType
from typing import Any

__all__ = ["reduce_code"]


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """What is pickled in the place of a code object. The file's name and the lines stay what they are."""
    return CodeType, (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_filename,
        code.co_name,
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
        code.co_freevars,
        code.co_cellvars,
    )
