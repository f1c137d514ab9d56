"""Several processes in one: each has keys and definitions of its own, so what one sends, another one makes again.

What one of them imports, all have. So a test makes modules that nobody can import, or classes within functions.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bndl.execute.payloads import Packer, unpack
from bndl.execute.pickling import identity, loading


class Process:
    """A process with its keys and its definitions."""

    def __init__(self) -> None:
        self._registry = identity.Registry()
        self._cache = loading.Cache()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be this process."""
        before = identity.registry, loading.cache
        identity.registry, loading.cache = self._registry, self._cache
        try:
            yield
        finally:
            identity.registry, loading.cache = before

    def pack(self, value: Any) -> bytes:
        """What the process sends."""
        with self.entered():
            return Packer().pack(value)

    def unpack(self, payload: bytes) -> Any:
        """What the process gets."""
        with self.entered():
            return unpack(payload)


@contextmanager
def module_of(source: str, name: str = "only_here") -> Iterator[Any]:
    """A module that is in ``sys.modules`` and that no worker can import."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        exec(source, module.__dict__)  # noqa: S102 - as a script does that loads its plugins itself
        yield module
    finally:
        sys.modules.pop(name, None)
