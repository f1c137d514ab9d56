"""Messages of a member that make no sense: each is answered, dropped or reported, and nothing breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bndl.cluster.membership import _is_view
from bndl.cluster.peer import Peer
from bndl.execute import failures
from bndl.execute.calling import MOST_CALLS, Calling
from bndl.execute.payloads import Packer
from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.net.calls import Calls
from bndl.net.memory import VirtualTime
from bndl.net.messages import Answer, Attempt, Call, Fetch, Fetched, Launch, Message, NodeInfo, Part, Returned
from tests.unit.workers import STAGE, TASK, WorkerBench, define, launch

CHUNK = 10


class Asker:
    """A node that fetches from one that is played by the test."""

    def __init__(self, answers: Sequence[Sequence[Part]]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.reports: list[str] = []
        self.done: list[tuple[dict[int, bytes], list[int]]] = []
        self.some: dict[int, bytes] = {}
        time = VirtualTime()
        self.calls = Calls(time, lambda _, message: self.take(message), lambda _: True, 1.0)
        self.transfer = Transfer(
            Store(0),
            self.calls,
            lambda *_: None,
            time,
            timeout=5.0,
            chunk_bytes=CHUNK,
            report=lambda _, what: self.reports.append(what),
        )

    def take(self, message: Message) -> None:
        assert isinstance(message, Fetch)
        self.asked += 1
        assert self.asked < 100, "it asks for ever"
        parts = self.answers[min(self.asked, len(self.answers)) - 1]
        self.calls.answer(message.call, "peer", Fetched(message.call, parts))

    def fetch(self, *numbers: int, sizes: dict[int, int] | None = None) -> None:
        def done(data: dict[int, bytes], missing: list[int]) -> None:
            self.done.append((data, missing))

        self.transfer.fetch("peer", "driver", 0, numbers, done, self.some.update, sizes)


@pytest.mark.parametrize(
    ("answers", "report"),
    [
        ([[Part(1, 1, b"a"), Part(2, 1, b"b"), Part(3, 1, b"c")]], "something else"),
        ([[Part(2, 1, b"b")]], "something else"),
        ([[Part(1, 1, b"a"), Part(7, 1, b"b")]], "something else"),
        ([[Part(1, 5, b"")]], "an empty part"),
        ([[Part(1, 5, b"abc")], [Part(1, 5, b"")]], "an empty part"),
        ([[Part(1, 2, b"abc")]], "more than the size"),
        ([[Part(1, 100, bytes(11))]], "more bytes"),
        ([[Part(1, 1, b"a"), Part(2, 1000, b"b")]], "more than the size"),
        ([[Part(1, 1 << 60, bytes(CHUNK))]], "more than the size"),
    ],
)
def test_an_answer_that_does_not_fit_ends_the_fetch_and_is_reported(answers: list[list[Part]], report: str) -> None:
    asker = Asker(answers)
    asker.fetch(1, 2, sizes={1: 100, 2: 100})
    ((data, missing),) = asker.done
    assert data == {}
    assert sorted([*asker.some, *missing]) == [1, 2], "each is delivered or missing"
    (text,) = asker.reports
    assert text.startswith(report)


def test_a_thing_that_was_replaced_while_it_was_fetched_is_missing_and_nobody_is_to_blame() -> None:
    asker = Asker([[Part(1, 15, bytes(10))], [Part(1, 12, bytes(2))], [Part(2, 1, b"b")]])
    asker.fetch(1, 2)
    assert asker.done == [({}, [1])]
    assert asker.some == {2: b"b"}
    assert asker.reports == []


def test_an_attempt_that_is_launched_twice_is_executed_once() -> None:
    bench = WorkerBench(seconds=1.0)
    bench.receive(define(), launch(), launch(), Launch(STAGE, [*launch().attempts] * 2))
    bench.time.run(10.0)
    assert [(result.task, result.number) for result in bench.results] == [(TASK, 1)]
    bench.receive(launch(2))
    bench.time.run(10.0)
    assert [result.number for result in bench.results] == [1, 2]


def test_a_source_that_is_named_twice_is_asked_once_for_all() -> None:
    bench = WorkerBench()
    attempt = Attempt(TASK, 1, Packer().pack("item"), [("other", [1]), ("other", [2]), ("other", [1])])
    bench.receive(define(), Launch(STAGE, [attempt]))
    bench.time.run(100.0)
    (result,) = bench.results
    assert sorted(result.missing) == [(1, "other"), (1, "other"), (2, "other")]


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91" * 5000, b"\x95\xa1a"])
def test_a_malformed_description_of_an_error_is_described(payload: bytes) -> None:
    failure, error = failures.read(payload)
    assert "malformed" in failure.line
    assert isinstance(error, BaseException)
    assert failures.matches(payload, [Exception])
    assert not failures.matches(payload, [ValueError])


@pytest.mark.parametrize("name", ["", "x", "a.worker.1.2", "a.worker.1.2.x", "a.worker.-1.2.3", "ä\u2028.\U0001f600"])
def test_a_peer_whose_name_is_no_node_name_is_a_peer(name: str) -> None:
    caller: Any = None  # it is not called
    peer = Peer(NodeInfo(name, "worker", "1", {}, 1), caller)
    assert (peer.name, peer.machine, peer.pid) == (name, "", 0)


@pytest.mark.parametrize("answer", [3, "names", [1], {"a": 1}, (object(),)])
def test_an_answer_of_whom_a_worker_sees_that_is_none_is_told_from_one(answer: object) -> None:
    assert not _is_view(answer)
    assert _is_view(None)
    assert _is_view(["a", "b"])


class Caller:
    """Calls that do not end until the test says so."""

    def __init__(self, start: Callable[[Callable[[], None]], None] | None = None) -> None:
        self.answers: list[Answer] = []
        self.waiting: list[Callable[[], None]] = []
        self.calling = Calling(self.answered, start or self.waiting.append)

    def answered(self, _to: str, message: Message) -> None:
        assert isinstance(message, Answer)
        self.answers.append(message)

    def call(self, number: int) -> None:
        self.calling.handle("driver", Call(number, Packer().pack((abs, (-1,), {}))))


def test_calls_beyond_a_number_are_answered_at_once() -> None:
    caller = Caller()
    for number in range(MOST_CALLS + 1):
        caller.call(number)
    (refusal,) = caller.answers
    assert (refusal.call, refusal.succeeded) == (MOST_CALLS, False)
    assert "calls are under way" in failures.read(refusal.payload)[0].line
    caller.waiting.pop()()
    caller.call(MOST_CALLS + 1)
    assert len(caller.waiting) == MOST_CALLS


def test_a_call_for_which_there_is_no_thread_is_answered() -> None:
    def fail(_: Callable[[], None]) -> Any:
        raise RuntimeError("can't start new thread")

    caller = Caller(fail)
    caller.call(1)
    (refusal,) = caller.answers
    assert "no thread can be started" in failures.read(refusal.payload)[0].line


def test_a_message_that_is_not_for_a_worker_is_reported_and_not_logged_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = WorkerBench()
    for _ in range(50):
        bench.receive(Answer(1, True, b""), Fetched(1, []), define())  # noqa: FBT003
        bench.worker.message_received("driver", Call(1, b""))
        bench.worker.message_received("driver", Returned([]))
    assert len([record for record in caplog.records if "not for a worker" in record.getMessage()]) == 1
