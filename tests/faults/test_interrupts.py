"""Thousands of attempts in real threads, each interrupted at some instant: in time, late, or just too late."""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from bndl.config import Config
from bndl.errors import TaskCancelled
from bndl.execute.border import LEFT, QUEUED, Border, Stop
from bndl.execute.current import running
from bndl.execute.definitions import Definition, Tenancy
from bndl.execute.interrupter import Interrupter
from bndl.execute.lines import Limit, Lines
from bndl.execute.outbox import Outbox
from bndl.execute.payloads import Packer
from bndl.execute.raising import raise_in, withdraw_from
from bndl.execute.runner import ABANDONED, SUCCEEDED, Runner
from bndl.execute.slots import Prepared, ThreadSlots
from bndl.execute.store import Store
from bndl.execute.watchdog import Watchdog
from bndl.loop import ThreadLoop
from bndl.net import messages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    # An exception that comes up in a callback of the garbage collector goes nowhere, and hypothesis has such a callback
    # in this process.
    pytest.mark.filterwarnings("ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning"),
]

ATTEMPTS = 4000
SLOTS = 2
GRACE = 0.001
TIMEOUT = 30.0


def compute(seed: int) -> list[object]:
    """Take up to 2 ms, and say something meanwhile."""
    generator = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    until = time.monotonic() + generator.uniform(0, 0.002)
    prepared = running()
    assert prepared is not None
    while time.monotonic() < until:
        prepared.tenancy.write(prepared, "stdout", "busy\n")
        sum(range(generator.randrange(100)))
    return [seed, "x" * (seed % 100)]


class NoTimer:
    """Nothing here holds the interpreter's lock."""

    def start(self, seconds: float) -> None:
        assert seconds > 0

    def cancel(self) -> None:
        pass


class Mill:
    """The parts of a worker that attempts go through, with real threads."""

    def __init__(self) -> None:
        self.crashes: list[BaseException] = []
        #: How attempts ended; None if they were given up.
        self.kinds: Counter[int | None] = Counter()
        self.counting = threading.Lock()
        self.payloads: dict[int, bytes] = {}
        self.ended = threading.Semaphore(0)
        self.loop = ThreadLoop("watch", self.crashes.append)
        self.loop.start()
        now = self.loop.now
        self.border = Border(
            lambda prepared, exception: raise_in(prepared.thread, exception),
            lambda prepared: withdraw_from(prepared.thread),
            lambda _: None,
        )
        watchdog = Watchdog(NoTimer(), now)
        self.interrupter = Interrupter(self.loop, self.border, watchdog, GRACE, self.give_up, shared=True)
        self.runner = Runner(Store(1 << 20), Config(), now, self.border, self.interrupter, watchdog)
        lines = Lines(Limit(now), now, lambda _: None, lambda: None, lambda: None)
        outbox = Outbox(now, lambda _: None, lambda _: None, lambda: None)
        self.tenancy = Tenancy("driver", "worker", self.border, lines, outbox)
        self.slots = ThreadSlots(SLOTS, self.runner.begin, self.execute, self.crashes.append)
        self.slots.start()

    def give_up(self, _: Sequence[Prepared]) -> None:
        self.interrupter._is_over = False  # noqa: SLF001 - the process goes on here
        self.interrupter._set_timer()  # noqa: SLF001

    def execute(self, prepared: Prepared) -> None:
        result = self.runner.execute(prepared)
        assert prepared.phase == LEFT
        if prepared.attempt.timeout or prepared.stop is not None:
            self.interrupter.end(prepared, last=False)
        with self.counting:
            self.kinds[None if result is None else result.kind] += 1
        if result is not None:
            self.payloads[prepared.attempt.task & 0xFFFFFFFF] = result.payload
        # If an exception came up in here the slot would crash.
        for _ in range(20):
            sum(range(10))
        self.ended.release()

    def put(self, function: Callable[[int], list[object]], index: int) -> Prepared:
        define = messages.Define(7, "job", "stage", Packer().pack(function), calls=False, kept=False)
        attempt = messages.Attempt((7 << 32) + index, 1, Packer().pack(index))
        prepared = Prepared(self.tenancy, Definition(define), attempt)
        self.slots.put([prepared])
        return prepared

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.ended.acquire(timeout=TIMEOUT), f"an attempt did not end; crashes: {self.crashes}"


@pytest.fixture
def mill() -> Iterator[Mill]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that every thread may be anywhere at any time
    yield Mill()
    sys.setswitchinterval(before)


def check(mill: Mill) -> None:
    """Nothing is broken: the next attempts are well."""
    assert mill.crashes == []
    mill.kinds.clear()
    for index in range(100):
        mill.put(compute, index)
    mill.wait(100)
    assert mill.crashes == []
    assert mill.kinds == {SUCCEEDED: 100}
    assert all(Packer().pack([index, "x" * index]) == mill.payloads[index] for index in range(100))


def test_abandoned_attempts_end_and_no_others(mill: Mill) -> None:
    generator = random.Random(1)  # noqa: S311 - to be repeatable, not secret
    for index in range(ATTEMPTS):
        prepared = mill.put(compute, index)
        time.sleep(generator.choice((0.0, 0.0, 0.0005)))
        if generator.random() < 0.8:
            mill.interrupter.abandon(prepared)
    mill.wait(ATTEMPTS)
    assert mill.kinds.keys() <= {SUCCEEDED, ABANDONED, None}
    assert mill.kinds.total() == ATTEMPTS
    assert min(mill.kinds[SUCCEEDED], mill.kinds[ABANDONED]) > ATTEMPTS // 100
    check(mill)


#: More turns than any attempt makes.
MOST_TURNS = 100_000


def spin(seed: int) -> list[object]:
    for _ in range(seed % MOST_TURNS):
        pass
    return [seed]


def test_an_exception_that_comes_at_the_last_instant_hits_nothing_else(mill: Mill) -> None:
    """Straight at the border, about as long after the attempt has begun as it takes.

    That is from a few microseconds to milliseconds: on a busy machine it takes long to see that an attempt has begun.
    """
    generator = random.Random(2)  # noqa: S311 - to be repeatable, not secret
    for index in range(ATTEMPTS):
        turns = int(10 ** generator.uniform(1.5, math.log10(MOST_TURNS)))
        prepared = mill.put(spin, index * MOST_TURNS + turns)
        while prepared.phase == QUEUED:
            time.sleep(0)
        for _ in range(generator.randrange(turns)):
            pass
        prepared.stop = stop = Stop(TaskCancelled("at the last instant"))
        mill.border.interrupt(prepared, stop)
    mill.wait(ATTEMPTS)
    assert mill.kinds.keys() == {SUCCEEDED, ABANDONED}
    assert mill.kinds.total() == ATTEMPTS
    check(mill)
