"""``bndl config``: each setting, and where it comes from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bndl.configure import configure, field_names
from bndl.printable import printable_line

__all__ = ["print_config"]


def print_config() -> None:
    """Print the settings that ``bndl.connect()`` has here without arguments.

    Raises:
        InvalidSetting: a file or a variable has a mistake.
    """
    configured = configure()
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for name in field_names():
        value = getattr(configured.config, name)
        # Text, because in a plain string what looks like markup would be taken for it.
        cells = (Text(printable_line(text)) for text in (name, _show(value), configured.origins[name]))
        table.add_row(*cells)
    Console().print(table, highlight=False)


def _show(value: object) -> str:
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
