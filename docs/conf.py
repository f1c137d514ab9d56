"""Settings of Sphinx."""

from pygments.lexers import TextLexer
from sphinx.application import Sphinx

from bndl._version import __version__

project = "bndl"
author = "the bndl developers"
version = release = __version__

extensions = ["myst_parser"]
# A heading is a target, so that pages can link to sections.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"bndl {release}"


def setup(app: Sphinx) -> None:
    """Show the source of Mermaid diagrams, which Pygments has no lexer for. GitHub draws them."""
    app.add_lexer("mermaid", TextLexer)
