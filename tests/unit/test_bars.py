"""The layout of bars: the numbers are there in each width, and what is under way is there in each height."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from bndl.context.figures import Figures

LONG = "compute_the_features_of_one_document_of_the_whole_collection"


def show(figures: Figures, width: int, most: int = 8) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    bars = figures.lay_out(width, most)
    if bars is None:
        return []
    with console.capture() as captured:
        console.print(bars, crop=True)
    return captured.get().splitlines()


@pytest.mark.parametrize("name", ["f", LONG, "\u65e5\u672c" * 40, "[bold]\x1b[2J\n" * 8])
@pytest.mark.parametrize("note", ["", "3 failed, 1 lost"])
@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 100, 200])
def test_the_numbers_are_there_in_each_width(name: str, note: str, width: int) -> None:
    figures = Figures(lambda figures: figures.set(name, 17, 60, note))
    (line,) = show(figures, width)
    assert cell_len(line) <= width
    assert "17/60" in line
    assert line.split()[1][0] == ("\\" if name.startswith("\x1b") else name[0])
    if width >= 80:
        assert "0:00:00" in line
        assert "\u2501" in line
        assert note in line
    if width == 200:
        assert name != LONG or LONG in line


def test_a_total_that_is_not_known_takes_no_more_than_a_line() -> None:
    (line,) = show(Figures(lambda figures: figures.set(LONG, 1234, None)), 40)
    assert "1234/?" in line


def test_stages_under_way_are_shown_before_those_that_are_over() -> None:
    done = {f"step{number}": 6 if number < 12 else 2 for number in range(14)}

    def update(figures: Figures) -> None:
        for name, count in done.items():
            figures.set(name, count, 6)

    figures = Figures(update)

    def names(most: int) -> list[str]:
        return [line.split("step")[1].split()[0] for line in show(figures, 60, most)]

    assert names(3) == ["11", "12", "13"]
    assert names(1) == ["12"]
    done["step0"] = 1  # something of it is made again
    assert names(3) == ["0", "12", "13"]


def test_nothing_is_shown_before_anything_began() -> None:
    assert show(Figures(lambda _: None), 80) == []


def test_the_time_of_a_stage_that_is_over_stands_still() -> None:
    figures = Figures(lambda figures: figures.set("f", 6, 6))
    (task,) = figures.read()
    assert task.finished_time is not None
    assert task.start_time is not None
    task.start_time -= 3600
    assert "0:00:00" in show(figures, 80)[0]
