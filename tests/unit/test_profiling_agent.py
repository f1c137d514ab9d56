"""Profiling on one node: orders are obeyed once, by one driver at a time, and attempts run whatever comes of it."""

import sys
from collections.abc import Iterator

import pytest

from bndl.execute.current import CurrentTask
from bndl.profiling import agent
from bndl.profiling.agent import Agent, make_watcher, obey
from bndl.profiling.nodes import Answers, why_none
from bndl.profiling.sampling import ThreadSampler
from bndl.profiling.wire import (
    MEMORY,
    CpuOrders,
    MemoryOrders,
    Obeyed,
    Orders,
    StageHeap,
    TaskKey,
    decode_answer,
    decode_heaps,
    decode_notes,
)

TASK = CurrentTask("job", "parse", 3, 1, "w.1", "mine", (7 << 32) + 3)
TRACING = CpuOrders(5, "tracing", "cpu", 0.01, native=False, sampler="auto")


def work() -> bytes:
    return b"done"


def read_heaps() -> list[StageHeap]:
    told = decode_heaps(agent.read_heaps("mine", (0, 0)))
    assert told.session == 6
    return [heap for _, batch in told.batches for heap in batch]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    for driver in ("mine", "other"):
        obey(Orders(driver))
    assert agent._owners == {}  # noqa: SLF001 - what a process can be used for once


def test_an_attempt_is_told_of_with_its_key() -> None:
    watcher = make_watcher(Orders("mine", TRACING))
    assert watcher.run(TASK, work) == b"done"
    notes = decode_notes(watcher.finish())
    assert (notes.session, notes.key.job, notes.key.stage) == (5, "job", "parse")
    assert (notes.key.number, notes.key.index, notes.key.attempt) == (7, 3, 1)
    assert [row.function[2] for row in notes.calls or () if row.function] == ["work"]
    answer = decode_answer(agent.collect("mine", (0, 0), running=True))
    assert (answer.profiler, answer.running, answer.remarks) == ("yappi", 0, ())


def test_the_same_orders_change_nothing() -> None:
    orders = Orders("mine", TRACING)
    watcher = make_watcher(orders)
    watcher.run(TASK, work)
    assert obey(Orders("mine", TRACING)).profiler == "yappi"
    assert watcher.finish()
    # Memory is added; what traces calls goes on.
    both = Orders("mine", TRACING, MemoryOrders(6, 1))
    watcher = make_watcher(both)
    watcher.run(TASK, work)
    notes = decode_notes(watcher.finish())
    assert (notes.session, notes.heap_session) == (5, 6)
    (heap,) = read_heaps()
    assert heap.key.stage == "parse"
    assert agent.take_snapshot("mine").traced > 0


def test_a_second_driver_is_told_who_is_profiling() -> None:
    make_watcher(Orders("mine", TRACING, MemoryOrders(6, 1)))
    told = obey(Orders("other", TRACING, MemoryOrders(6, 1)))
    assert told.profiler == ""
    assert {what: remark.split(";")[0] for what, remark in told.remarks.items()} == {
        "CPU": "mine is profiling the CPU of this process already",
        "memory": "mine is profiling the memory of this process already",
    }
    assert not told.traces_memory
    obey(Orders("mine"))
    assert obey(Orders("other", TRACING)).profiler == "yappi"


def test_an_old_watcher_does_not_stop_what_was_ordered_since() -> None:
    old = make_watcher(Orders("mine", TRACING))
    new = make_watcher(Orders("mine", CpuOrders(6, "tracing", "wall", 0.01, native=False, sampler="auto")))
    old.close()
    new.run(TASK, work)
    assert decode_notes(new.finish()).session == 6
    new.close()
    assert decode_answer(agent.collect("mine", (0, 0), running=False)).remarks == ("it is not profiled",)


def test_an_attempt_that_began_under_other_orders_is_not_told_of() -> None:
    watcher = make_watcher(Orders("mine", TRACING))
    watcher.run(TASK, work)
    obey(Orders("mine", CpuOrders(6, "tracing", "cpu", 0.01, native=False, sampler="auto")))
    assert watcher.finish() == b""


def test_what_an_attempt_did_to_memory_is_told_although_cpu_was_stopped_meanwhile() -> None:
    memory = MemoryOrders(6, 1)
    watcher = make_watcher(Orders("mine", TRACING, memory))
    watcher.run(TASK, work)
    obey(Orders("mine", None, memory))
    assert watcher.finish() == b""
    watcher = make_watcher(Orders("mine", None, memory))
    for number, stage in ((8, "merge"), (9, "rank")):
        watcher.run(CurrentTask("job", stage, 0, 1, "w.1", "mine", number << 32), work)
        notes = [decode_notes(watcher.finish())]
        assert [heap.key.stage for each in notes for heap in each.heaps] == [{8: "parse", 9: "merge"}[number]]
    assert [heap.key.stage for heap in read_heaps()] == ["rank"]


def test_memory_is_traced_whatever_becomes_of_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.pyspy._find", lambda: "/bin/false")
    sampling = CpuOrders(5, "sampling", "cpu", 0.01, native=True, sampler="auto")
    told = obey(Orders("mine", sampling, MemoryOrders(6, 1)))
    assert (told.profiler, told.traces_memory) == ("in-process sampler", True)
    assert list(told.remarks) == ["CPU"]
    answers: Answers[Obeyed] = Answers()
    answers.values = {"w.1": told, "w.2": Obeyed(remarks={"memory": "no."})}
    assert why_none(answers, MEMORY) == "no."
    assert why_none(Answers(), MEMORY) == "no node answered; ask again."


def test_the_memory_of_a_sampler_is_told_as_it_was_before_it_was_emptied() -> None:
    obey(Orders("mine", CpuOrders(5, "sampling", "cpu", 1000.0, native=False, sampler="in-process")))
    sampler = agent._agents["mine"]._sampler  # noqa: SLF001 - it looks when it is told to
    assert isinstance(sampler, ThreadSampler)
    sampler._add(TaskKey(), (work.__code__,), 1.0)  # noqa: SLF001
    memory = sampler.memory
    answer = decode_answer(agent.collect("mine", (0, 0), running=False))
    assert (answer.memory, len(answer.samples.batches)) == (memory, 1)
    assert memory > 0


def test_without_yappi_it_says_what_to_install_and_attempts_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yappi", None)
    watcher = make_watcher(Orders("mine", TRACING))
    assert len(obey(Orders("mine", TRACING)).remarks) == 1  # it is said again, to whoever asks
    assert watcher.run(TASK, work) == b"done"
    assert watcher.finish() == b""
    (remark,) = decode_answer(agent.collect("mine", (0, 0), running=False)).remarks
    assert remark.endswith("pip install yappi.")


def test_an_attempt_runs_even_if_its_memory_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = make_watcher(Orders("mine", None, MemoryOrders(6, 1)))
    monkeypatch.setattr("bndl.profiling.heap._read_lines", lambda: 1 // 0)
    assert watcher.run(TASK, work) == b"done"
    assert "the memory of a stage cannot be read" in caplog.text
    watcher.finish()
    monkeypatch.undo()
    watcher.run(TASK, work)  # the next one is told of
    watcher.finish()
    assert [heap.key.stage for heap in read_heaps()] == ["parse"]


def test_agents_of_drivers_that_left_are_forgotten() -> None:
    watcher = make_watcher(Orders("mine", TRACING))
    assert isinstance(agent._agents["mine"], Agent)  # noqa: SLF001 - what would be left behind
    watcher.close()
    assert "mine" not in agent._agents  # noqa: SLF001
