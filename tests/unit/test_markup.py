"""What looks like markup in the user's names is shown as it is."""

from __future__ import annotations

import pytest

from bndl.context import progress
from bndl.driver.report import JobReport, StageCounters

NAME = "[/bold] :smile:"


def test_in_a_report() -> None:
    report = JobReport(NAME, "succeeded", (StageCounters(NAME).freeze(0),), 1.0, (NAME,))
    assert str(report).count(NAME) == 3


def test_in_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.watch_results(iter([1]), NAME, 1)) == [1]
    assert NAME in capsys.readouterr().err
