"""Programs in odd surroundings: a mount namespace of their own, limits, another user."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import bndl

__all__ = ["TIMEOUT", "in_namespace", "run_program"]

#: Seconds that a program may take, with the start of its workers, on a busy machine.
TIMEOUT = 50


@functools.cache
def _flags() -> tuple[str, ...] | None:
    """What makes a namespace of mounts here: nothing more as root, else a namespace of users; None if nothing does."""
    for flags in ((), ("--map-root-user",)):
        command = ["unshare", "--mount", *flags, "true"]
        try:
            if not subprocess.run(command, check=False, capture_output=True, timeout=10).returncode:
                return flags
        except OSError:  # there is no such program
            return None
    return None


def in_namespace(setup: str) -> list[str]:
    """A command's beginning: it runs where the mounts are as the commands of ``setup`` left them, for it alone.

    The test is skipped where no such namespace can be made.
    """
    flags = _flags()
    if flags is None:
        pytest.skip("no mount namespace can be made here: `unshare --mount` is missing or not allowed")
    return ["unshare", "--mount", *flags, "sh", "-ec", f'{setup}\nexec "$@"', "sh"]


def run_program(
    program: str,
    folder: Path,
    *,
    before: Sequence[str] = (),
    environment: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program, to be written to ``folder``.

    Args:
        program: its text.
        folder: where it is.
        before: what comes before Python in the command.
        environment: variables that it has besides ours; None for those that it has not.
        cwd: its current folder.
        timeout: seconds until the test fails.
    """
    script = folder / "program.py"
    script.write_text(program)
    variables = {**os.environ, "PYTHONPATH": str(Path(bndl.__file__).parents[1]), **(environment or {})}
    return subprocess.run(
        [*before, sys.executable, str(script)],
        cwd=cwd or folder,
        env={name: value for name, value in variables.items() if value is not None},
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
