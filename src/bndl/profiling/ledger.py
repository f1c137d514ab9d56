"""What the driver was told of attempts that ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bndl.profiling.profile import Function, Part, Place, add_calls, add_samples, hide_own
from bndl.profiling.telling import Hearing
from bndl.profiling.wire import AttemptNotes, CallRow, Heard, SampledStacks, StageHeap, TaskKey, Told, decode_notes
from bndl.threads import try_start

__all__ = ["Ledger", "Names"]

#: So many attempts are kept one by one; the figures of further ones are added up by stage and worker.
MOST_ATTEMPTS = 5_000
#: The same if they have so many figures in all, of functions, calls and stacks: about 210 bytes each.
MOST_FIGURES = 1_000_000
#: So many attempts that were sampled are counted of those that are added up: each of them may be told of several times.
MOST_COUNTED = 100_000
#: So many bytes are kept as they came before they are added up.
MOST_BYTES = 32 << 20


class Names:
    """Which functions the indices of nodes stand for."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, int], dict[int, Function]] = {}

    def of(self, worker: str, epoch: int) -> dict[int, Function]:
        """The functions of a node, by index."""
        return self._tables.setdefault((worker, epoch), {})


class Ledger:
    """The figures of attempts that ended. Thread-safe; ``take_note`` returns at once.

    Attributes:
        names: which functions the indices of nodes stand for.
        bytes: how many came over the network.
        attempts: how many attempts are in it.
    """

    def __init__(self) -> None:
        self.names = Names()
        self.bytes = 0
        self.attempts = 0
        self._lock = threading.Lock()
        self._new: deque[tuple[str, bytes]] = deque()
        self._new_bytes = 0
        self._session = 0
        self._heap_session = 0
        self._samples: Hearing[SampledStacks] = Hearing()
        self._told_heaps: Hearing[StageHeap] = Hearing()
        self._parts: dict[Place, Part] = {}
        #: Those of them that are of more than one attempt, or of none.
        self._sums: dict[Place, None] = {}
        #: How many figures the others have.
        self._figures = 0
        #: How many traced attempts are in the sums, and which sampled ones.
        self._folded = 0
        self._folded_samples: set[int] = set()
        self._heaps: list[tuple[str, StageHeap]] = []
        self._is_adding = False
        #: Where those that are added to a sum are noted.
        self._noted: list[set[Place]] = []

    def begin(self, session: int) -> None:
        """Begin anew with CPU figures: those of other sessions are ignored."""
        with self._lock:
            self._add_all()
            self._session = session
            self._samples = Hearing(session)
            self._parts = {}
            self._sums = {}
            self.names = Names()
            self.bytes = self.attempts = self._folded = self._figures = 0
            self._folded_samples = set()

    def begin_heaps(self, session: int) -> None:
        """Begin anew with memory."""
        with self._lock:
            self._add_all()
            self._heap_session = session
            self._told_heaps = Hearing(session)
            self._heaps = []

    def take_note(self, worker: str, data: bytes) -> None:
        """An attempt ended on a worker."""
        self._new.append((worker, data))
        self._new_bytes += len(data)
        if self._new_bytes > MOST_BYTES and not self._is_adding:
            self._is_adding = True
            if try_start(self._add_in_background, "bndl-ledger") is None:
                self._is_adding = False  # the next note tries again

    def parts(self) -> list[Part]:
        """The figures so far."""
        with self._lock:
            self._add_all()
            # What an attempt did does not change any more; the sum of a stage, or of samples, does.
            whole = (part for part in self._parts.values() if part.place.key.attempt and not part.stacks)
            growing = (part for part in self._parts.values() if part.place.key.attempt == 0 or part.stacks)
            return [*whole, *(part.copy() for part in growing)]

    @contextmanager
    def noting_folded(self) -> Iterator[set[Place]]:
        """The attempts that are added to a sum while this is entered, of which the parts do not tell any more."""
        folded: set[Place] = set()
        with self._lock:
            self._noted.append(folded)
        try:
            yield folded
        finally:
            with self._lock:
                self._noted = [each for each in self._noted if each is not folded]

    @property
    def folded(self) -> int:
        """How many attempts are known by their stage only; of sampled ones, 100,000 at most are counted."""
        return self._folded + len(self._folded_samples)

    def heard_samples(self, worker: str) -> Heard:
        """What was heard of the samples that a node tells when it is asked."""
        with self._lock:
            return self._samples.heard(worker)

    def add_samples(self, worker: str, told: Told[SampledStacks]) -> None:
        """A node told what it sampled."""
        with self._lock:
            for each in self._samples.hear(worker, told):
                self._add_samples(worker, each)

    def heard_heaps(self, worker: str) -> Heard:
        """What was heard of the stages that a node tells of when it is asked."""
        with self._lock:
            return self._told_heaps.heard(worker)

    def add_heaps(self, worker: str, told: Told[StageHeap]) -> None:
        """A node told what stages did to its heap."""
        with self._lock:
            self._heaps += [(worker, heap) for heap in self._told_heaps.hear(worker, told)]

    def heaps(self) -> list[tuple[str, StageHeap]]:
        """What stages did to the heaps of nodes, in order."""
        with self._lock:
            self._add_all()
            return sorted(self._heaps, key=lambda entry: (entry[1].key.number, entry[0]))

    def decode(self, worker: str, epoch: int, key: TaskKey, rows: Iterable[CallRow]) -> Part:
        """The figures of a node that are not kept here."""
        part = Part(Place(worker, key))
        add_calls(part, list(rows), self.names.of(worker, epoch))
        hide_own(part)
        return part

    def _add_in_background(self) -> None:
        with self._lock:
            self._is_adding = False
            self._add_all()

    def _add_all(self) -> None:
        while self._new:
            worker, data = self._new.popleft()
            self._new_bytes -= len(data)
            notes = decode_notes(data)
            if notes.heaps and notes.heap_session == self._heap_session:
                self._heaps += [(worker, heap) for heap in notes.heaps]
            if notes.session == self._session:
                self.bytes += len(data)
                self._add(worker, notes)

    def _add(self, worker: str, notes: AttemptNotes) -> None:
        for samples in notes.samples:
            self._add_samples(worker, samples)
        if notes.calls is not None:
            self.attempts += 1
            part = self._part(Place(worker, notes.key))
            before = _count_figures(part)
            add_calls(part, notes.calls, self.names.of(worker, notes.epoch))
            if part.place.key.attempt:
                self._figures += _count_figures(part) - before
            else:
                self._folded += 1

    def _add_samples(self, worker: str, samples: SampledStacks) -> None:
        place = Place(worker, samples.key)
        part = self._part(place)
        before = _count_figures(part)
        add_samples(part, samples)
        if part.place.key.attempt:
            self._figures += _count_figures(part) - before
        elif place.key.attempt and len(self._folded_samples) < MOST_COUNTED:
            self._folded_samples.add(hash(place))

    def _part(self, place: Place) -> Part:
        part = self._parts.get(place)
        if part is None:
            key = place.key
            if key.attempt and self._is_full():
                for folded in self._noted:
                    folded.add(place)
                return self._part(Place(place.worker, key.whole_stage))
            part = self._parts[place] = Part(place)
            if not key.attempt:
                self._sums[place] = None
        return part

    def _is_full(self) -> bool:
        return len(self._parts) - len(self._sums) >= MOST_ATTEMPTS or self._figures >= MOST_FIGURES


def _count_figures(part: Part) -> int:
    return len(part.functions) + len(part.edges) + len(part.stacks)
