"""What workers can import."""

from __future__ import annotations

import contextlib
import importlib.machinery
import pickle
import sys
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

__all__ = ["find_owner", "is_global", "is_importable", "is_reachable", "resolve"]

#: Whether workers can import a module, with the module that was asked about.
_verdicts: dict[str, tuple[weakref.ref[Any], bool]] = {}

_MISSING = object()


def resolve(module: Any, name: str) -> Any:
    """What a module has under a qualified name; a sentinel that is equal to nothing else if there is no such thing."""
    value = module
    for part in name.split("."):
        if part == "<locals>":
            return _MISSING
        try:
            value = getattr(value, part)
        except Exception:  # noqa: BLE001 - a module or class may have a __getattr__ that raises what it wants
            return _MISSING
    return value


def find_owner(obj: Any, name: str | None = None) -> ModuleType | None:
    """The module that has an object under its qualified name, or None.

    Args:
        obj: the object.
        name: its qualified name, if it does not say so itself.
    """
    try:
        module_name = obj.__module__
        qualified = obj.__qualname__ if name is None else name
    except Exception:  # noqa: BLE001 - the user's properties
        return None
    if not isinstance(module_name, str) or not isinstance(qualified, str):
        return None
    module = sys.modules.get(module_name)
    if module is None or resolve(module, qualified) is not obj:
        return None
    return module


def is_importable(obj: Any, name: str | None = None) -> bool:
    """Whether workers find an object where it says that it is."""
    module = find_owner(obj, name)
    return module is not None and is_reachable(obj.__module__) and not _is_lying(obj, module)


def is_global(obj: Any, name: str) -> bool:
    """Whether workers find an object as a global variable, where pickle looks for it."""
    if is_importable(obj, name):
        return True
    if getattr(obj, "__module__", None) is not None:
        return False
    # Such as an object of an extension module: pickle looks through all modules.
    module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
    return is_reachable(module) and resolve(sys.modules.get(module), name) is obj


def is_reachable(name: str) -> bool:
    """Whether workers can import a module. That this process has it in ``sys.modules`` does not say so."""
    registered = cloudpickle.list_registry_pickle_by_value()
    if registered and any(name == each or name.startswith(f"{each}.") for each in registered):
        return False
    module = sys.modules.get(name)
    known = _verdicts.get(name)
    if known is not None and known[0]() is module:
        return known[1]
    verdict = _can_import(name, module)
    if module is not None:
        with contextlib.suppress(TypeError):  # something else than a module, to which there are no weak references
            _verdicts[name] = (weakref.ref(module), verdict)
    return verdict


def _can_import(name: str, module: Any) -> bool:
    if name in {"__main__", "__mp_main__"}:
        return False
    if name in sys.builtin_module_names or importlib.machinery.FrozenImporter.find_spec(name) is not None:
        return True
    real = getattr(getattr(module, "__spec__", None), "name", None)
    if isinstance(real, str) and real != name:  # under a second name, such as os.path
        return is_reachable(real)
    parent, _, child = name.rpartition(".")
    if not parent:
        return _is_found(name, None)
    if not is_reachable(parent):
        return False
    above = sys.modules.get(parent)
    path = getattr(above, "__path__", None)
    # Extension modules make submodules that have no file; they are there when the parent is.
    return (path is not None and _is_found(name, path)) or (real is None and getattr(above, child, None) is module)


def _is_found(name: str, path: Any) -> bool:
    try:
        if importlib.machinery.PathFinder.find_spec(name, path) is not None:
            return True
    except Exception:  # noqa: BLE001 - a hook of the user's
        return False
    return any(_finds_file(finder, name, path) for finder in list(sys.meta_path))


def _finds_file(finder: Any, name: str, path: Any) -> bool:
    """Whether a finder, such as that of an editable installation, finds the file of a module."""
    try:
        # A finder that the script brought along is not there on workers.
        if sys.modules[finder.__module__].__spec__ is None:
            return False
        spec = finder.find_spec(name, path)
        return spec is not None and spec.origin is not None and Path(spec.origin).exists()
    except Exception:  # noqa: BLE001 - a hook of the user's
        return False


def _is_lying(obj: Any, module: ModuleType) -> bool:
    """Whether a function comes from the user's script although its ``__module__`` names another module."""
    code = getattr(obj, "__code__", None)
    if code is None:
        return False
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return main is not None and code.co_filename == main and getattr(module, "__file__", None) != main
