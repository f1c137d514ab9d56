"""What the README and the docs show works as printed, numbers and host names aside.

A fenced block marked ``python`` that has ``>>>`` is a transcript: it is run, and what it prints must match; ``...``
stands for anything there. All transcripts of a page are one session. A block without ``>>>`` must be valid Python.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
PROMPT = re.compile(r"^ *>>> ", re.MULTILINE)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """The page's Python blocks, each with the number of lines before it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    python = False
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if start is None:
            if fence:
                start, python = number + 1, fence["language"] == "python"
        elif fence and not fence["language"]:
            if python:
                yield start, "\n".join(lines[start:number]) + "\n"
            start = None


def transcripts(page: Path) -> list[tuple[int, str]]:
    return [(before, block) for before, block in blocks(page) if PROMPT.search(block)]


def session(page: Path) -> str:
    """All transcripts of the page as one text, on the lines where the page has them, so that failures point there."""
    text = ""
    for before, block in transcripts(page):
        text += "\n" * (before - text.count("\n")) + block
    return text + "\n"


def in_repository(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_readme_has_a_transcript() -> None:
    assert transcripts(README)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if transcripts(page)], ids=in_repository)
def test_transcripts_work_as_printed(page: Path, tmp_path: Path) -> None:
    # In a process of its own, like a user's session: it ends its workers at exit, and nothing is left for other tests.
    text = tmp_path / page.with_suffix(".txt").name
    text.write_text(session(page), encoding="utf-8")
    doctest = [sys.executable, "-W", "error", "-m", "doctest", "--fail-fast"]
    options = ["--option", "ELLIPSIS", "--option", "NORMALIZE_WHITESPACE"]
    done = subprocess.run([*doctest, *options, text], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=in_repository)
def test_programs_are_valid_python(page: Path) -> None:
    for before, block in blocks(page):
        if not PROMPT.search(block):
            ast.parse(block, filename=f"{page.name}, block after line {before}")
