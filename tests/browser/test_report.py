"""The pages of CPU profiles in a browser: they draw, split, search and zoom, and ask no network.

The browser is the system's Chromium; where there is none, these tests are skipped. ``make test`` installs it if it can.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from bndl.profiling.diff import CpuDiff
from bndl.profiling.profile import Part, Place, add_calls
from bndl.profiling.stats import CpuStats, Price
from bndl.profiling.wire import OUTSIDE, CallRow, FunctionInfo, TaskKey

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: No sandbox, as tests may run as root; and nothing that the browser itself would fetch.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here; on Debian: apt-get install chromium"),
]


def info(name: str, line: int) -> FunctionInfo:
    return "app.py", line, name, "app", "/src/app.py"


def part(stage: str, number: int, worker: str, scale: float) -> Part:
    key = TaskKey("census", stage, number, 0, 1) if stage else OUTSIDE
    made = Part(Place(worker, key))
    calls = [
        CallRow(
            0,
            1,
            1,
            10 * scale,
            scale,
            [(1, 2, 2, 6 * scale, 4 * scale), (2, 1, 1, 3 * scale, 3 * scale)],
            info("main", 1),
        ),
        CallRow(1, 2, 2, 6 * scale, 4 * scale, [(3, 4, 4, 2 * scale, 2 * scale)], info(f"{stage or 'idle'}_step", 10)),
        CallRow(2, 1, 1, 3 * scale, 3 * scale, [], info("</script><b>bold", 20)),
        CallRow(3, 4, 4, 2 * scale, 2 * scale, [], info("leaf", 30)),
    ]
    add_calls(made, calls, {})
    return made


def profile(scale: float = 1.0) -> CpuStats:
    parts = [
        part("parse", 1, "w.1", scale),
        part("parse", 1, "w.2", 2.0),
        part("merge", 2, "w.2", 0.5),
        part("", 0, "driver", 0.1),
    ]
    return CpuStats(parts, "tracing", "cpu", Price(profilers={"w.1": "yappi"}, missing={"w.3": "lost"}))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


class Opened:
    """A page, and all that it complained of or asked for."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.url = path.as_uri()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.url)
        self.page.wait_for_selector("#chart svg g.frame")

    def frame(self, name: str) -> Locator:
        return self.page.locator(f'#chart g.frame[name^="{name}"]').first

    @property
    def whole(self) -> float:
        """The width of the whole graph."""
        return float(self.page.evaluate("document.getElementById('chart').clientWidth"))

    def wait_for_width(self, name: str, width: float) -> None:
        """Wait for the end of a transition."""
        self.page.wait_for_function(
            """([name, width]) => {
                const rect = document.querySelector(`#chart g.frame[name^="${name}"] rect`);
                return rect && Math.abs(rect.getBoundingClientRect().width - width) < 3;
            }""",
            arg=[name, width],
            timeout=5000,
        )

    def column(self, which: int) -> list[str]:
        return self.page.locator(f"#rows td:nth-child({which})").all_inner_texts()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    page = Opened(browser, profile().save(tmp_path / "profile.html"))
    yield page
    assert page.complaints == []
    assert page.requests == [page.url]
    page.page.close()


def test_it_draws_a_graph_and_a_table(opened: Opened) -> None:
    page = opened.page
    assert page.title() == "bndl CPU profile: all"
    assert "36.000 s" in page.inner_text("#summary")
    whole = opened.whole
    opened.wait_for_width("parse_step", whole * 18 / 36)
    opened.wait_for_width("leaf", whole * 6 / 36)
    assert opened.column(1)[:2] == ["parse_step app.py:10", "</script><b>bold app.py:20"]
    assert "Missing: w.3: lost" in page.inner_text("#footer")


def test_it_is_split_by_stage_and_worker(opened: Opened) -> None:
    page = opened.page
    assert page.locator("#stage option").all_inner_texts() == [
        "all 3",
        "(outside of tasks)",
        "census / merge",
        "census / parse",
    ]
    page.select_option("#stage", "census / parse")
    assert not any("merge_step" in name for name in opened.column(1))
    page.select_option("#worker", "w.1")
    page.wait_for_selector('#chart g.frame[name^="parse_step"]')
    assert dict(zip(opened.column(1), opened.column(3), strict=True))["parse_step app.py:10"] == "4.000 s"
    page.select_option("#stage", "census / merge")
    assert "nothing took any time here" in page.inner_text("#chart")
    page.select_option("#stage", "all")
    page.select_option("#worker", "all")
    assert len(opened.column(1)) == 6


def test_search_marks_the_graph_and_filters_the_table(opened: Opened) -> None:
    page = opened.page
    page.fill("#search", "LEAF")
    assert opened.column(1) == ["leaf app.py:30"]
    page.wait_for_function(
        "document.querySelector('#chart g.frame[name^=leaf] rect').getAttribute('fill') === '#d81bd8'"
    )
    assert page.inner_text("#found") == "7.200 s, 20.00 % on the graph"
    page.fill("#search", "")
    assert len(opened.column(1)) == 6
    assert page.inner_text("#found") == ""
    assert opened.frame("leaf").locator("rect").get_attribute("fill") != "#d81bd8"


def test_a_click_zooms_and_the_button_goes_back(opened: Opened) -> None:
    whole = opened.whole
    opened.wait_for_width("parse_step", whole / 2)
    opened.frame("parse_step").click()
    opened.wait_for_width("parse_step", whole)
    opened.wait_for_width("leaf", whole / 3)
    opened.page.click("#reset")
    opened.wait_for_width("parse_step", whole / 2)


def test_the_table_is_sorted_by_a_click(opened: Opened) -> None:
    page = opened.page
    page.click("th[data-key=calls]")
    calls = [int(text) for text in opened.column(2)]
    assert calls == sorted(calls, reverse=True)
    page.click("th[data-key=calls]")
    assert [int(text) for text in opened.column(2)] == calls[::-1]
    page.hover("#chart g.frame[name^=leaf]")
    assert re.match(r"leaf \(app\.py:30\): \d", page.inner_text("#details"))


def test_a_difference_is_red_and_blue(browser: Browser, tmp_path: Path) -> None:
    before, after = profile(1.0), profile(3.0).filter(stage="parse")
    page = Opened(browser, CpuDiff(before, after).save(tmp_path / "diff.html"))
    assert "red takes more" in page.page.inner_text("#summary")
    colours = {
        name: [int(each) for each in re.findall(r"\d+", page.frame(name).locator("rect").get_attribute("fill") or "")]
        for name in ("parse_step", "merge_step")
    }
    assert colours["parse_step"][0] > colours["parse_step"][2]
    assert colours["merge_step"][0] < colours["merge_step"][2]
    assert page.column(5)[0].startswith("+")
    assert page.page.locator("#stage").is_hidden()
    assert page.complaints == []
    assert page.requests == [page.url]
    page.page.close()
