"""Drawn faults over drawn jobs. ``BNDL_SIM_SEEDS=100-2000`` runs other seeds, ``BNDL_SIM_SEEDS=17`` replays one."""

from __future__ import annotations

import os

import pytest

from bndl.testing.plans import Plan


def seeds() -> range:
    first, _, last = os.environ.get("BNDL_SIM_SEEDS", "0-199").partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("seed", seeds())
def test_whatever_goes_wrong_the_results_are_right(seed: int) -> None:
    try:
        Plan(seed).execute()
    except BaseException as error:
        error.add_note(f'to replay it: BNDL_SIM_SEEDS={seed} make test ARGS="tests/sim/test_plans.py"')
        raise
