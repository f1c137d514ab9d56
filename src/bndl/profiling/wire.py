"""What a node says of what it saw, as it travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

__all__ = [
    "CPU",
    "MEMORY",
    "OUTSIDE",
    "AttemptNotes",
    "CallRow",
    "CpuAnswer",
    "CpuOrders",
    "FunctionInfo",
    "Heard",
    "MemoryOrders",
    "Obeyed",
    "Orders",
    "SampledStacks",
    "StageHeap",
    "TaskKey",
    "Told",
    "decode_answer",
    "decode_heaps",
    "decode_notes",
    "encode",
]

T = TypeVar("T")

#: What a driver has heard of a node: the epoch and the number of the last batch. See ``Told``.
Heard = tuple[int, int]
#: A function: its path without the folder that its module was found in, line, name, module, and the path as it is.
FunctionInfo = tuple[str, int, str, str, str]


class TaskKey(msgspec.Struct, frozen=True, array_like=True):
    """What a node was doing.

    Attributes:
        job: the job's name; empty outside of tasks.
        stage: the stage's name.
        number: the stage's number with the driver.
        index: which task of the stage; -1 for all of them.
        attempt: which attempt of it; 0 for all of them.
    """

    job: str = ""
    stage: str = ""
    number: int = 0
    index: int = -1
    attempt: int = 0

    @property
    def whole_stage(self) -> TaskKey:
        """The key of all tasks of the stage together."""
        return TaskKey(self.job, self.stage, self.number)


#: What a node can be ordered to profile.
CPU, MEMORY = "CPU", "memory"

#: What a node does outside of tasks.
OUTSIDE = TaskKey()


class CallRow(msgspec.Struct, frozen=True, array_like=True):
    """How often a function was called, and for how long it ran.

    Attributes:
        index: of the function on its node, in this session.
        calls: how many calls ended.
        primitive: how many of them were not inside of another call of the same function.
        total: seconds, with the functions that it called.
        own: seconds, without them.
        callees: the same for what it called: (index, calls, primitive, total, own).
        function: what the index stands for, the first time.
    """

    index: int
    calls: int
    primitive: int
    total: float
    own: float
    callees: Sequence[tuple[int, int, int, float, float]]
    function: FunctionInfo | None = None


class SampledStacks(msgspec.Struct, frozen=True, array_like=True):
    """How often each stack was seen.

    Attributes:
        key: what the thread was doing.
        functions: those in the stacks.
        stacks: positions in ``functions``, the outermost first, and for how many seconds.
    """

    key: TaskKey
    functions: Sequence[FunctionInfo]
    stacks: Sequence[tuple[Sequence[int], float]]


class StageHeap(msgspec.Struct, frozen=True, array_like=True):
    """What a stage did to the heap of a node.

    Attributes:
        key: the stage.
        peak: the most that was allocated at a time, in bytes, and -1 if that is not known.
        before: what was allocated when it began.
        after: what was allocated when it was over.
        rss: the resident memory of the process, when it began and when it was over.
        lines: what became more or less, as (path, line, short path, bytes).
        overlapping: whether attempts of other stages ran in that time.
    """

    key: TaskKey
    peak: int
    before: int
    after: int
    rss: tuple[int, int]
    lines: Sequence[tuple[str, int, str, int]]
    overlapping: bool


class Told(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    """What a node tells to who asks for it. It is told again until the driver has heard it; see ``telling``.

    Attributes:
        session: which start of profiling it belongs to.
        epoch: what numbers have a meaning in.
        batches: with their numbers, in order.
    """

    session: int = 0
    epoch: int = 0
    batches: Sequence[tuple[int, Sequence[T]]] = ()


class AttemptNotes(msgspec.Struct, frozen=True, array_like=True):
    """What was seen of an attempt. It travels in its ``Result``.

    Attributes:
        session: which start of CPU profiling it belongs to.
        epoch: which profiler of the node counted; indices of functions have a meaning in it.
        key: the attempt.
        calls: of functions, with tracing.
        samples: all that was sampled on the node since the last time, with sampling.
        heap_session: which start of memory profiling it belongs to.
        heaps: stages that are over on the node.
    """

    session: int
    epoch: int
    key: TaskKey
    calls: Sequence[CallRow] | None = None
    samples: Sequence[SampledStacks] = ()
    heap_session: int = 0
    heaps: Sequence[StageHeap] = ()


class CpuOrders(msgspec.Struct, frozen=True):
    """How a node is to profile. See ``CpuProfiling.start``."""

    session: int
    mode: str
    clock: str
    interval: float
    native: bool
    sampler: str


class MemoryOrders(msgspec.Struct, frozen=True):
    """How a node is to trace memory. See ``MemoryProfiling.start``."""

    session: int
    frames: int


class Orders(msgspec.Struct, frozen=True):
    """All that a driver wants a node to profile; None for what it does not."""

    driver: str
    cpu: CpuOrders | None = None
    memory: MemoryOrders | None = None


class Obeyed(msgspec.Struct, frozen=True):
    """How a node obeys.

    Attributes:
        profiler: what profiles CPU: ``yappi``, ``py-spy`` or ``in-process sampler``; empty if nothing does.
        traces_memory: whether it traces memory.
        remarks: what it could not do, and why, of ``CPU`` and of ``MEMORY``.
    """

    profiler: str = ""
    traces_memory: bool = False
    remarks: dict[str, str] = {}


class CpuAnswer(msgspec.Struct, frozen=True):
    """The figures of a node that are not those of attempts that ended.

    Attributes:
        epoch: which profiler counted.
        outside: calls outside of tasks.
        running: attempts that have not ended.
        calls: theirs so far, if they were asked for.
        samples: what was sampled, and was not heard yet.
        profiler: what profiled.
        seconds: processor time that went into profiling.
        memory: bytes that the profiler takes.
        remarks: what went wrong.
    """

    epoch: int
    outside: Sequence[CallRow]
    running: int
    calls: Sequence[tuple[TaskKey, Sequence[CallRow]]]
    samples: Told[SampledStacks]
    profiler: str
    seconds: float
    memory: int
    remarks: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_notes = msgspec.msgpack.Decoder(AttemptNotes)
_answer = msgspec.msgpack.Decoder(CpuAnswer)
_heaps = msgspec.msgpack.Decoder(Told[StageHeap])


def encode(what: AttemptNotes | CpuAnswer | Told[StageHeap]) -> bytes:
    """What a node says as it travels: packed here, as pickling so many small things takes long."""
    return _encoder.encode(what)


def decode_notes(data: bytes) -> AttemptNotes:
    """The notes in a ``Result``."""
    notes: AttemptNotes = _notes.decode(data)
    return notes


def decode_answer(data: bytes) -> CpuAnswer:
    """The answer of a node."""
    answer: CpuAnswer = _answer.decode(data)
    return answer


def decode_heaps(data: bytes) -> Told[StageHeap]:
    """The stages that a node tells of."""
    heaps: Told[StageHeap] = _heaps.decode(data)
    return heaps
