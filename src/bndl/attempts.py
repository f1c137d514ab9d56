"""The record of an attempt of a task that ended."""

from __future__ import annotations

from bndl.printable import printable_line

__all__ = ["AttemptRecord"]


class AttemptRecord:
    """One attempt of a task, as it ended.

    Attributes:
        number: counted from 1.
        worker: the name of the worker that executed it.
        outcome: ``succeeded``; ``failed``, because it raised or its result did not fit; ``timed out``; ``lost`` with
            its worker; ``inputs missing``, after which bndl makes these again; ``abandoned``, because another attempt
            of the task was first.
        cause: the error in one line; empty if there was no error.
        duration: seconds of execution; 0.0 if they were lost with the worker.
    """

    __slots__ = ("cause", "duration", "number", "outcome", "worker")

    def __init__(self, number: int, worker: str, outcome: str, cause: str = "", duration: float = 0.0) -> None:
        self.number = number
        self.worker = worker
        self.outcome = outcome
        self.cause = cause
        self.duration = duration

    def __repr__(self) -> str:
        cause = f": {printable_line(self.cause)}" if self.cause else ""
        return f"<attempt {self.number} {self.outcome} on {self.worker} after {self.duration:.3f} s{cause}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttemptRecord):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.number, self.worker, self.outcome))
