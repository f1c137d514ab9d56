"""For how long a ready task leaves a slot idle that is not its first choice.

Delay scheduling (Zaharia and others, EuroSys 2010, p. 265): a task that prefers some workers waits for one of them,
bounded by a multiple of the time that tasks of its stage take. A worker on which the task failed before is a worse
choice than any other: it may be the reason for the failure, and a task of microseconds would use up its retry budget
there before another worker has a free slot. So that wait has a floor in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bndl.schedule.groups import Group
from bndl.schedule.state import StageState

__all__ = ["ELSEWHERE_PATIENCE", "PLACE_PATIENCE", "list_waits", "patience"]

#: For how many times the time that a task of its stage takes a task waits for a better worker.
PLACE_PATIENCE = 5.0
#: For how many seconds at least a task waits for a worker on which it did not fail, while one is connected.
ELSEWHERE_PATIENCE = 5.0


def patience(stage: StageState, *, failed_there: bool = False) -> float:
    """For how many seconds a task waits before it takes a worker that is not its first choice.

    Args:
        stage: the task's stage. Without a measured task there is no wait for a better place.
        failed_there: whether the task failed on that worker, and did not on its first choice.
    """
    wait = PLACE_PATIENCE * (stage.mean_seconds or 0.0)
    return max(wait, ELSEWHERE_PATIENCE) if failed_there else wait


def list_waits(stage: StageState, group: Group, workers: Mapping[str, object], version: int) -> Sequence[float]:
    """For how long the tasks of a group wait: for workers on which they did not fail, and for all others.

    Args:
        stage: the stage of the group.
        group: the tasks.
        workers: all workers that are there, by name.
        version: changes when they do.
    """
    wait = patience(stage) if group.waits else 0.0
    if not group.is_avoiding(workers, version):
        return wait, wait
    return wait, patience(stage, failed_there=True)
