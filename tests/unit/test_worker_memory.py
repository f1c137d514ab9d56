"""A task that runs out of memory makes room: what is kept goes to disk, and nothing interrupts that."""

from __future__ import annotations

import pytest

from bndl.execute import failures, memory
from bndl.execute.border import SHIELDED
from bndl.execute.current import running
from bndl.execute.runner import FAILED
from bndl.net.messages import Space
from tests.unit.workers import TASK, WorkerBench, define, launch

KEPT = ("driver", Space.RESULT, TASK + 5)


def run_out(_item: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("limit", [[], [1 << 20]])
def test_what_is_kept_goes_to_disk_if_there_is_a_limit(monkeypatch: pytest.MonkeyPatch, limit: list[int]) -> None:
    monkeypatch.setattr(memory, "_limit", limit)
    bench = WorkerBench()
    bench.store.put(KEPT, b"kept")
    bench.receive(define(run_out), launch())
    bench.time.run(1.0)
    (result,) = bench.results
    failure, _ = failures.rebuild(result.payload)
    assert (result.kind, failure.kind) == (FAILED, "bndl.errors.OutOfMemory" if limit else "MemoryError")
    assert "run_out" in failure.trace
    assert bench.store.memory_bytes == (0 if limit else 4)
    assert bench.store.get(KEPT) == b"kept"
    bench.store.drop([KEPT])


def test_it_is_shielded_from_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limit", [1 << 20])
    bench = WorkerBench()
    phases: list[int] = []

    def spill() -> None:
        prepared = running()
        assert prepared is not None
        phases.append(prepared.phase)

    monkeypatch.setattr(bench.store, "spill", spill)
    bench.receive(define(run_out), launch())
    bench.time.run(1.0)
    assert phases == [SHIELDED]
    assert bench.kinds == [FAILED]
