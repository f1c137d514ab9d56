"""Which thread loads which definitions: a thread waits for another one only if both load the same one.

The user's code runs while definitions are loaded, and may take as long as it likes, or wait for another task.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Hashable, Iterator

__all__ = ["claimed"]


#: After so many seconds a thread looks again whether it has to wait.
_LOOK = 10.0


class _Claim:
    """The definitions that a thread loads."""

    def __init__(self, keys: frozenset[Hashable]) -> None:
        self.thread = threading.get_ident()
        self.keys = keys
        self.is_over = threading.Event()


class _Claims:
    """The claims of a process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a finalizer may load what it likes
        self.held: list[_Claim] = []
        #: By thread, whose claim it waits for.
        self.waiting: dict[int, int] = {}

    def take(self, claim: _Claim) -> _Claim | None:
        """Take a claim, unless that has to wait for another one."""
        with self.lock:
            for other in self.held:
                is_other = other.thread != claim.thread and not other.keys.isdisjoint(claim.keys)
                if is_other and not self._waits(other.thread, claim.thread):
                    self.waiting[claim.thread] = other.thread
                    return other
            self.held.append(claim)
        return None

    def _waits(self, thread: int | None, other: int) -> bool:
        """Whether a thread waits for another one, which may be if that one loads within what it loads."""
        for _ in range(len(self.waiting)):
            thread = None if thread is None else self.waiting.get(thread)
            if thread == other:
                return True
        return False

    def give_up(self, claim: _Claim) -> None:
        """Let others have the definitions of a claim."""
        with self.lock:
            if claim in self.held:
                self.held.remove(claim)
        claim.is_over.set()


_claims = _Claims()


def _begin_again() -> None:
    """The threads that held claims are not there in a forked process."""
    global _claims  # noqa: PLW0603 - the state of the process
    _claims = _Claims()


os.register_at_fork(after_in_child=_begin_again)


@contextlib.contextmanager
def claimed(keys: frozenset[Hashable]) -> Iterator[None]:
    """While it is entered, no other thread loads one of these definitions."""
    claims, claim = _claims, _Claim(keys)
    try:
        while (other := claims.take(claim)) is not None:
            try:
                other.is_over.wait(_LOOK)
            finally:
                claims.waiting.pop(claim.thread, None)
        yield
    finally:
        claims.give_up(claim)
