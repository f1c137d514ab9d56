"""Work waits for workers only so long."""

from __future__ import annotations

from collections.abc import Callable

from bndl.errors import NoWorkers
from bndl.loop import Loop, Timer

__all__ = ["Patience"]


class Patience:
    """Fails work for which there is no worker. To be used on the driver's loop only.

    Args:
        loop: the driver's.
        timeout: for how many seconds work waits when there is no worker.
        describe: says, with a space in front, which nodes could be workers and are not.
        fail: fails all work.
    """

    def __init__(
        self, loop: Loop, timeout: float, describe: Callable[[], str], fail: Callable[[NoWorkers], None]
    ) -> None:
        self._loop = loop
        self._timeout = timeout
        self._describe = describe
        self._fail = fail
        self._timer: Timer | None = None

    def watch(self, *, is_needed: bool) -> None:
        """Take note of whether work is waiting and no worker is there; to be called whenever that may have changed."""
        if is_needed and self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._give_up)
        elif not is_needed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        text = (
            f"there was no worker for {self._timeout:g} s while work was waiting.{self._describe()} Start some with "
            "bndl.connect(workers=...), or look at why those that were there ended."
        )
        self._fail(NoWorkers(text))
