"""The source document's section "Profiling", as printed: only numbers and names of files may differ."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

import bndl

pytestmark = pytest.mark.slow

#: As printed, with the mark that doctest wants for empty lines.
TRANSCRIPT = dedent("""
   >>> ctx.cpu_profiling.start()
   >>> ctx.memory_profiling.start()
   >>> ctx.cpu_profiling.print_stats(3, include=('bndl'))
   <BLANKLINE>
   Clock type: CPU
   Ordered by: totaltime, desc
   <BLANKLINE>
   name                                               ncall         tsub      ttot      tavg      
   bndl/util/threads.py:21 work                       40/36         0.000524  1.552147  0.038804
   bndl/execute/worker.py:83 Worker.execute           40/36         0.001045  1.548825  0.038721
   bndl/execute/worker.py:71 Worker._execute          40/36         0.000953  1.546604  0.038665
   >>> ctx.memory_profiling.print_top(limit=3)
   #1 <frozen importlib._bootstrap_external>:484 136.0 KiB
   #2 home/frens-jan/Workspaces/ext/cpython3.5/Lib/abc.py:133 14.9 KiB
       cls = super().__new__(mcls, name, bases, namespace)
   #3 home/frens-jan/Workspaces/ext/cpython3.5/Lib/tracemalloc.py:68 10.2 KiB
       class StatisticDiff:
   158 other: 199.5 KiB
   Total allocated size: 360.7 KiB
   <tracemalloc.Snapshot object at 0x7f89686c7898>
   >>> ctx.cpu_profiling.stop()
   >>> ctx.memory_profiling.stop()
""")  # noqa: W291 - as printed

#: What may differ, with what stands for it.
PLAIN = [
    (re.compile(r"^bndl/[\w/]+\.py:\d+ [\w.<>]+ +\d+(/\d+)? +\d\.\d{6}  \d\.\d{6}  \d\.\d{6}$", re.MULTILINE), "row"),
    (re.compile(r"^#(\d) \S.*:\d+ \d+\.\d KiB(\n    \S.*)?$", re.MULTILINE), r"#\1 line"),
    (re.compile(r"^\d+ other: \d+\.\d KiB$", re.MULTILINE), "n other: size"),
    (re.compile(r"^Total allocated size: \d+\.\d KiB$", re.MULTILINE), "Total allocated size: size"),
    (re.compile(r"0x[0-9a-f]+"), "0x0"),
]


def plain(text: str) -> str:
    for pattern, replacement in PLAIN:
        text = pattern.sub(replacement, text)
    return text


class _Checker(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(plain(want), plain(got), optionflags)


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        assert context.await_workers(2, connect_timeout=30) == 2
        yield context


def test_the_transcript(ctx: bndl.Context) -> None:
    test = doctest.DocTestParser().get_doctest(TRANSCRIPT, {"ctx": ctx}, "profiling", None, 0)
    assert len(test.examples) == 6
    failures: list[str] = []
    results = doctest.DocTestRunner(_Checker(), verbose=False).run(test, out=failures.append)
    assert results.failed == 0, "".join(failures)


def test_what_is_printed_beside_it(ctx: bndl.Context, capsys: pytest.CaptureFixture[str]) -> None:
    with ctx.cpu_profiling as cpu, ctx.memory_profiling as memory:
        cpu.print_stats(1)
        memory.print_top(limit=1)
    beside = capsys.readouterr().err
    said = [
        r"Profiled 3 nodes with yappi, 0 attempts; profiling took .* of memory, .* sent\.",
        r"Resident: .* on 3 nodes; tracing takes .* of it, the snapshot .*, .* sent\.",
    ]
    lines = [line for line in beside.splitlines() if line]
    assert [bool(re.fullmatch(each, line)) for each, line in zip(said, lines, strict=True)] == [True, True], lines


def test_the_other_options_of_the_document(ctx: bndl.Context, capsys: pytest.CaptureFixture[str]) -> None:
    with ctx.cpu_profiling as cpu:
        list(ctx.map(abs, range(10)))
        cpu.print_stats(max_rows=2, sort_by="subtime", sort_dir="asc", columns=("name", "ttot"), per_worker=True)
        cpu.print_stats(2, exclude=("bndl", "threading"), strip_dirs=False)
    printed = capsys.readouterr().out
    assert printed.count("Ordered by: subtime, asc") == 3
    assert all(worker.name in printed for worker in ctx.workers)
    with pytest.raises(bndl.errors.NotProfiling):
        ctx.memory_profiling.take_snapshot()
    for wrong in ({"mode": "magic"}, {"clock": "sun"}, {"interval": 0}, {"mode": "sampling", "clock": "wall"}):
        with pytest.raises(bndl.errors.InvalidOption):
            ctx.cpu_profiling.start(**wrong)
    with pytest.raises(bndl.errors.InvalidOption, match="frames"):
        ctx.memory_profiling.start(frames=0)
    ctx.cpu_profiling.start()
    with pytest.raises(bndl.errors.NotProfiling, match="on already"):
        ctx.cpu_profiling.start()
    wrong_number: Any = 5
    with pytest.raises(bndl.errors.InvalidOption, match="timeout must be more than 0, got -5: seconds"):
        ctx.cpu_profiling.get_stats(timeout=-5)
    for ask in (ctx.memory_profiling.stages, ctx.memory_profiling.growth):
        with pytest.raises(bndl.errors.InvalidOption, match="job must be a job or its name, got 5"):
            ask(wrong_number)
    with pytest.raises(
        bndl.errors.InvalidOption, match="include must be the name of a module or package, or several, got 5"
    ):
        ctx.memory_profiling.growth(include=wrong_number)
    ctx.cpu_profiling.stop()
    ctx.cpu_profiling.stop()
