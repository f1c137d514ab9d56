"""yappi in this process: what an attempt did, exactly, and nothing else."""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from bndl.errors import ProfilerUnavailable
from bndl.execute.current import CurrentTask
from bndl.profiling.aside import unseen
from bndl.profiling.profile import Function, Part, Place, add_calls
from bndl.profiling.stats import CpuStats, Price
from bndl.profiling.tracing import Tracer
from bndl.profiling.wire import AttemptNotes, CallRow, TaskKey, decode_notes, encode


def leaf() -> None:
    pass


def branch(times: int) -> None:
    for _ in range(times):
        leaf()


def descend(depth: int) -> None:
    if depth:
        descend(depth - 1)


def fail() -> None:
    leaf()
    raise ValueError


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


class Base:
    def method(self) -> None:
        leaf()


class Derived(Base):
    pass


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    made = Tracer("cpu")
    yield made
    made.stop()
    made.clear()


def task(stage: str = "parse", index: int = 0, number: int = 1) -> CurrentTask:
    return CurrentTask("job", stage, index, 1, "w.1", "driver", (number << 32) + index)


def run(tracer: Tracer, call: Callable[[], object], which: CurrentTask | None = None) -> list[CallRow]:
    which = which or task()
    key = TaskKey(which.job, which.stage, which.number >> 32, which.index, which.attempt)
    with contextlib.suppress(ValueError):
        tracer.run(which, key, call)
    found = tracer.finish()
    assert found is not None
    # As it comes to the driver.
    return list(decode_notes(encode(AttemptNotes(1, tracer.epoch, key, found))).calls or ())


class Names:
    """The functions of a tracer by index, as the driver learns them."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def count(self, rows: Sequence[CallRow]) -> dict[str, int]:
        for row in rows:
            if row.function is not None:
                self.known[row.index] = row.function[2]
        return {self.known[row.index]: row.calls for row in rows if row.calls}


def test_an_attempt_has_what_it_did_and_nothing_else(tracer: Tracer) -> None:
    names = Names()
    branch(5)
    assert names.count(run(tracer, lambda: branch(3))) == {"<lambda>": 1, "branch": 1, "leaf": 3}
    branch(5)
    second = lambda: branch(2)  # noqa: E731 - called like that
    assert names.count(run(tracer, second)) == {"<lambda>": 1, "branch": 1, "leaf": 2}
    outside = {row.function[2]: row.calls for row in tracer.outside() if row.function is not None}
    assert (outside["branch"], outside["leaf"]) == (2, 10)


def test_recursion_exceptions_generators_and_methods_are_counted(tracer: Tracer) -> None:
    names = Names()
    rows = run(tracer, lambda: descend(4))
    assert names.count(rows)["descend"] == 5
    assert [row.primitive for row in rows if names.known[row.index] == "descend"] == [1]
    assert names.count(run(tracer, fail)) == {"fail": 1, "leaf": 1}
    # A generator counts each time that it goes on.
    assert names.count(run(tracer, lambda: sum(numbers(3))))["numbers"] == 4
    # A method has the name of the class that it is defined in, whoever is called first.
    assert names.count(run(tracer, Derived().method)) == {"Base.method": 1, "leaf": 1}
    assert names.count(run(tracer, Base().method)) == {"Base.method": 1, "leaf": 1}


def test_threads_do_not_mix(tracer: Tracer) -> None:
    names = Names()

    def work(index: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(20):
            found.update(names.count(run(tracer, lambda: branch(index), task(index=index))))
        return found

    with ThreadPoolExecutor(4) as pool:
        assert [each["leaf"] for each in pool.map(work, range(1, 9))] == [20 * index for index in range(1, 9)]


def test_callers_are_known(tracer: Tracer) -> None:
    names = Names()
    rows = run(tracer, lambda: branch(3))
    names.count(rows)
    edges = {(names.known[row.index], names.known[callee]): calls for row in rows for callee, calls, *_ in row.callees}
    assert edges == {("<lambda>", "branch"): 1, ("branch", "leaf"): 3}


def test_what_is_asked_in_the_middle_does_not_change_the_end(tracer: Tracer) -> None:
    reached, go_on = threading.Event(), threading.Event()
    names = Names()

    def slow() -> None:
        branch(1)
        reached.set()
        go_on.wait(10)
        branch(1)

    with ThreadPoolExecutor(1) as pool:
        for attempt in range(3):
            future = pool.submit(run, tracer, slow)
            assert reached.wait(10)
            assert tracer.running_count == 1
            for _ in range(3):
                ((key, rows),) = tracer.running()
                assert key.stage == "parse"
                so_far = {row.function[2]: row.calls for row in rows if row.function is not None}
                assert (so_far["slow"], so_far["branch"], so_far["leaf"]) == (0, 1, 1), attempt
            go_on.set()
            counted = names.count(future.result(10))
            assert (counted["slow"], counted["branch"], counted["leaf"]) == (1, 2, 2)
            reached.clear()
            go_on.clear()


def test_profilings_own_work_is_unseen(tracer: Tracer) -> None:
    unseen(branch, 7)
    names = {row.function[2] for row in tracer.outside() if row.function is not None}
    assert "branch" not in names


def test_an_attempt_that_began_before_is_not_counted(tracer: Tracer) -> None:
    assert tracer.finish() is None


def test_an_attempt_that_goes_on_when_its_tracer_was_stopped_is_not_in_the_next(tracer: Tracer) -> None:
    began, go_on, called, end = (threading.Event() for _ in range(4))

    def outlive() -> None:
        began.set()
        go_on.wait(10)
        branch(1000)
        called.set()
        end.wait(10)

    old = threading.Thread(target=tracer.run, args=(task("long"), TaskKey("job", "long", 1, 0, 1), outlive))
    old.start()
    assert began.wait(10)
    tracer.stop()
    tracer.clear()
    following = Tracer("cpu")
    try:
        go_on.set()
        assert called.wait(10)
        assert Names().count(run(following, lambda: branch(3)))["leaf"] == 3
    finally:
        end.set()
        old.join(10)
        following.stop()
        following.clear()


def test_stages_without_end_share_their_tags(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.tracing._MOST_TAGS", 3)
    names = Names()
    for number in range(10):
        assert names.count(run(tracer, lambda: branch(2), task(f"step {number}", number=number)))["leaf"] == 2
    assert len(tracer._tallies) == 4  # noqa: SLF001 - what is never freed


def test_one_at_a_time(tracer: Tracer) -> None:
    with pytest.raises(ProfilerUnavailable, match="running already"):
        Tracer("wall")
    assert tracer.memory > 0


def test_builtins_have_the_same_name_everywhere(tracer: Tracer) -> None:
    names = Names()

    def work() -> None:
        items = [1]
        items.append(len(items))
        sorted(items)

    counted = names.count(run(tracer, work))
    assert {"list.append", "len", "sorted"} <= counted.keys()
    assert Function("builtins", 0, "list.append", "builtins", "").label() == "builtins.list.append"


def use_a_profiler_of_its_own() -> None:
    leaf()
    sys.setprofile(None)
    leaf()


def go_to_the_limit_of_recursion() -> None:
    with contextlib.suppress(RecursionError):
        descend(10 * sys.getrecursionlimit())


@pytest.mark.parametrize("break_it", [use_a_profiler_of_its_own, go_to_the_limit_of_recursion])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_attempt_that_was_not_seen_as_a_whole_is_left_out_and_the_next_one_is_seen(
    tracer: Tracer, break_it: Callable[[], None]
) -> None:
    names = Names()
    which = task()
    key = TaskKey(which.job, which.stage)
    assert names.count(run(tracer, lambda: branch(3)))["leaf"] == 3
    assert not tracer.remarks()
    tracer.run(which, key, break_it)
    if tracer.finish() is not None:
        # Newer Pythons count the calls of C apart, so yappi can ask for a tag at the limit too.
        assert break_it is go_to_the_limit_of_recursion
        assert sys.version_info >= (3, 12)
    else:
        assert tracer.remarks()[0].startswith("1 attempt is left out")
    rows = run(tracer, lambda: branch(3))
    assert names.count(rows) == {"<lambda>": 1, "branch": 1, "leaf": 3}
    assert all(row.primitive == row.calls for row in rows)
    totals = {names.known[row.index]: row.total for row in rows}
    assert totals["<lambda>"] >= totals["branch"] >= totals["leaf"] > 0
    edges = {(names.known[row.index], names.known[callee]): calls for row in rows for callee, calls, *_ in row.callees}
    assert edges == {("<lambda>", "branch"): 1, ("branch", "leaf"): 3}


def test_what_users_ask_of_figures_is_not_in_the_figures(tracer: Tracer) -> None:
    made = Part(Place("w.1", TaskKey("job", "parse", 1, 0, 1)))
    add_calls(made, [CallRow(0, 1, 1, 1.0, 1.0, [], ("app.py", 1, "main", "app", "/app.py"))], {})
    profile = CpuStats([made], "tracing", "cpu", Price())

    def hashes() -> int:
        return sum(row.calls for row in tracer.outside() if row.function is not None and row.function[2] == "__hash__")

    before = hashes()
    assert profile.find("main").ncall == 1
    assert hashes() == before
