"""What is made of figures: sums, filters, tables, trees, files of other tools, differences."""

import io
import json
import pstats
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import bndl
from bndl.errors import InvalidOption
from bndl.profiling.cpu import CpuProfiling
from bndl.profiling.diff import CpuDiff
from bndl.profiling.exports import to_callgrind, to_speedscope
from bndl.profiling.ledger import Ledger
from bndl.profiling.nodes import Answers
from bndl.profiling.profile import Function, Part, Place, add_calls, add_samples, hide_own, merge
from bndl.profiling.pyspy import parse_raw
from bndl.profiling.stats import CpuStats, Price, is_selected
from bndl.profiling.tree import build_tree, walk
from bndl.profiling.wire import (
    OUTSIDE,
    AttemptNotes,
    CallRow,
    CpuAnswer,
    FunctionInfo,
    Obeyed,
    SampledStacks,
    TaskKey,
    Told,
    encode,
)


def info(name: str, module: str = "app", line: int = 1) -> FunctionInfo:
    path = f"{module.replace('.', '/')}.py"
    return path, line, name, module, f"/src/{path}"


def rows(*calls: tuple[str, int, float, float, dict[str, tuple[int, float]]], module: str = "app") -> list[CallRow]:
    """Rows of (name, calls, total, own, {callee: (calls, total)}); indices are those of the order."""
    names = [name for name, *_ in calls]
    return [
        CallRow(
            index,
            count,
            count,
            total,
            own,
            [(names.index(callee), n, n, seconds, seconds) for callee, (n, seconds) in callees.items()],
            info(name, module, line=index + 1),
        )
        for index, (name, count, total, own, callees) in enumerate(calls)
    ]


def part(key: TaskKey, calls: Sequence[CallRow], worker: str = "w.1") -> Part:
    made = Part(Place(worker, key))
    add_calls(made, calls, {})
    return made


#: main calls a (6 s) and b (3 s); both call c, a for 2 s and b for 1 s.
GRAPH = rows(
    ("main", 1, 10.0, 1.0, {"a": (2, 6.0), "b": (3, 3.0)}),
    ("a", 2, 6.0, 4.0, {"c": (4, 2.0)}),
    ("b", 3, 3.0, 2.0, {"c": (2, 1.0)}),
    ("c", 6, 3.0, 3.0, {}),
)


def key(stage: str = "parse", index: int = 0, number: int = 1, job: str = "job") -> TaskKey:
    return TaskKey(job, stage, number, index, 1)


def stats(*parts: Part, mode: str = "tracing") -> CpuStats:
    return CpuStats(parts, mode, "cpu", Price(profilers={"w.1": "yappi"}))


@pytest.fixture
def two() -> CpuStats:
    return stats(
        part(key("parse", 0), GRAPH),
        part(key("parse", 1), GRAPH, "w.2"),
        part(key("merge", 0, 2), GRAPH[3:], "w.2"),
        part(OUTSIDE, rows(("loop", 1, 1.0, 1.0, {}), module="bndl.loop")),
    )


# Sums, filters, splits


def test_parts_are_added_up_by_function(two: CpuStats) -> None:
    assert two.find("a").ncall == 4
    assert two.find("c").ncall == 18
    assert two.find("c").ttot == pytest.approx(9.0)
    assert two.find("c").tavg == pytest.approx(0.5)
    assert {caller.name: cost.calls for caller, cost in two.find("c").callers.items()} == {"a": 8, "b": 4}
    assert {callee.name: cost.total for callee, cost in two.find("main").callees.items()} == {"a": 12.0, "b": 6.0}


def test_figures_are_filtered_after_the_fact(two: CpuStats) -> None:
    assert two.filter(stage="parse").find("c").ncall == 12
    assert two.filter(stage="parse", worker="w.2").find("c").ncall == 6
    assert two.filter(worker=["w.1", "w.2"], stage="parse").find("c").ncall == 12
    assert two.filter(stage="parse").filter(worker="w.2").title == "stage parse, w.2"
    assert two.filter(task=1).find("c").ncall == 6
    assert two.filter(job="job").find("c").ncall == 18
    assert len(two.filter(job="other")) == 0
    assert two.filter() is two


def test_figures_are_split_and_lose_nothing(two: CpuStats) -> None:
    for by in ("job", "stage", "task", "worker"):
        split = two.split(by)
        assert sum(each.seconds for each in split.values()) == pytest.approx(two.seconds)
    assert list(two.split("stage")) == ["(outside of tasks)", "job / merge", "job / parse"]
    assert list(two.split("task")) == ["(outside of tasks)", "job / merge[0]", "job / parse[0]", "job / parse[1]"]
    with pytest.raises(InvalidOption, match="must be one of job, stage, task, worker, got"):
        two.split("colour")


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        (None, None, True),
        ("bndl", None, True),
        (("bndl",), None, True),
        ("bndl.net", None, True),
        ("bnd", None, False),
        ("bndl.net.peers.more", None, False),
        (("os", "bndl.net.peers"), None, True),
        (None, "bndl.net", False),
        ("bndl", ("bndl.execute", "bndl.loop"), True),
    ],
)
def test_modules_are_selected_by_prefix(
    include: str | Sequence[str] | None, exclude: str | Sequence[str] | None, *, selected: bool
) -> None:
    assert is_selected("bndl.net.peers", include, exclude) is selected


# Tables


def printed(profile: CpuStats, *args: object, **options: object) -> list[str]:
    out = io.StringIO()
    profile.print(*args, file=out, **options)  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def test_the_table_is_that_of_the_document(two: CpuStats) -> None:
    lines = printed(two, 2, include="app")
    assert lines[:7] == [
        "",
        "Clock type: CPU",
        "Ordered by: totaltime, desc",
        "",
        "name                                               ncall         tsub      ttot      tavg      ",
        "app.py:1 main                                      2             2.000000  20.00000  10.00000",
        "app.py:2 a                                         4             8.000000  12.00000  3.000000",
    ]
    assert lines[7] == ""
    assert lines[8].startswith("Profiled 1 nodes with yappi, 0 attempts; profiling took")


def test_recursive_calls_are_shown_apart() -> None:
    recursive = [CallRow(0, 40, 36, 1.552147, 0.000524, [], info("work", "bndl.util.threads", 21))]
    assert printed(stats(part(key(), recursive)))[5] == (
        "bndl/util/threads.py:21 work                       40/36         0.000524  1.552147  0.038804"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"max_rows": -1},
        {"max_rows": "3"},
        {"max_rows": 2.5},
        {"sort_by": "size"},
        {"columns": "size"},
        {"include": 5},
        {"exclude": ["bndl", 5]},
    ],
)
def test_options_of_the_table_that_make_no_sense_are_refused(two: CpuStats, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(options))} must be .*, got"):
        two.print(**options)


def test_a_stage_that_was_never_executed_has_no_figures(two: CpuStats) -> None:
    assert len(two.filter(stage=bndl.Job("job").stage(abs, [1]))) == 0


@pytest.mark.parametrize("which", [{"job": 5}, {"stage": 5}, {"worker": 5}, {"worker": [5]}, {"task": "0"}])
def test_figures_of_nothing_there_can_be_are_refused(two: CpuStats, which: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(which))} must be .*, got"):
        two.filter(**which)


def test_a_column_may_be_named_alone(two: CpuStats) -> None:
    assert printed(two, 1, columns="ncall")[4].split() == ["ncall"]


def test_the_table_can_be_changed(two: CpuStats) -> None:
    lines = printed(two, None, "name", "asc", ("name", "ncall"), strip_dirs=False)
    assert lines[2] == "Ordered by: name, asc"
    assert lines[4].split() == ["name", "ncall"]
    assert [line.split()[0] for line in lines[5:10]] == [
        *(f"/src/app.py:{line}" for line in range(1, 5)),
        "/src/bndl/loop.py:1",
    ]
    assert [line for line in printed(two, per_worker=True) if line in {"w.1", "w.2"}] == ["w.1", "w.2"]
    for wrong in ({"sort_by": "colour"}, {"sort_dir": "up"}, {"columns": ("size",)}):
        with pytest.raises(InvalidOption):
            printed(two, **wrong)


def test_it_is_shown_in_terminals_and_notebooks(two: CpuStats) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(two)
    assert "app.py:1 main" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "app.py:1 main" in str(two)
    html = stats(part(key(), rows(("<lambda>", 1, 1.0, 1.0, {}))))._repr_html_()
    assert "&lt;lambda&gt;" in html
    assert "<lambda>" not in html


def test_the_footer_says_what_is_missing() -> None:
    price = Price(running=2, folded=3, missing={"w.9": "no answer within 1 s"}, remarks={"w.1": "slow", "w.2": "slow"})
    lines = printed(CpuStats((), "tracing", "wall", price))
    assert lines[1] == "Clock type: WALL"
    assert "2 attempts are running and are left out; running=True shows what they did so far." in lines
    assert "3 attempts are known by their stage only, not one by one." in lines
    assert "Missing: w.9: no answer within 1 s" in lines
    assert "w.1, w.2: slow" in lines


def test_the_footer_says_what_samples_are() -> None:
    lines = printed(CpuStats((), "sampling", "cpu", Price(attempts=2, profilers={"w.1": "in-process sampler"})))
    assert lines[1] == "Clock type: CPU, sampled"
    assert lines[-1].startswith("Profiled 1 nodes with in-process sampler, 2 attempts looked into; profiling took")
    lines = printed(CpuStats((), "sampling", "cpu", Price(profilers={"w.1": "in-process sampler", "w.2": "py-spy"})))
    assert lines[-1] == "py-spy counts the time in which threads run or could run, not what they get of the processor."


# Profiling itself


def test_profiling_keeps_itself_out_of_the_figures() -> None:
    names = [info("Worker.execute", "bndl.execute.worker"), info("Agent.run", "bndl.profiling.agent")]
    run = ("_contextvars", 0, "Context.run", "_contextvars", "")
    calls = [
        CallRow(0, 5, 5, 9.0, 1.0, [(1, 5, 5, 8.0, 0.5)], names[0]),
        CallRow(1, 5, 5, 8.0, 0.5, [(2, 5, 5, 7.5, 0.5)], names[1]),
        CallRow(2, 6, 6, 8.5, 1.5, [(3, 5, 5, 7.0, 1.0)], run),
    ]
    task = info("Worker._execute", "bndl.execute.worker", 2)
    outside = Part(Place("w.1", OUTSIDE))
    add_calls(outside, calls, {3: Function(*task)})
    hide_own(outside)
    assert {function.name: cost.calls for function, cost in outside.functions.items()} == {
        "Worker.execute": 5,
        "Context.run": 1,  # somebody else's call of it
    }
    edges = {(caller.name, callee.name): cost.total for (caller, callee), cost in outside.edges.items()}
    assert edges == {("Worker.execute", "Worker._execute"): 7.0, ("Worker.execute", "(profiling)"): 1.0}


def test_a_helper_that_was_never_seen_as_a_whole_does_no_harm() -> None:
    outside = Part(Place("w.1", OUTSIDE))
    run = Function("_contextvars", 0, "Context.run", "_contextvars", "")
    add_calls(
        outside,
        [CallRow(0, 1, 1, 2.0, 1.0, [(1, 1, 1, 1.0, 1.0)], info("Tracer.run", "bndl.profiling.tracing"))],
        {1: run},
    )
    hide_own(outside)
    assert [cost.calls for cost in outside.functions.values() if cost.calls > 0] == []


# Trees


def seconds_by_path(tree_part: Part) -> dict[str, float]:
    return {
        " ".join(function.name for function in path): round(node.seconds, 6)
        for path, node in walk(build_tree(tree_part))
    }


def test_a_graph_of_calls_is_unfolded() -> None:
    assert seconds_by_path(part(key(), GRAPH)) == {
        "main": 10.0,
        "main a": 6.0,
        "main a c": 2.0,
        "main b": 3.0,
        "main b c": 1.0,
    }


def test_a_function_that_has_not_returned_has_the_time_of_its_callees() -> None:
    calls = rows(("main", 0, 0.0, 0.0, {"a": (2, 6.0)}), ("a", 2, 6.0, 6.0, {}))
    assert seconds_by_path(part(OUTSIDE, calls)) == {"main": 6.0, "main a": 6.0}


def test_an_unfolded_tree_loses_no_time() -> None:
    tree = build_tree(part(key(), GRAPH))
    assert sum(node.own for _, node in walk(tree)) == pytest.approx(10.0)


def test_recursion_ends() -> None:
    calls = rows(("even", 3, 2.0, 1.0, {"odd": (3, 1.5)}), ("odd", 3, 1.5, 1.0, {"even": (2, 1.0)}))
    assert max(path.count(" ") for path in seconds_by_path(part(key(), calls))) < 4


def test_what_is_counted_in_other_parts_is_taken_out() -> None:
    outside = part(OUTSIDE, GRAPH[:2])
    add_calls(outside, [], {})
    outside.functions.pop(Function(*info("a", line=2)))
    assert seconds_by_path(outside) == {"main": 4.0}


def test_the_tree_of_samples_is_what_was_seen() -> None:
    sampled = Part(Place("w.1", key()))
    functions = [info("main"), info("a", line=2), info("c", line=3)]
    add_samples(sampled, SampledStacks(key(), functions, [([0, 1, 2], 3.0), ([0, 1], 1.0), ([0, 2], 2.0), ([0], 0.5)]))
    assert seconds_by_path(sampled) == {"main": 6.5, "main a": 4.0, "main a c": 3.0, "main c": 2.0}
    owns = {function.name: (cost.own, cost.total) for function, cost in sampled.functions.items()}
    assert owns == {"main": (0.5, 6.5), "a": (1.0, 4.0), "c": (5.0, 5.0)}


# Other tools


def test_pstats_reads_it(two: CpuStats, tmp_path: Path) -> None:
    path = two.save(tmp_path / "out.pstats")
    table = pstats.Stats(str(path), stream=io.StringIO())
    read = table.stats  # type: ignore[attr-defined]
    primitive, calls, own, total, callers = read["/src/app.py", 4, "c"]
    assert (primitive, calls, own, total) == (18, 18, 9.0, 9.0)
    assert callers["/src/app.py", 2, "a"] == (8, 8, 4.0, 4.0)
    table.sort_stats("cumulative").print_stats().print_callers()


def test_speedscope_has_a_profile_for_each_stage_and_worker(two: CpuStats) -> None:
    document = json.loads(json.dumps(to_speedscope(two)))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    names = [profile["name"] for profile in document["profiles"]]
    assert names[:2] == ["all", "stage (outside of tasks)"]
    assert names[-1] == "worker w.2"
    frames = document["shared"]["frames"]
    for profile in document["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert sum(profile["weights"]) == pytest.approx(profile["endValue"])
        assert all(0 <= frame < len(frames) for sample in profile["samples"] for frame in sample)


def test_callgrind_adds_up(two: CpuStats) -> None:
    lines = list(to_callgrind(two.filter(stage="parse")))
    assert lines[0] == "# callgrind format"
    assert "events: Nanoseconds_cpu" in lines
    summary = int(next(line for line in lines if line.startswith("summary: ")).split()[1])
    own = [int(line.split()[1]) for before, line in pairwise(lines) if before.startswith("fn=") and line[0].isdigit()]
    assert sum(own) == summary == 20_000_000_000
    calls = [line for line in lines if line.startswith("calls=")]
    assert sum(int(line[6:].split()[0]) for line in calls) == 2 * (2 + 3 + 4 + 2)


def test_other_suffixes_are_refused(two: CpuStats, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"\.html, \.speedscope\.json, \.pstats, \.callgrind"):
        two.save(tmp_path / "out.txt")


# Differences


def test_what_is_different_between_two_profiles() -> None:
    before = stats(part(key(), GRAPH))
    after = stats(part(key(), rows(("main", 3, 9.0, 9.0, {}), ("new", 1, 0.5, 0.5, {}))))
    diff = {each.function.name: each for each in CpuDiff(before, after)}
    assert [(name, each.calls, each.own, each.total) for name, each in diff.items()] == [
        ("main", 2, 8.0, -1.0),
        ("a", -2, -4.0, -6.0),
        ("c", -6, -3.0, -3.0),
        ("b", -3, -2.0, -3.0),
        ("new", 1, 0.5, 0.5),
    ]
    relative = {each.function.name: each.own for each in CpuDiff(before, before, relative=True)}
    assert set(relative.values()) == {0.0}
    out = io.StringIO()
    CpuDiff(before, after).print(1, file=out)
    assert out.getvalue().splitlines()[1] == "all -> all, seconds"
    with pytest.raises(InvalidOption, match="html"):
        CpuDiff(before, after).save("diff.txt")


def test_a_difference_says_if_the_profiles_are_not_of_one_kind() -> None:
    traced = stats(part(key(), GRAPH))
    diff = CpuDiff(traced, stats(mode="sampling"))
    assert {each.calls for each in diff} == {0}
    assert diff.title == "all (tracing, cpu clock) -> all (sampling, cpu clock)"


# py-spy


def test_what_py_spy_wrote_is_split_by_task() -> None:
    text = (
        "Thread.run (/lib/threading.py:10);bndl-task-7 (<bndl>:1);work.<locals>.inner (/src/app.py:3) 5\n"
        "Thread.run (/lib/threading.py:10);wait (/lib/threading.py:20) 2\n"
        "bndl-task-8 (<bndl>:1);syscall (libc.so.6) 1\n"
    )
    keys = {7: key("parse"), 8: key("merge")}
    found = {each.key: each for each in parse_raw(text, keys.__getitem__, 0.01)}
    assert list(found) == [keys[7], OUTSIDE, keys[8]]
    assert [function[2] for function in found[keys[7]].functions] == ["Thread.run", "inner"]
    assert found[keys[7]].stacks == [([0, 1], 0.05)]
    assert found[keys[8]].functions == [("libc.so.6", 0, "syscall", "libc.so.6", "libc.so.6")]


# The ledger


def notes(session: int, index: int, calls: Sequence[CallRow]) -> bytes:
    return encode(AttemptNotes(session, 5, key(index=index), calls))


def test_the_ledger_adds_up_what_attempts_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_ATTEMPTS", 2)
    ledger = Ledger()
    ledger.begin(7)
    ledger.take_note("w.1", notes(6, 0, GRAPH))  # of an earlier start
    for index in range(4):
        # Functions are named the first time only.
        named = (
            GRAPH if index == 0 else [CallRow(*(getattr(row, f) for f in row.__struct_fields__[:6])) for row in GRAPH]
        )
        ledger.take_note("w.1", notes(7, index, named))
    parts = ledger.parts()
    assert [part.place.key.index for part in parts] == [0, 1, -1]
    assert (ledger.attempts, ledger.folded) == (4, 2)
    assert merge(parts).functions[Function(*info("c", line=4))].calls == 24
    ledger.take_note("w.1", notes(7, 9, GRAPH))
    ledger.parts()
    assert merge(parts).functions[Function(*info("c", line=4))].calls == 24  # what was given does not change


class OneNode:
    """A node that answers, and of which an attempt ends before the last node has answered."""

    driver_name = "driver"

    def __init__(self) -> None:
        self.ledger = Ledger()

    def next_session(self) -> int:
        return 7

    def check_open(self) -> None:
        """It is."""

    def forget_lost(self) -> None:
        """There are none."""

    def lost(self, names: object) -> list[str]:
        assert names
        return []

    def order_cpu(self, orders: object, timeout: float) -> Answers[Obeyed]:
        assert orders
        assert timeout
        answers: Answers[Obeyed] = Answers()
        answers.values["w.1"] = Obeyed("yappi")
        return answers

    def ask(self, *_: object, **__: object) -> Answers[bytes]:
        answers: Answers[bytes] = Answers()
        running = [(key(index=1), GRAPH), (key(index=2), GRAPH)]
        answers.values["w.1"] = encode(CpuAnswer(5, (), 2, running, Told(), "yappi", 0.0, 0))
        self.ledger.take_note("w.1", notes(7, 1, GRAPH))
        return answers


def test_what_ends_while_nodes_are_asked_counts_once() -> None:
    nodes: Any = OneNode()
    profiling = CpuProfiling(nodes)
    profiling.start()
    figures = profiling.get_stats(running=True)
    assert figures.find("main").ncall == 2
    assert figures.split("task").keys() == {"job / parse[1]", "job / parse[2]"}
