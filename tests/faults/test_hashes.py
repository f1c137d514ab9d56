"""Text has the same hash on all workers, whatever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bndl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TIMEOUT = 60.0

PROGRAM = """
import sys, bndl
ctx = bndl.connect(workers=2, progress=False)
ctx.await_workers(2)
print(*{worker.execute(hash, "word").result(60) for worker in ctx.workers}, hash("word"))
"""


def hashes(ctx: bndl.Context) -> set[int]:
    return {worker.execute(hash, "word").result(TIMEOUT) for worker in ctx.workers}


def spawn_and_hash(_: object) -> int:
    """The hash in a process that a task starts."""
    command = [sys.executable, "-c", "print(hash('word'))"]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT).stdout)


def test_workers_agree_also_those_that_are_started_again_and_their_children() -> None:
    with bndl.connect(workers=2, progress=False) as ctx:
        ctx.await_workers(2)
        (first,) = hashes(ctx)
        assert set(ctx.map(spawn_and_hash, range(2))) == {first}
        lost = ctx.workers[0]
        os.kill(lost.pid, signal.SIGKILL)
        while lost.is_connected:
            time.sleep(0.01)
        ctx.await_workers(2)
        assert hashes(ctx) == {first}
    with bndl.connect(workers=1, progress=False) as other:
        other.await_workers(1)
        assert hashes(other) != {first}


def run(tmp_path: Path, *options: str, seed: str | None = None) -> list[str]:
    """Run the program. Returns the hashes of the workers, without duplicates, and that of the driver."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    environment |= {} if seed is None else {"PYTHONHASHSEED": seed}
    command = [sys.executable, *options, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_an_isolated_interpreter_has_workers_that_agree(tmp_path: Path) -> None:
    assert len(run(tmp_path, "-I")) == 2


def test_the_seed_of_the_user_is_that_of_workers_and_driver(tmp_path: Path) -> None:
    one, other = run(tmp_path, seed="0")
    assert one == other
