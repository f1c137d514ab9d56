"""What the tests of profiling execute on workers: in a module that imports little, so that workers have it soon."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import bndl


def leaf() -> None:
    pass


def branch(times: int) -> None:
    for _ in range(times):
        leaf()


def descend(depth: int) -> None:
    if depth:
        descend(depth - 1)


def branches_of(index: int, attempt: int) -> int:
    """How often a task calls ``branch`` in an attempt; every number is told apart from the others."""
    return 1 + index % 5 + 10 * attempt


def work(item: tuple[int, bool, Path | None]) -> int:
    index, fails, kills = item
    attempt = bndl.current_task().attempt
    for _ in range(branches_of(index, attempt)):
        branch(3)
    descend(4)
    if kills is not None and not kills.exists():  # its first attempt may have been taken back before it began
        kills.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if attempt <= 2 and fails:
        raise ValueError(index)
    return index


def combine(parts: Sequence[int]) -> int:
    branch(len(parts))
    return sum(parts)


def leak(index: int) -> int:
    scratch = [bytes(1000) for _ in range(500)]  # comes and goes
    leaked = vars(sys.modules["os"]).setdefault("leaked", [])  # lives as long as the worker
    if index == 0:
        leaked.append([f"{number:040}" for number in range(12_000)])  # 1 MB of strings
    return len(scratch)


LEAK_LINE = leak.__code__.co_firstlineno + 4


def busy(index: int) -> int:
    return sum(number * number for number in range(3000)) + index


def busier(index: int) -> int:
    return sum(busy(index) for _ in range(5))


def busy_for_long(index: int) -> int:
    """Takes many times as long as what is between two looks of a sampler."""
    return sum(busy(index) for _ in range(250))


def never_end(began: Path) -> None:
    busy(0)
    began.touch()
    while True:
        leaf()
