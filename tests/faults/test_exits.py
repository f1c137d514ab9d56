"""Programs that end in every way leave no word on standard error. ``bench/exits.py`` does this thousands of times."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BENCH = Path(__file__).parents[2] / "bench" / "exits.py"


def test_programs_end_without_a_word_in_every_way() -> None:
    command = [sys.executable, str(BENCH), "--count", "13", "--parallel", "2", "--timeout", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok: 13 programs of 13 kinds")


def test_the_harness_fails_on_a_word() -> None:
    command = [sys.executable, str(BENCH), "--count", "1", "--kinds", "noise", "--timeout", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "FAILED: 1 of 1 programs" in done.stdout
    assert "noise 1" in done.stdout
