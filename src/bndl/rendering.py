"""How a task's error looks in IPython and notebooks: the user's traceback first, then the call that asked for it."""

from __future__ import annotations

import traceback
from pathlib import Path

from bndl.printable import printable_line

__all__ = ["render"]

#: Frames of this package, and of the futures that it gives out, say nothing to users.
_NOT_USERS = (f"{Path(__file__).parent}/", f"{Path(traceback.__file__).parent / 'concurrent'}/")


def render(error: BaseException) -> list[str]:
    """The lines for an error whose cause came from a worker.

    Args:
        error: its cause is the user's exception, and the cause of that has the traceback in the worker as ``text``.
    """
    cause = error.__cause__
    remote: str = getattr(cause.__cause__, "text", "") if cause is not None else ""
    lines = remote.rstrip().splitlines()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_USERS)]
    lines += ["", *"".join(traceback.format_list(frames[-1:])).rstrip().splitlines()]
    return [*map(printable_line, lines), f"{type(error).__module__}.{type(error).__qualname__}: {error}"]
