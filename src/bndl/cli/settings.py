"""The options that ``bndl run`` and ``bndl shell`` share, and the ``__main__`` of the user's code."""

from __future__ import annotations

import builtins
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bndl.context.connect import connect
from bndl.context.default import set_default

__all__ = ["ConnectSettings", "make_main_module"]


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """How to connect; the fields are those of ``bndl.connect``."""

    workers: int | None = None
    concurrency: int | None = None
    seeds: tuple[str, ...] | None = None
    secret_file: Path | None = None
    credentials: Path | None = None
    cluster: str | None = None
    mesh: bool | None = None

    def connect(self) -> None:
        """Connect the process-wide context, ``bndl.ctx``. It is stopped when the process ends.

        Not before that: threads of the user's code may outlive its last line, as they may with python.

        Raises:
            InvalidOption: the settings make no sense.
            ClusterError: the node cannot listen.
        """
        context = connect(
            workers=self.workers,
            concurrency=self.concurrency,
            seeds=self.seeds,
            secret_file=self.secret_file,
            credentials=self.credentials,
            cluster=self.cluster,
            mesh=self.mesh,
        )
        set_default(context)


def make_main_module() -> ModuleType:
    """Make a fresh ``__main__`` with ``ctx`` in it, and let it be that of this process.

    What is defined in it travels to the workers by value, as it does from any ``__main__``.
    """
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    module.__dict__["ctx"] = importlib.import_module("bndl").ctx
    sys.modules["__main__"] = module
    return module
