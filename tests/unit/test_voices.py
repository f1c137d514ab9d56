"""What tasks say, as records of the driver's logging, or on standard error."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bndl.driver.execution import StageRun
from bndl.driver.voices import Voices
from bndl.net.messages import Line, Said

TASKS = logging.getLogger("bndl.tasks")
STAGE = 7


def line(text: str, source: str = "stdout", level: int = logging.INFO, index: int = 3, attempt: int = 1) -> Line:
    return Line((STAGE << 32) + index, attempt, source, level, text)


class Heard(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def stages() -> dict[int, StageRun]:
    named = SimpleNamespace(name="parse three")
    stage = SimpleNamespace(name="parse", job_name="census", tasks={4: named})
    return {STAGE: cast("StageRun", stage)}


@pytest.fixture
def voices(stages: dict[int, StageRun]) -> Voices:
    return Voices(stages)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, at the level that it has before it is configured."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    yield root
    root.setLevel(level)
    TASKS.setLevel(logging.NOTSET)


@pytest.fixture
def heard(root: logging.Logger) -> Iterator[Heard]:
    """Logging is configured, as ``basicConfig`` does it."""
    handler = Heard()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def configure_nothing(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away pytest's own handlers, which come after the fixtures."""
    monkeypatch.setattr(root, "handlers", [])


def test_a_line_becomes_a_record_with_its_facts(
    voices: Voices, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    voices.heard("w1", Said([line("hello"), line("oh", "stderr", logging.WARNING), line("x", attempt=2, index=4)]))
    assert heard.texts == ["[parse[3] on w1] hello", "[parse[3] on w1] oh", "[parse three attempt 2 on w1] x"]
    first, second, third = (cast("Any", record) for record in heard.records)
    assert (first.worker, first.task, first.job, first.attempt) == ("w1", "parse[3]", "census", 1)
    assert (first.source, second.source) == ("stdout", "stderr")
    assert (first.text, third.text) == ("hello", "x")
    assert (first.levelno, second.levelno) == (logging.INFO, logging.WARNING)
    assert (third.task, third.attempt) == ("parse three", 2)
    assert {record.name for record in heard.records} == {"bndl.tasks"}
    assert capsys.readouterr().err == ""


def test_what_was_logged_keeps_its_level_and_names_its_logger(voices: Voices, heard: Heard) -> None:
    voices.heard("w1", Said([line("broken", "my.module", logging.ERROR)]))
    assert heard.texts == ["[parse[3] on w1] my.module ERROR: broken"]
    assert heard.records[0].levelno == logging.ERROR
    assert cast("Any", heard.records[0]).source == "my.module"


def test_text_is_no_format(voices: Voices, heard: Heard) -> None:
    voices.heard("w1", Said([line("100 %s {sure}")]))
    assert heard.texts[0].endswith("100 %s {sure}")


def test_what_is_printed_is_seen_at_any_level_of_the_root_and_what_is_logged_at_its_own(
    voices: Voices, heard: Heard
) -> None:
    voices.heard("w1", Said([line("printed"), line("info", "m", logging.INFO), line("warned", "m", logging.WARNING)]))
    assert [text.split()[-1] for text in heard.texts] == ["printed", "warned"]


def test_a_level_of_the_logger_itself_counts_for_all(voices: Voices, heard: Heard) -> None:
    TASKS.setLevel(logging.WARNING)
    voices.heard("w1", Said([line("printed"), line("err", "stderr", logging.WARNING)]))
    TASKS.setLevel(logging.DEBUG)
    voices.heard("w1", Said([line("debugged", "m", logging.DEBUG)]))
    assert [text.split()[-1] for text in heard.texts] == ["err", "debugged"]


def test_a_logger_that_is_disabled_is_silent(voices: Voices, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASKS, "disabled", True)
    voices.heard("w1", Said([line("printed")]))
    assert heard.texts == []


def test_without_any_logging_the_lines_are_on_standard_error(
    voices: Voices, root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_nothing(root, monkeypatch)
    voices.heard("w1", Said([line("hello"), line("info", "m", logging.INFO), line("bad", "m", logging.ERROR)]))
    assert capsys.readouterr().err == "[parse[3] on w1] hello\n[parse[3] on w1] m ERROR: bad\n"


@pytest.mark.parametrize("stderr", [None, io.TextIOWrapper(io.BytesIO())])
def test_a_standard_error_that_is_not_there_or_closed_is_no_error(
    voices: Voices, root: logging.Logger, stderr: io.TextIOWrapper | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stderr is not None:
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_nothing(root, monkeypatch)
    voices.heard("w1", Said([line("hello")], 3))


def test_dropped_lines_are_counted_where_all_can_see_it(voices: Voices, heard: Heard) -> None:
    voices.heard("w1", Said([line("last")], 12_345))
    voices.heard("w1", Said([], 1))
    assert heard.texts[1].startswith("[w1] 12,345 lines of its tasks were dropped here")
    assert heard.texts[2].startswith("[w1] 1 line of its tasks was dropped here")
    assert heard.records[1].levelno == logging.WARNING
    assert cast("Any", heard.records[1]).worker == "w1"


def test_what_is_said_when_the_stage_is_over_has_its_name_still(
    voices: Voices, stages: dict[int, StageRun], heard: Heard
) -> None:
    voices.heard("w1", Said([line("before")]))
    stages.clear()
    voices.heard("w1", Said([line("after")]))
    assert heard.texts[1] == "[parse[3] on w1] after"
    Voices(stages).heard("w1", Said([line("unheard of")]))
    assert heard.texts[2] == "[stage 7[3] on w1] unheard of"


def test_the_names_of_few_stages_are_remembered(heard: Heard) -> None:
    stages = {number: SimpleNamespace(name=f"s{number}", job_name="job", tasks={}) for number in range(300)}
    voices = Voices(cast("dict[int, StageRun]", stages))
    for number in range(300):
        voices.heard("w1", Said([Line(number << 32, 1, "stdout", logging.INFO, "x")]))
    assert len(voices._names) == 100  # noqa: SLF001
    assert len(heard.records) == 300


def test_a_handler_that_raises_does_not_break_the_driver(
    voices: Voices, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if record.name == "bndl.tasks":
            raise RuntimeError("the user's filter")
        return True

    monkeypatch.setattr(heard, "filters", [refuse])
    voices.heard("w1", Said([line("hello")]))
    assert [record.name for record in heard.records] == ["bndl.driver.voices"]
    assert "could not be logged" in heard.texts[0]


def errors_only() -> logging.Handler:
    handler = Heard()
    handler.setLevel(logging.ERROR)
    return handler


@pytest.mark.parametrize("place", ["", "bndl", "bndl.tasks"])
@pytest.mark.parametrize("make", [logging.NullHandler, errors_only])
def test_a_printed_line_that_no_handler_takes_is_on_standard_error(
    voices: Voices, root: logging.Logger, capsys: pytest.CaptureFixture[str], place: str, make: type[logging.Handler]
) -> None:
    handler, others = make(), root.handlers[:]
    root.handlers[:] = []
    logging.getLogger(place).addHandler(handler)
    try:
        voices.heard("w.1", Said([line("printed"), line("logged", "parser")]))
    finally:
        logging.getLogger(place).removeHandler(handler)
        root.handlers[:] = others
    assert capsys.readouterr().err == "[parse[3] on w.1] printed\n"
