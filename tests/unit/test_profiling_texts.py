"""Names of functions, files, jobs and stages may have anything in them: profiles travel and are shown nevertheless."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from rich.console import Console

from bndl.profiling.diff import CpuDiff
from bndl.profiling.heap import HeapTracer
from bndl.profiling.places import code_info
from bndl.profiling.profile import Cost, Function, Part, Place
from bndl.profiling.pyspy import parse_raw
from bndl.profiling.snapshots import TopLayout, cluster_snapshot, print_top
from bndl.profiling.stats import CpuStats, Price
from bndl.profiling.wire import CallRow, CpuAnswer, TaskKey, Told, encode

ODD = "[/bold]<b>\x1b[2J\nnext\u202e"
SHOWN = "[/bold]<b>\\x1b[2J\\nnext\\u202e"
FILE = "/src/\udcff\x1b[2J.py"


def odd_function() -> Any:
    """A function in a file whose name is not UTF-8."""
    namespace: dict[str, Any] = {}
    exec(compile("def work():\n    return [bytes(1000) for _ in range(1000)]\n", FILE, "exec"), namespace)  # noqa: S102
    return namespace["work"]


def odd_code() -> CodeType:
    """The same, with a name that no source has."""
    code: CodeType = odd_function().__code__
    return code.replace(co_name=f"{ODD}\udc80", co_qualname=f"{ODD}\udc80")


def test_functions_can_travel() -> None:
    info = code_info(odd_code())
    assert info[2] == f"{SHOWN}\\udc80"
    assert info[4] == "/src/\\udcff\\x1b[2J.py"
    row = CallRow(1, 1, 1, 0.1, 0.1, [], info)
    assert encode(CpuAnswer(1, [row], 0, (), Told(), "yappi", 0.0, 0))


def test_what_py_spy_saw_can_travel() -> None:
    (samples,) = parse_raw("[/bold]\x1b[2J (/src/\udcff.py:3);x 4", lambda _: TaskKey(), 0.01)
    assert all(text.isprintable() for info in samples.functions for text in info if isinstance(text, str))
    assert encode(CpuAnswer(1, (), 0, (), Told(1, 1, [(1, [samples])]), "py-spy", 0.0, 0))


def test_memory_can_travel_and_be_printed() -> None:
    key = TaskKey("job", ODD, 1, 0, 1)
    tracer = HeapTracer(2)
    try:
        tracer.begin(key)
        kept = odd_function()()
        tracer.end(key)
        tracer.close_stage()
        stages = tracer.take()
        snapshot = cluster_snapshot({"w.1": tracer.take_snapshot()}, {"w.2": ODD})
    finally:
        tracer.stop()
    assert len(kept) == 1000
    assert encode(Told(1, 1, [(1, stages)]))
    file = io.StringIO()
    print_top(snapshot, None, TopLayout("lineno", 5, None, None, strip_dirs=True), file)
    assert "\\udcff\\x1b[2J.py:2" in file.getvalue()


def make_stats() -> CpuStats:
    function = Function(*code_info(odd_code()))
    part = Part(Place("w.1", TaskKey(ODD, ODD, 1, 0, 1)))
    cost = part.functions[function] = Cost()
    cost.calls, cost.primitive, cost.own, cost.total = 1, 1, 0.5, 0.5
    return CpuStats([part], "tracing", "cpu", Price(missing={"w.2": ODD}, remarks={"w.3": ODD}))


FILTERS: list[dict[str, Any]] = [{}, {"job": ODD}, {"stage": ODD}, {"worker": ODD}, {"job": ODD, "stage": ODD}]


@pytest.mark.parametrize("which", FILTERS)
def test_a_profile_is_shown_as_text(which: dict[str, Any]) -> None:
    stats = make_stats().filter(**which)
    printed, shown = io.StringIO(), io.StringIO()
    stats.print(file=printed, per_worker=True)
    CpuDiff(stats, stats).print(file=printed)
    console = Console(width=200, force_terminal=True, color_system=None, file=shown)
    console.print(stats)
    console.print(CpuDiff(stats, stats))
    for text in (str(stats), repr(stats), printed.getvalue(), shown.getvalue()):
        assert text.replace("\n", "").isprintable()
        assert text.encode()
    html = stats._repr_html_()
    assert html.isprintable()
    assert "<b>" not in html


def test_a_page_has_it_as_text(tmp_path: Path) -> None:
    for name, stats in (("a.html", make_stats()), ("b.html", make_stats().filter(job=ODD))):
        page = stats.save(tmp_path / name).read_text(encoding="utf-8")
        title = re.search(r"<title>(.*?)</title>", page)
        assert title
        assert unescape(title[1]).isprintable()
        found = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert found
        assert "<b>" not in found[1]
        data = json.loads(found[1])
        assert all(line.isprintable() for line in (data["summary"], *data["footer"]))
        assert all(cell["stage"].isprintable() for cell in data["cells"])


@pytest.mark.parametrize("suffix", ["speedscope.json", "pstats", "callgrind"])
def test_files_of_other_tools_can_be_written(suffix: str, tmp_path: Path) -> None:
    path = make_stats().save(tmp_path / f"profile.{suffix}")
    assert path.stat().st_size
    if suffix == "callgrind":
        assert all(line.isprintable() for line in path.read_text(encoding="utf-8").splitlines())
