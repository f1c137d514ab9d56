"""What users name, print and raise is text wherever it is shown: it does nothing to a terminal, a log or a page."""

from __future__ import annotations

import logging
import pickle
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

import bndl
from bndl.attempts import AttemptRecord
from bndl.cli import main, run
from bndl.cli.main import app
from bndl.death import DeathCertificate, LastTask
from bndl.driver.execution import StageRun
from bndl.driver.report import JobReport, StageCounters
from bndl.driver.voices import Voices
from bndl.execute import failures
from bndl.net.messages import Line, Said
from bndl.printable import printable, printable_line
from bndl.schedule.explaining import Explanation
from bndl.schedule.transitions import State

#: Markup of rich and of HTML, an escape that clears the screen, a line that looks like another's, half a surrogate
#: pair, and a mark that turns round the direction of what follows.
ODD = "[/bold] <b>&\x1b[2J\n[forged on x] \udc80\u202etxt"
SHOWN = "[/bold] <b>&\\x1b[2J\\n[forged on x] \\udc80\\u202etxt"


class TestPrintable:
    @pytest.mark.parametrize(
        "text", ["", "plain", "tab\there", "naïve 数据 👩‍🔬 \u00a0", "[bold]", "C:\\x1b", "a" * 10_000], ids=repr
    )
    def test_ordinary_text_stays_as_it_is(self, text: str) -> None:
        assert printable(text) == printable_line(text) == text

    def test_lines_stay_lines_unless_there_is_to_be_one(self) -> None:
        assert printable("a\nb") == "a\nb"
        assert printable_line("a\nb") == "a\\nb"

    @pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
    def test_other_ends_of_lines_are_none(self, end: str) -> None:
        assert len(printable(f"a{end}b").splitlines()) == 1

    @pytest.mark.parametrize(
        "odd", ["\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\x08", "\x00", "\x7f", "\ud800", "\u202e"]
    )
    def test_all_else_is_spelled_out(self, odd: str) -> None:
        for make in (printable, printable_line):
            assert make(f"a{odd}b").isprintable()
            assert make(f"a{odd}b").encode()

    def test_colours_are_left_out(self) -> None:
        assert printable("\x1b[1;31mred\x1b[0m \x1b[38:2::255:0:0mred\x1b[m") == "red red"

    def test_a_subclass_of_str_has_no_say(self) -> None:
        class Odd(str):
            __slots__ = ()

            def __str__(self) -> str:
                return "\x1b[2J"

        assert printable(Odd("a\x1b")) == "a\\x1b"


def make_report() -> JobReport:
    counters = StageCounters(ODD)
    counters.returned = 1
    return JobReport(ODD, "succeeded", (counters.freeze(0),), 1.0, (ODD,))


@pytest.mark.parametrize("width", [200, 60])
def test_in_a_report(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    report = make_report()
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(report)
    for text in (str(report), repr(report), capture.get()):
        assert text.count(SHOWN.partition("\\n")[0]) == 4
        assert "\x1b[2J" not in text
        assert text.encode()


def test_in_a_report_in_a_notebook() -> None:
    html = make_report()._repr_html_()
    assert html.count(escape(SHOWN)) == 2  # in the notes, which may have several lines, it is not one
    assert "<b>" not in html
    assert html.replace("\n", "").isprintable()


def test_in_an_explanation() -> None:
    explanation = Explanation(ODD, State.READY, ODD, {"worker": ODD})
    lines = str(explanation).split("\n")
    assert len(lines) == 2
    assert lines[0].count(SHOWN) == 2
    assert SHOWN in lines[1]
    assert repr(explanation) == str(explanation)


def test_in_what_a_prompt_shows() -> None:
    name = ODD.replace("\udc80", "")  # which a name may not have
    job = bndl.Job(name)
    stage = job.stage(abs, [1], name=name)
    for each in (job, stage, stage.tasks[0], bndl.Task(abs, 1).options(name=name)):
        assert repr(each).isprintable()


def make_failure(name: str) -> bndl.errors.TaskFailed:
    """As a task's failure is made on a worker, and read on the driver."""
    error = ValueError(ODD)
    error.add_note(ODD)
    described = failures.describe(error)
    read, cause = failures.rebuild(described)
    record = AttemptRecord(1, "w.1", "failed", read.line, 0.1)
    failed = bndl.errors.TaskFailed(f"{name} failed: {read.line}", task=name, job=name, attempts=[record])
    failed.__cause__ = cause
    return failed


class TestErrors:
    """What is raised."""

    @pytest.mark.parametrize("kind", [bndl.errors.UserError, bndl.errors.ClusterError, bndl.errors.TaskCancelled])
    def test_all_texts_of_bndl(self, kind: type[bndl.errors.BndlError]) -> None:
        error = kind(f"job {ODD} was cancelled")
        assert str(error) == f"job {printable(ODD)} was cancelled"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    def test_a_failed_task(self) -> None:
        failed = make_failure(ODD)
        cause = failed.__cause__
        assert cause
        texts = [str(failed), str(cause.__cause__), repr(failed.attempts), *failed._render_traceback_()]
        for text in texts:
            assert text.replace("\n", "").isprintable()
            text.encode()  # no half of a surrogate pair
        assert "[/bold] <b>&\\x1b[2J" in "".join(texts)

    def test_the_end_of_a_worker(self) -> None:
        last = LastTask(0, ODD, ODD, 1, running=True, seconds=0.1)
        text = str(DeathCertificate("w.1", ODD, pid=1, last_tasks=(last,), stack=ODD, last_lines=(ODD,)))
        assert text.replace("\n", "").isprintable()
        assert "forged" in text


class TestLog:
    """The lines of tasks."""

    @pytest.fixture
    def voices(self) -> Voices:
        stage = SimpleNamespace(name=ODD, job_name=ODD, tasks={})
        return Voices({7: cast("StageRun", stage)})

    @pytest.mark.parametrize("source", ["stdout", "stderr", "parser", ODD])
    def test_every_line_says_whose_it_is(
        self, source: str, voices: Voices, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with caplog.at_level(logging.INFO, "bndl.tasks"):
            voices.heard("here", Said([Line((7 << 32) + 3, 1, source, logging.ERROR, ODD)]))
        record: Any = caplog.records[-1]
        for each in record.getMessage().split("\n"):
            assert each.startswith(f"[{SHOWN}[3] on here] ")
            assert each.isprintable()
        for each in (record.task, record.job, record.source, record.text):
            assert each.replace("\n", "").isprintable()
        assert not capsys.readouterr().err

    def test_without_handlers(self, voices: Voices, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
        monkeypatch.setattr(logging.getLogger("bndl.tasks"), "propagate", False)
        voices.heard("here", Said([Line((7 << 32) + 3, 1, "parser", logging.ERROR, "a\nb\x1b[2J")]))
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition("] parser ERROR: ")[2] for line in lines] == ["a", "b\\x1b[2J"]


class TestCommandLine:
    """The ``bndl`` command."""

    def test_settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setenv("BNDL_SECRET_FILE", "[/bold][link=x]\x1b[2J")
        output = CliRunner().invoke(app, ["config"]).output
        assert "[/bold][link=x]\\x1b[2J" in output

    def test_errors(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def fail(*_: object, **__: object) -> None:
            raise bndl.errors.UserError(ODD)

        monkeypatch.setattr(run, "run_script", fail)
        monkeypatch.setattr("sys.argv", ["bndl", "run", "x.py"])
        with pytest.raises(SystemExit):
            main.main()
        assert printable(ODD) in capsys.readouterr().err
