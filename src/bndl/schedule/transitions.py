"""The states of a task, and all that can move it from one to another.

Two rules stand above the table:

1. A task has a current attempt exactly while it is pending. A straggler may have a second one, its twin; whichever
   succeeds first is the one that counts.
2. Whatever is not in the table is a bug: ``move`` raises ``ForbiddenTransition`` with the task's story.

The diagram in the documentation is generated from the table (``diagram``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["TRANSITIONS", "Cause", "State", "diagram"]


class State(StrEnum):
    """Where a task is in its life."""

    #: Something it needs is not there yet: the barrier before its stage, another task, or the time of its next attempt.
    BLOCKED = "blocked"
    #: It could be launched if a worker had room.
    READY = "ready"
    #: An attempt of it was launched, and is queued or running on a worker.
    PENDING = "pending"
    #: It succeeded, failed or was cancelled.
    DONE = "done"


class Cause(StrEnum):
    """What moves a task from one state to another."""

    ADDED = "added"
    ADDED_BLOCKED = "added, inputs missing"
    UNBLOCKED = "inputs are there"
    LAUNCHED = "launched"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "failed, tried again"
    DELAYED = "failed, tried again later"
    RETURNED = "taken back"
    WORKER_LOST = "worker lost"
    INPUTS_LOST = "inputs lost"
    RESULT_LOST = "result lost"
    RESULT_AND_INPUTS_LOST = "result and inputs lost"
    CANCELLED = "cancelled"
    FORBIDDEN = "no worker may run it"


#: (state, cause) -> state. ``None`` is the state before a task is known.
TRANSITIONS: Mapping[tuple[State | None, Cause], State] = {
    (None, Cause.ADDED): State.READY,
    (None, Cause.ADDED_BLOCKED): State.BLOCKED,
    (State.BLOCKED, Cause.UNBLOCKED): State.READY,
    (State.BLOCKED, Cause.CANCELLED): State.DONE,
    (State.READY, Cause.LAUNCHED): State.PENDING,
    (State.READY, Cause.INPUTS_LOST): State.BLOCKED,
    (State.READY, Cause.CANCELLED): State.DONE,
    (State.READY, Cause.FORBIDDEN): State.DONE,
    (State.PENDING, Cause.SUCCEEDED): State.DONE,
    (State.PENDING, Cause.FAILED): State.DONE,
    (State.PENDING, Cause.CANCELLED): State.DONE,
    (State.PENDING, Cause.RETRIED): State.READY,
    (State.PENDING, Cause.DELAYED): State.BLOCKED,
    (State.PENDING, Cause.RETURNED): State.READY,
    (State.PENDING, Cause.WORKER_LOST): State.READY,
    (State.PENDING, Cause.INPUTS_LOST): State.BLOCKED,
    (State.DONE, Cause.RESULT_LOST): State.READY,
    (State.DONE, Cause.RESULT_AND_INPUTS_LOST): State.BLOCKED,
}


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (before, cause), after in TRANSITIONS.items():
        lines.append(f"    {before or '[*]'} --> {after}: {cause}")
    lines.append("    done --> [*]: the job is over")
    return "\n".join(lines) + "\n"
