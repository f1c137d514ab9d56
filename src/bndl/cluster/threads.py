"""How many threads numeric libraries use: each worker its share of the cores, or they would get in each other's way.

Such libraries start a thread for each core of the machine, in each process. They heed variables of the environment,
which must be there before they are loaded (https://github.com/joblib/threadpoolctl lists them).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["count_cores", "limit_threads", "share_of_cores"]

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores(workers: int) -> int:
    """How many cores there are for each of so many workers; at least one."""
    return max(count_cores() // max(workers, 1), 1)


def limit_threads(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment of a worker. What the user has set stays as it is."""
    return {**dict.fromkeys(_VARIABLES, str(threads)), **environment}
