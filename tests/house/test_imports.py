"""Imports go down only, ``import bndl`` loads next to nothing, and ``__all__`` tells the truth."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bndl

ROOT = Path(__file__).parents[2]

#: Names of the root package that do something when they are looked up: ``ctx`` connects.
LIVE = {"ctx"}

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bndl.__path__, "bndl.")
    if not module.name.endswith(".__main__")  # runs when it is imported
)


def test_imports_go_down_only(tmp_path: Path) -> None:
    # In a process of its own, because it sets up logging for its whole process.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_bndl_loads_nothing_else() -> None:
    code = "import json, sys; before = set(sys.modules); import bndl; print(json.dumps([*set(sys.modules) - before]))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    loaded = {name for name in json.loads(output) if name.partition(".")[0] not in sys.stdlib_module_names}
    assert "bndl" in loaded
    assert loaded <= {"bndl", "bndl._version"}


@pytest.mark.parametrize("name", MODULES)
def test_every_name_in_all_exists(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    assert [each for each in exported if not hasattr(module, each)] == []


def test_every_name_of_the_root_package_exists() -> None:
    exported = set(getattr(bndl, "__all__", []))
    assert exported <= set(dir(bndl))
    assert [name for name in sorted(exported - LIVE) if not hasattr(bndl, name)] == []
