"""The diagrams in the documentation are what the code gives."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bndl.schedule import transitions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "explanation" / "execution.md"

DIAGRAM = re.compile(r"<!-- diagram: states of a task -->\n```mermaid\n(.*?)```\n<!-- end of diagram -->", re.DOTALL)


def draw(page: Path) -> None:
    """What ``make diagrams`` does, on a copy of a page."""
    command = [sys.executable, str(DOCS / "diagrams.py"), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_states_of_a_task_are_drawn_as_they_are() -> None:
    assert DIAGRAM.findall(PAGE.read_text(encoding="utf-8")) == [transitions.diagram()], "run: make diagrams"


def test_diagrams_are_drawn_anew(tmp_path: Path) -> None:
    page = tmp_path / PAGE.name
    shutil.copy(PAGE, page)
    before = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"^    \w.*\n", "", before, flags=re.MULTILINE), encoding="utf-8")
    assert page.read_text(encoding="utf-8") != before
    draw(page)
    assert page.read_text(encoding="utf-8") == before
