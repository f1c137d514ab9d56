"""Profiling on one node: does what a driver orders, and watches its attempts.

The functions at the end are what a driver calls on its nodes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from bndl.errors import ProfilerUnavailable
from bndl.execute.current import CurrentTask
from bndl.execute.watching import Watcher
from bndl.logs import get_logger
from bndl.profiling.aside import apart, unseen
from bndl.profiling.heap import HeapTracer, ReducedSnapshot
from bndl.profiling.sampling import Sampler, make_sampler
from bndl.profiling.telling import Telling
from bndl.profiling.tracing import Tracer
from bndl.profiling.wire import (
    CPU,
    MEMORY,
    AttemptNotes,
    CallRow,
    CpuAnswer,
    CpuOrders,
    Heard,
    MemoryOrders,
    Obeyed,
    Orders,
    SampledStacks,
    StageHeap,
    TaskKey,
    Told,
    encode,
)

__all__ = ["Agent", "collect", "make_watcher", "obey", "read_heaps", "take_snapshot"]


logger = get_logger(__name__)

T = TypeVar("T")


class Agent:
    """Profiles this process for one driver. Thread-safe.

    Args:
        driver: its name.
    """

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self._lock = threading.Lock()
        self._orders = Orders(driver)
        self._tracer: Tracer | None = None
        self._sampler: Sampler | None = None
        self._heap: HeapTracer | None = None
        #: Told to who asks, of the sampler and of the heap.
        self._samples: Telling[SampledStacks]
        self._heaps: Telling[StageHeap]
        #: What could not be done, of CPU and of memory, and why.
        self._complaints: dict[str, str] = {}
        self._local = threading.local()

    # Orders

    def obey(self, orders: Orders) -> Obeyed:
        """Profile as ordered: start what is new or failed before, stop what is not wanted, leave the rest."""
        with self._lock:
            before, self._orders = self._orders, orders
            if orders.cpu != before.cpu or (orders.cpu is not None and self._profiler is None):
                self._try(CPU, partial(self._set_cpu, orders.cpu))
            if orders.memory != before.memory or (orders.memory is not None and self._heap is None):
                self._try(MEMORY, partial(self._set_memory, orders.memory))
            profiler = self._profiler.name if self._profiler is not None else ""
            return Obeyed(profiler, self._heap is not None, dict(self._complaints))

    @property
    def _profiler(self) -> Tracer | Sampler | None:
        return self._tracer or self._sampler

    def disobey(self, orders: Orders) -> None:
        """Stop all, if these are the orders still."""
        with self._lock:
            if self._orders != orders:
                return
            self._orders = Orders(self.driver)
            self._try(CPU, partial(self._set_cpu, None))
            self._try(MEMORY, partial(self._set_memory, None))
        with _lock:
            if _agents.get(self.driver) is self:
                del _agents[self.driver]

    def _try(self, what: str, step: Callable[[], None]) -> None:
        self._complaints.pop(what, None)
        try:
            step()
        except ProfilerUnavailable as error:
            self._complaints[what] = error.message

    def _set_cpu(self, orders: CpuOrders | None) -> None:
        for profiler in (self._tracer, self._sampler):
            if profiler is not None:
                profiler.stop()
                profiler.clear()
        self._tracer = self._sampler = None
        if orders is None:
            _release(CPU, self.driver)
            return
        _acquire(CPU, self.driver)
        if orders.mode == "tracing":
            self._tracer = Tracer(orders.clock)
        else:
            sampler, remark = make_sampler(orders.sampler, orders.interval, native=orders.native)
            self._samples = Telling(orders.session, sampler.take)
            self._sampler = sampler
            if remark:
                self._complaints[CPU] = remark

    def _set_memory(self, orders: MemoryOrders | None) -> None:
        if self._heap is not None:
            self._heap.stop()
            self._heap = None
        if orders is None:
            _release(MEMORY, self.driver)
            return
        _acquire(MEMORY, self.driver)
        heap = HeapTracer(orders.frames)
        self._heaps = Telling(orders.session, heap.take)
        self._heap = heap

    # Attempts

    def run(self, task: CurrentTask, call: Callable[[], T]) -> T:
        """Run an attempt, and see what it does."""
        key = TaskKey(task.job, task.stage, task.number >> 32, task.index, task.attempt)
        tracer, sampler, heap = self._tracer, self._sampler, self._heap
        if heap is not None:
            try:
                unseen(heap.begin, key)
            except Exception:  # an attempt must not fail because its memory cannot be told
                logger.exception("the memory of a stage cannot be read")
                heap = None
        self._local.ran = (key, self._orders, tracer, sampler, heap)
        if tracer is not None:
            return tracer.run(task, key, call)
        if sampler is not None:
            return sampler.run(key, call)
        return call()

    def finish(self) -> bytes:
        """What was seen of the attempt that this thread ran last; nothing if it was not seen as a whole."""
        key, orders, tracer, sampler, heap = self._local.ran
        calls: list[CallRow] | None = None
        samples: Sequence[SampledStacks] = ()
        if tracer is self._tracer and sampler is self._sampler:
            calls = tracer.finish() if tracer is not None else None
            samples = sampler.take_now_and_then() if sampler is not None else ()
        heaps: list[StageHeap] = []
        if heap is not None:
            heap.end(key)
            heaps = heap.take()
        if calls is None and not samples and not heaps:
            return b""
        session = orders.cpu.session if orders.cpu is not None else 0
        heap_session = orders.memory.session if orders.memory is not None else 0
        epoch = tracer.epoch if tracer is not None else 0
        return encode(AttemptNotes(session, epoch, key, calls, samples, heap_session, heaps))

    # Answers

    def collect(self, heard: Heard, *, running: bool) -> CpuAnswer:
        """The figures that are not those of attempts that ended.

        Args:
            heard: which samples the driver has.
            running: whether it wants to know of attempts that have not ended.
        """
        began = time.thread_time()
        remarks = (self._complaints[CPU],) if CPU in self._complaints else ()
        tracer, sampler = self._tracer, self._sampler
        if tracer is not None:
            outside = tracer.outside()
            calls = tracer.running() if running else []
            seconds = tracer.seconds + time.thread_time() - began
            price = (seconds, tracer.memory, remarks + tracer.remarks())
            return CpuAnswer(tracer.epoch, outside, tracer.running_count, calls, Told(), tracer.name, *price)
        if sampler is not None:
            memory = sampler.memory  # before it is emptied
            samples = self._samples.tell(heard)
            return CpuAnswer(0, (), 0, (), samples, sampler.name, sampler.seconds, memory, remarks)
        return CpuAnswer(0, (), 0, (), Told(), "", 0.0, 0, remarks or ("it is not profiled",))

    def read_heaps(self, heard: Heard) -> Told[StageHeap]:
        """The stages that are over.

        Args:
            heard: which of them the driver has.

        Raises:
            ProfilerUnavailable: memory is not traced.
        """
        apart(self.heap.close_stage)
        return self._heaps.tell(heard)

    @property
    def heap(self) -> HeapTracer:
        """What traces memory here.

        Raises:
            ProfilerUnavailable: nothing does.
        """
        if self._heap is None:
            text = self._complaints.get(MEMORY, "memory is not traced here; start memory profiling again.")
            raise ProfilerUnavailable(text)
        return self._heap


class _Watching:
    """The ``Watcher`` of a driver's attempts, as long as its orders are these."""

    def __init__(self, agent: Agent, orders: Orders) -> None:
        self._orders = orders
        self._agent = agent
        self.run = agent.run
        self.finish = agent.finish

    def close(self) -> None:
        """The driver is gone or wants no more; unless it has given other orders since."""
        self._agent.disobey(self._orders)


_lock = threading.Lock()
_agents: dict[str, Agent] = {}
#: Which driver has this process profile CPU, or memory: there can be one of each at a time.
_owners: dict[str, str] = {}


def _acquire(what: str, driver: str) -> None:
    with _lock:
        owner = _owners.setdefault(what, driver)
    if owner != driver:
        text = f"{owner} is profiling the {what} of this process already; have it stop first."
        raise ProfilerUnavailable(text)


def _release(what: str, driver: str) -> None:
    with _lock:
        if _owners.get(what) == driver:
            del _owners[what]


def _agent_of(driver: str) -> Agent:
    with _lock:
        agent = _agents.get(driver)
        if agent is None:
            agent = _agents[driver] = Agent(driver)
        return agent


# What a driver calls


def obey(orders: Orders) -> Obeyed:
    """Profile this process as ordered."""
    return _agent_of(orders.driver).obey(orders)


def make_watcher(orders: Orders) -> Watcher:
    """Profile this process as ordered; returns what is to watch the driver's attempts."""
    agent = _agent_of(orders.driver)
    agent.obey(orders)
    return _Watching(agent, orders)


def collect(driver: str, heard: Heard, *, running: bool) -> bytes:
    """The CPU figures of this process that are not those of attempts that ended; see ``decode_answer``."""
    return apart(lambda: encode(_agent_of(driver).collect(heard, running=running)))


def take_snapshot(driver: str) -> ReducedSnapshot:
    """What is allocated in this process now."""
    return apart(_agent_of(driver).heap.take_snapshot)


def read_heaps(driver: str, heard: Heard) -> bytes:
    """The stages that are over in this process, and that were not heard yet; see ``decode_heaps``."""
    return encode(_agent_of(driver).read_heaps(heard))
