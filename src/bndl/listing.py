"""Classes that list only the names that are for users: to ``dir()``, and so to completion and ``help``'s readers.

The driver works on the same objects as users do, and its modules need more of them than users should have to see.
Completion asks the class as well as the object, so the class has to answer too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Listed"]


class Listed(type):
    """The class of classes that have ``_listed``, the names that are for users."""

    _listed: tuple[str, ...] = ()

    def __dir__(cls) -> list[str]:
        names = [name for name in super().__dir__() if name.startswith("__") and name != "__slots__"]
        return [*names, *cls._listed]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Listed:
        """Make a class whose objects list what it lists."""
        namespace.setdefault("__dir__", lambda self: dir(type(self)))
        return super().__new__(mcs, name, bases, namespace, **options)
