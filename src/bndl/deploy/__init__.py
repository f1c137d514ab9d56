"""Workers on the machines of engines that users already run.

::

    bndl.connect(deploy=bndl.deploy.RayWorkers(workers=8))

Each is loaded when it is first used, because its engine is not installed with bndl. ``deploy.engine`` says what one has
to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bndl.deploy.ray import RayWorkers

__all__ = ["RayWorkers"]

_HOMES = {"RayWorkers": "bndl.deploy.ray"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'bndl.deploy' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)
