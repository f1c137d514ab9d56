"""A worker whose driver is lost while it executes a task of it, or while it waits for something from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bndl.errors import InputFailed
from bndl.execute.failures import rebuild
from bndl.execute.payloads import Packer, unpack
from bndl.execute.refs import Ref, Results
from bndl.net import messages
from bndl.net.messages import Message, encode
from tests.unit.workers import STAGE, TASK, WorkerBench, define, launch, meanwhile


def test_a_large_result_is_stored_until_its_stage_is_forgotten() -> None:
    bench = WorkerBench()
    bench.receive(define(), launch())
    bench.time.run(1.0)
    assert (bench.kinds, len(bench.store)) == ([0], 1)
    bench.receive(messages.Forget([STAGE]))
    assert len(bench.store) == 0


def test_a_result_for_a_driver_that_was_lost_in_the_meantime_is_not_kept() -> None:
    bench = WorkerBench()
    meanwhile.append(bench.lose_driver)
    bench.receive(define(), launch())
    bench.time.run(1.0)
    assert (bench.kinds, len(bench.store)) == ([], 0)


def test_what_a_lost_driver_wanted_is_not_done_in_the_name_of_its_next_tenancy() -> None:
    bench = WorkerBench(seconds=1.0)
    bench.receive(define(), launch(1))
    bench.time.run(0.5)
    bench.lose_driver()
    bench.receive(define(), launch(2))
    bench.time.run(5.0)
    assert [each.number for each in bench.results] == [2]


def test_a_result_of_a_stage_that_was_forgotten_in_the_meantime_is_not_kept() -> None:
    bench = WorkerBench()
    meanwhile.append(lambda: bench.receive(messages.Forget([STAGE])))
    bench.receive(define(), launch())
    bench.time.run(1.0)
    assert len(bench.store) == 0


def test_a_queued_attempt_of_a_forgotten_stage_is_given_up() -> None:
    bench = WorkerBench(seconds=1.0)
    bench.receive(define(), launch(), messages.Forget([STAGE]))
    bench.time.run(5.0)
    assert bench.kinds == [3]


def test_attempts_of_a_stage_that_is_not_known_are_given_up() -> None:
    bench = WorkerBench()
    bench.receive(launch())
    bench.time.run(1.0)
    assert bench.kinds == [3]


def test_a_driver_that_is_lost_before_it_gave_the_function_is_not_told_of_a_failure() -> None:
    bench = WorkerBench()
    bench.receive(define(fetched=True), launch())
    bench.lose_driver()
    bench.time.run(1.0)
    assert bench.kinds == []


def test_a_call_whose_result_is_too_large_for_a_message_is_answered() -> None:
    bench = WorkerBench()

    def send(_to: str, message: Message, **_: bool) -> None:
        if len(encode(message)) > 2000:
            text = "too large"
            raise ValueError(text)
        bench.sent.append(message)

    bench.worker.peers.send = send  # type: ignore[assignment,method-assign]
    for call, size in enumerate((10, 5000)):
        bench.receive(messages.Call(call, Packer().pack((bytes, (size,), {}))))
    bench.time.run(1.0)
    first, second = bench.sent
    assert isinstance(first, messages.Answer)
    assert isinstance(second, messages.Answer)
    assert (first.succeeded, unpack(first.payload)) == (True, bytes(10))
    assert (second.succeeded, rebuild(second.payload)[0].line) == (False, "ValueError: too large")


# Inputs that there are none of, because their stage tolerates failures


class Named(NamedTuple):
    """A stage whose results are referred to."""

    name: str
    first_task: int


EARLIER = Named("earlier", 3 << 32)


def take(item: Any) -> Any:
    return item


def launch_with(item: Any, sources: Sequence[tuple[str, Sequence[int]]]) -> messages.Launch:
    return messages.Launch(STAGE, [messages.Attempt(TASK, 1, Packer().pack(item, with_refs=True), sources)])


def keep_three(bench: WorkerBench) -> None:
    for index in range(3):
        bench.store.put(("driver", messages.Space.RESULT, EARLIER.first_task + index), Packer().pack(index))


def test_a_list_of_results_leaves_out_those_that_there_are_none_of() -> None:
    bench = WorkerBench()
    keep_three(bench)
    numbers = [EARLIER.first_task + index for index in range(5)]
    sources = [("worker", numbers[:3]), ("", numbers[3:])]
    bench.receive(define(take), launch_with([Results(EARLIER, range(5)), Ref(EARLIER, 1)], sources))
    bench.time.run(1.0)
    (result,) = bench.results
    assert (result.kind, unpack(result.payload)) == (0, [[0, 1, 2], 1])


def test_a_list_of_results_of_which_there_are_none_is_empty() -> None:
    bench = WorkerBench()
    bench.receive(define(take), launch_with(Results(EARLIER, range(2)), [("", [3 << 32, (3 << 32) + 1])]))
    bench.time.run(1.0)
    assert unpack(bench.results[0].payload) == []


def test_a_single_ref_to_a_result_that_there_is_none_of_raises_in_the_task() -> None:
    bench = WorkerBench()
    bench.receive(define(take), launch_with((0, Ref(EARLIER, 4)), [("", [EARLIER.first_task + 4])]))
    bench.time.run(1.0)
    (result,) = bench.results
    _, error = rebuild(result.payload)
    assert (result.kind, type(error)) == (1, InputFailed)
    assert "earlier[4]" in str(error)
    assert vars(error)["index"] == 4
