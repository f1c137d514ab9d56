"""Writes the diagrams in the documentation anew: ``python docs/diagrams.py`` or, with other files, ``... PAGE...``.

What stands between the markers ``<!-- diagram: NAME -->`` and ``<!-- end of diagram -->`` is generated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bndl.schedule import transitions

DIAGRAMS: Mapping[str, Callable[[], str]] = {"states of a task": transitions.diagram}

PAGES = (Path(__file__).parent / "explanation" / "execution.md",)

GENERATED = re.compile(r"(?<=<!-- diagram: )(?P<name>.+?) -->\n.*?<!-- end of diagram -->", re.DOTALL)


def draw(page: str) -> str:
    """The page with all of its diagrams as they are now."""
    return GENERATED.sub(
        lambda found: f"{found['name']} -->\n```mermaid\n{DIAGRAMS[found['name']]()}```\n<!-- end of diagram -->",
        page,
    )


for path in [Path(name) for name in sys.argv[1:]] or PAGES:
    path.write_text(draw(path.read_text(encoding="utf-8")), encoding="utf-8")
