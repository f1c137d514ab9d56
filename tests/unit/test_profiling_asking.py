"""Nodes that are asked and answer late: what they told is counted once, and who is silent is named."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from bndl.errors import ContextClosed
from bndl.profiling import agent
from bndl.profiling.agent import Agent
from bndl.profiling.cpu import CpuProfiling
from bndl.profiling.memory import MemoryProfiling
from bndl.profiling.nodes import Answers, Nodes
from bndl.profiling.sampling import ThreadSampler
from bndl.profiling.stats import CpuStats
from bndl.profiling.telling import Hearing, Telling
from bndl.profiling.wire import AttemptNotes, CallRow, CpuAnswer, Obeyed, TaskKey, Told, encode

KEY = TaskKey("job", "stage", 1, 0, 1)


def work() -> None:
    """What is sampled."""


class HeldPeer:
    """A worker in this process, whose answers are lost while it is held."""

    name = "w.1"

    def __init__(self) -> None:
        self.agent = Agent("driver")
        self.is_held = False

    def execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        result = self._call(function, *args, **kwargs)
        future: Future[Any] = Future()
        if not self.is_held:
            future.set_result(result)
        return future

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function is agent.obey:
            return self.agent.obey(*args)
        if function is agent.collect:
            return encode(self.agent.collect(*args[1:], **kwargs))
        assert function is agent.read_heaps
        return encode(Told())

    def sample(self, seconds: float) -> None:
        sampler = self.agent._sampler  # noqa: SLF001 - it would look in 1000 seconds
        assert isinstance(sampler, ThreadSampler)
        sampler._add(KEY, (work.__code__,), seconds)  # noqa: SLF001


@pytest.fixture
def peer() -> HeldPeer:
    return HeldPeer()


@pytest.fixture
def nodes(peer: HeldPeer) -> Nodes:
    driver: Any = SimpleNamespace(
        name="driver", watching=SimpleNamespace(begin=lambda *_: None, end=lambda: None), peers=None
    )
    membership: Any = SimpleNamespace(workers=(peer,))
    return Nodes(driver, membership)


@pytest.fixture
def cpu(nodes: Nodes) -> Iterator[CpuProfiling]:
    profiling = CpuProfiling(nodes)
    profiling.start("sampling", interval=1000.0)
    yield profiling
    profiling.stop()


def seconds_of(stats: CpuStats) -> float:
    return stats.filter(job="job").seconds


def test_samples_of_a_node_that_did_not_answer_in_time_are_in_the_next_report(
    cpu: CpuProfiling, peer: HeldPeer
) -> None:
    peer.sample(0.25)
    peer.is_held = True
    stats = cpu.get_stats(timeout=0.01)
    assert (seconds_of(stats), stats.price.missing) == (0, {"w.1": "no answer within 0.01 s"})
    peer.sample(0.5)
    peer.is_held = False
    stats = cpu.get_stats()
    assert (seconds_of(stats), stats.price.missing) == (0.75, {})
    assert seconds_of(cpu.get_stats()) == 0.75
    peer.sample(0.5)
    cpu.stop()
    assert seconds_of(cpu.get_stats()) == 1.25


def test_samples_of_an_earlier_start_are_not_counted(cpu: CpuProfiling, peer: HeldPeer, nodes: Nodes) -> None:
    peer.sample(0.25)
    told = peer.agent.collect((0, 0), running=False).samples
    cpu.stop()
    cpu.start("sampling", interval=1000.0)
    nodes.ledger.add_samples("w.1", told)
    assert seconds_of(cpu.get_stats()) == 0


def test_who_does_not_tell_of_stages_is_named(nodes: Nodes, peer: HeldPeer, caplog: pytest.LogCaptureFixture) -> None:
    memory = MemoryProfiling(nodes)
    obeyed: Answers[Obeyed] = Answers()
    obeyed.values = {"w.1": Obeyed(traces_memory=True)}
    nodes.order_memory = lambda *_: obeyed  # type: ignore[method-assign]
    memory.start()
    peer.is_held = True
    with caplog.at_level(logging.WARNING):
        memory.stages(timeout=0.01)
    text = "what stages did to the memory of w.1 is not known as a whole: no answer within 0.01 s"
    assert text in caplog.messages


# Telling and hearing


class EndingPeer(HeldPeer):
    """A worker whose attempt ends between its answer and the use that is made of it."""

    nodes: Nodes

    def _call(self, function: Callable[..., Any], *_: Any, **__: Any) -> Any:
        if function is not agent.collect:
            return Obeyed("yappi", traces_memory=False)
        row = CallRow(1, 1, 1, 0.5, 0.5, [], ("app.py", 1, "work", "app", "/src/app.py"))
        if self.nodes.ledger.attempts == 0:
            session = self.nodes.orders.cpu.session if self.nodes.orders.cpu else 0
            self.nodes.ledger.take_note(self.name, encode(AttemptNotes(session, 1, KEY, [row])))
            return encode(CpuAnswer(1, (), 1, [(KEY, [row])], Told(), "yappi", 0.0, 0))
        return encode(CpuAnswer(1, (), 0, (), Told(), "yappi", 0.0, 0))


@pytest.mark.parametrize("most", [0, 10])
def test_an_attempt_that_ends_during_the_question_counts_once(
    most: int, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_ATTEMPTS", most)  # with 0 only its stage is known
    ending = EndingPeer()
    ending.nodes = nodes
    monkeypatch.setattr(nodes, "_membership", SimpleNamespace(workers=(ending,)))
    profiling = CpuProfiling(nodes)
    profiling.start("sampling", interval=1000.0)
    try:
        for _ in range(2):
            stats = profiling.get_stats(stage="stage", running=True)
            assert [part.place.key.index for part in stats.parts] == ([0] if most else [-1])
            assert [(stat.ncall, stat.ttot) for stat in stats] == [(1, 0.5)]
    finally:
        nodes.close()


@pytest.mark.parametrize("kind", [CpuProfiling, MemoryProfiling])
def test_nothing_is_profiled_once_the_context_is_stopped(kind: Any, nodes: Nodes) -> None:
    before, after = kind(nodes), kind(nodes)
    if kind is CpuProfiling:
        before.start("sampling", interval=1000.0)
    nodes.close()
    for profiling in (before, after):
        profiling.stop()
        with pytest.raises(ContextClosed):
            profiling.start()
        assert not profiling.is_running
    with pytest.raises(ContextClosed):
        nodes.ask(agent.obey, timeout=1.0)


def make_telling(session: int = 1) -> Telling[int]:
    """Tells of one number more each time."""
    numbers = count(1)
    return Telling(session, lambda: [next(numbers)])


def test_what_was_not_heard_is_told_again_and_added_once() -> None:
    telling, hearing = make_telling(), Hearing[int](1)
    late = telling.tell(hearing.heard("w.1"))
    other = telling.tell(hearing.heard("w.1"))
    assert hearing.hear("w.1", other) == [1, 2]
    assert hearing.hear("w.1", late) == []
    third = telling.tell(hearing.heard("w.1"))
    assert [number for number, _ in third.batches] == [3]  # what was heard is not kept
    assert hearing.hear("w.1", third) == [3]
    assert hearing.hear("w.2", make_telling().tell(hearing.heard("w.2"))) == [1]


def test_nothing_new_is_nothing() -> None:
    telling, hearing = Telling[int](1, list), Hearing[int](1)
    told = telling.tell(hearing.heard("w.1"))
    assert (told.batches, hearing.hear("w.1", told)) == ([], [])


def test_a_node_that_begins_anew_is_heard_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(5, -1)  # it was set back
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    hearing = Hearing[int](1)
    assert hearing.hear("w.1", make_telling().tell((0, 0))) == [1]
    anew = make_telling()
    anew.tell(hearing.heard("w.1"))
    assert hearing.hear("w.1", anew.tell(hearing.heard("w.1"))) == [1, 2]


def test_other_sessions_are_not_heard() -> None:
    hearing = Hearing[int](2)
    assert hearing.hear("w.1", make_telling(1).tell((0, 0))) == []
    assert hearing.heard("w.1") == (0, 0)
