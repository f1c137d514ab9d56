"""tracemalloc in this process: snapshots that travel, and what stages did to the heap."""

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bndl.errors import ProfilerUnavailable
from bndl.profiling.growth import find_growth, sum_stages
from bndl.profiling.heap import HeapTracer, unpack_traces
from bndl.profiling.snapshots import ClusterSnapshot, TopLayout, cluster_snapshot, print_per_node, print_top
from bndl.profiling.wire import StageHeap, TaskKey

KEPT: list[object] = []


def allocate(count: int) -> list[str]:
    return [f"{number:040}" for number in range(count)]


ALLOCATE_LINE = allocate.__code__.co_firstlineno + 1


@pytest.fixture
def heap() -> Iterator[HeapTracer]:
    made = HeapTracer(1)
    yield made
    made.stop()
    KEPT.clear()


def stage(number: int, name: str = "", index: int = 0) -> TaskKey:
    return TaskKey("job", name or f"step {number}", number, index, 1)


def run(heap: HeapTracer, key: TaskKey, keep: int) -> None:
    heap.begin(key)
    KEPT.append(allocate(keep))
    scratch = allocate(20_000)
    del scratch
    heap.end(key)


def test_a_snapshot_is_reduced_and_complete(heap: HeapTracer) -> None:
    KEPT.append(allocate(1000))
    reduced = heap.take_snapshot()
    mine = [trace for trace in unpack_traces(reduced) if trace[4][0] == (__file__, ALLOCATE_LINE)]
    ((size, count, domain, depth, _),) = mine
    expected = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__, ALLOCATE_LINE)])  # noqa: FBT003
    (statistic,) = expected.statistics("lineno")
    assert (size, count) == (statistic.size, statistic.count)
    assert domain == 0
    assert depth > 1  # of which one is kept
    assert reduced.traced > size
    assert reduced.rss > 0


def test_snapshots_of_nodes_are_one_snapshot_of_tracemalloc(heap: HeapTracer) -> None:
    before = cluster_snapshot({"w.1": heap.take_snapshot(), "w.2": heap.take_snapshot()}, {})
    KEPT.append(allocate(1000))
    after = cluster_snapshot({"w.1": heap.take_snapshot(), "w.2": heap.take_snapshot()}, {"w.3": "no answer"})
    assert isinstance(after, tracemalloc.Snapshot)
    assert repr(after).startswith("<tracemalloc.Snapshot object at 0x")
    first = after.compare_to(before, "lineno")[0]
    assert (first.traceback[0].filename, first.traceback[0].lineno) == (__file__, ALLOCATE_LINE)
    mine = after.nodes["w.1"].compare_to(before.nodes["w.1"], "lineno")[0]
    assert first.size_diff == 2 * mine.size_diff
    assert after.filter_traces([tracemalloc.Filter(False, "*bndl*")]).statistics("filename")  # noqa: FBT003
    assert after.price.missing == {"w.3": "no answer"}


LAYOUT = TopLayout("lineno", 3, None, None, strip_dirs=True)


def top(snapshot: ClusterSnapshot, before: ClusterSnapshot | None = None, **options: Any) -> list[str]:
    out = io.StringIO()
    print_top(snapshot, before, replace(LAYOUT, **options), out)
    return out.getvalue().splitlines()


def test_the_list_is_that_of_the_document() -> None:
    traces = [
        (0, 139_264, (("<frozen importlib._bootstrap_external>", 484),), 1),
        (0, 15_258, ((__file__, ALLOCATE_LINE),), 1),
        (0, 1024, ((__file__, 1),), 1),
        (0, 512, ((__file__, 2),), 1),
        (0, 512, ((__file__, 3),), 1),
    ]
    snapshot = ClusterSnapshot(traces, 1)
    snapshot.short_paths[__file__] = "tests/test_heap.py"
    assert top(snapshot) == [
        "#1 <frozen importlib._bootstrap_external>:484 136.0 KiB",
        f"#2 tests/test_heap.py:{ALLOCATE_LINE} 14.9 KiB",
        '    return [f"{number:040}" for number in range(count)]',
        "#3 tests/test_heap.py:1 1.0 KiB",
        '    """tracemalloc in this process: snapshots that travel, and what stages did to the heap."""',
        "2 other: 1.0 KiB",
        "Total allocated size: 152.9 KiB",
    ]
    assert top(snapshot, group_by="filename", limit=1)[0] == "#1 <frozen importlib._bootstrap_external> 136.0 KiB"
    assert top(snapshot, strip_dirs=False, limit=2)[1].startswith(f"#2 {__file__}:")
    assert len([line for line in top(snapshot, exclude="importlib", limit=None) if line.startswith("#")]) == 4
    difference = top(snapshot, ClusterSnapshot(traces[1:], 1))
    assert difference == [
        "#1 <frozen importlib._bootstrap_external>:484 +136.0 KiB",
        "Total size difference: +136.0 KiB",
    ]


def test_nodes_are_listed_one_by_one(heap: HeapTracer) -> None:
    snapshot = cluster_snapshot({"w.1": heap.take_snapshot()}, {})
    out = io.StringIO()
    print_per_node(snapshot, None, replace(LAYOUT, limit=1), out)
    assert out.getvalue().splitlines()[1].startswith("w.1, resident ")


def test_stages_are_told_apart(heap: HeapTracer) -> None:
    run(heap, stage(1), 12_000)
    run(heap, stage(2), 0)
    run(heap, stage(3), 12_000)
    run(heap, stage(3, index=1), 12_000)
    heap.close_stage()
    stages = sum_stages([("w.1", each) for each in heap.take()])
    assert [each.name for each in stages] == ["step 1", "step 2", "step 3"]
    sizes = [sum(size for line, size in each.lines.items() if line.number == ALLOCATE_LINE) for each in stages]
    assert [round(size / 1e6) for size in sizes] == [1, 0, 2]
    assert all(each.peak > 1_500_000 for each in stages)  # the scratch
    assert stages[0].allocated > 1_000_000 > stages[0].freed
    assert stages[0].kept == stages[0].allocated - stages[0].freed
    assert not any(each.overlapping for each in stages)
    assert "step 1: allocated" in str(stages[0])
    assert heap.take() == []


def test_stages_at_the_same_time_say_so(heap: HeapTracer) -> None:
    heap.begin(stage(1))
    heap.begin(stage(2))
    heap.end(stage(2))
    heap.end(stage(1))
    heap.close_stage()
    (told,) = heap.take()
    assert told.overlapping
    assert told.key.stage == "step 1"


def test_readings_that_cost_too_much_are_left_out(heap: HeapTracer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.heap._GRACE", 0.0)
    monkeypatch.setattr("bndl.profiling.heap._SHARE", 0.0)
    for number in range(1, 4):
        run(heap, stage(number), 0)
    heap.close_stage()
    assert [(each.key.number, each.overlapping) for each in heap.take()] == [(1, True)]


def test_one_at_a_time(heap: HeapTracer) -> None:
    assert heap.take() == []
    with pytest.raises(ProfilerUnavailable, match="tracing already"):
        HeapTracer(1)


def heaps(*sizes: dict[int, int]) -> list[tuple[str, StageHeap]]:
    return [
        (
            "w.1",
            StageHeap(
                TaskKey("job", f"step {number}", number),
                10,
                0,
                10,
                (5, 6),
                [(__file__, line, "test.py", size) for line, size in lines.items()],
                overlapping=False,
            ),
        )
        for number, lines in enumerate(sizes)
    ]


def test_lines_that_grow_are_named() -> None:
    big = 1 << 20
    stages = sum_stages(
        heaps({1: big, 2: big, 3: 100, 4: big}, {1: big, 2: -big, 3: 100}, {1: big, 3: 100}, {1: big, 3: 9})
    )
    (growth,) = find_growth(stages, include=None, exclude=None, least_bytes=64 << 10)
    assert (growth.line.number, growth.total) == (1, 4 * big)
    assert growth.stages == [(f"step {number}", big) for number in range(4)]
    assert growth.source.startswith('"""tracemalloc in this process')
    assert "test.py:1 +4.0 MiB, 1.0 MiB a stage" in str(growth)
    assert len(find_growth(stages, include=None, exclude=None, least_bytes=1)) == 2
    assert find_growth(stages, include="nothing", exclude=None, least_bytes=1) == []


def test_what_yappi_takes_is_not_in_the_snapshot(heap: HeapTracer) -> None:
    yappi = pytest.importorskip("yappi")
    exec(compile("KEPT.append([bytes(1000) for _ in range(10)])", yappi.__file__, "exec"), globals())  # noqa: S102
    reduced = heap.take_snapshot()
    assert yappi.__file__ not in {trace[4][0][0] for trace in unpack_traces(reduced)}
