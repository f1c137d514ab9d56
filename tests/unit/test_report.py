"""How the report of a job looks in terminals of different widths, at a prompt and in a notebook."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter
from rich.cells import cell_len

from bndl.driver.report import JobReport, StageCounters

STAGE = replace(StageCounters("parse").freeze(0), tasks=1000, attempts=1003, task_seconds=123.4, sent_bytes=123 << 16)
FIGURES = ["1,000", "1,003", "0", "0", "123.40 s", "0 us", "7.7 MiB", "0 B", "0 B"]
HEADINGS = ["stage", "tasks", "attempts", "failed", "lost", "task time", "clock", "sent", "fetched", "results"]


def make_report(name: str = "parse") -> JobReport:
    return JobReport("census", "succeeded", (replace(STAGE, name=name),), 1.5, ("a worker was lost",))


@pytest.mark.parametrize("name", ["parse", "a stage with quite a long name", "x" * 200, "数据" * 50])
@pytest.mark.parametrize("width", [20, 40, 79, 80, 100, 120, 300])
def test_it_fits_the_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = str(make_report(name))
    assert max(map(cell_len, text.splitlines())) <= width
    assert all(figure in text for figure in FIGURES if width >= 40)
    assert "".join(text.split()).count("aworkerwaslost") == 1


@pytest.mark.parametrize(("width", "is_table"), [(60, False), (79, False), (80, True), (200, True)])
def test_a_table_stays_one_from_80_columns_up(width: int, monkeypatch: pytest.MonkeyPatch, *, is_table: bool) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(make_report()).splitlines()
    rows = [line for line in lines if all(heading in line for heading in HEADINGS)]
    assert bool(rows) is is_table
    assert [line for line in lines if all(figure in line for figure in FIGURES)] != [] or not is_table


@pytest.mark.parametrize("width", range(20, 131))
def test_no_figure_is_cut_in_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    big = replace(STAGE, wall_seconds=4321.0, fetched_bytes=999 << 20, result_bytes=999 << 20)
    lines = str(replace(make_report(), stages=(big, replace(big, failed=123_456)))).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert sum(line.count("999.0 MiB") for line in lines) == 4
    assert {line[-1] for line in lines if line.startswith("\u2502")} <= {"\u2502"}


def test_a_prompt_shows_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    sys.displayhook(make_report())
    assert capsys.readouterr().out.strip() == str(make_report()).strip()


def test_a_cell_shows_it_once() -> None:
    formatter: Any = DisplayFormatter()
    shown, _ = formatter.format(make_report())
    assert set(shown) == {"text/plain", "text/html"}  # a notebook shows the richest of these
    cells: list[str] = []
    parser: Any = HTMLParser()
    parser.handle_data = cells.append
    parser.feed(shown["text/html"])
    assert cells == ["job census: succeeded in 1.50 s", *HEADINGS, "parse", *FIGURES, "a worker was lost"]


def test_nothing_is_shown_of_a_job_without_stages() -> None:
    assert "job empty" in str(JobReport("empty", "running", (), 0.0))
