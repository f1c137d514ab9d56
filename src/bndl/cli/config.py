"""``bndl config``: each setting, and where it comes from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bndl.configure import configure, field_names

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
        table.add_row(name, _show(value), configured.origins[name])
    Console().print(table, highlight=False)


def _show(value: object) -> str:
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
