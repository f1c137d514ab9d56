"""The house rules that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))

MAX_FILE = 400
MAX_FUNCTION = 60

#: Methods that wait for ever when they are called without arguments.
WAITS = {"communicate", "get", "join", "result", "wait"}

#: Calls of these that are fine, with the reason: (file in src, the call as text).
#: Of a future that is done, write ``result(timeout=0)`` instead.
UNBOUNDED: dict[tuple[str, str], str] = {
    ("bndl/driver/requests.py", "future.result()"): "each chunk that is fetched has its own deadline",
    ("bndl/execute/slots.py", "self._filled.wait()"): "a slot has nothing to do but wait for work, and is a daemon",
}

#: In two parts, so that this file has none.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b")


def in_repository(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, its docstring left out: nobody should have to save words."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def unbounded_waits(path: Path) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=keywords) if name in WAITS:
                if not any(keyword.arg in {"timeout", None} for keyword in keywords):
                    yield ast.unparse(node)


def sleeps(path: Path) -> bool:
    for node in ast.walk(parse(path)):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                return True
            case ast.ImportFrom(module="time", names=names) if any(alias.name == "sleep" for alias in names):
                return True
    return False


@pytest.mark.parametrize("path", SOURCES, ids=in_repository)
def test_one_file_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE


@pytest.mark.parametrize("path", SOURCES, ids=in_repository)
def test_functions_are_short(path: Path) -> None:
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {each.name: length(each) for each in functions if length(each) > MAX_FUNCTION} == {}


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=in_repository)
def test_no_except_without_a_class(path: Path) -> None:
    handlers = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ExceptHandler)]
    assert [handler.lineno for handler in handlers if handler.type is None] == []


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *PAGES], ids=in_repository)
def test_unfinished_work_is_an_issue_and_not_a_note(path: Path) -> None:
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []


def test_tests_do_not_sleep() -> None:
    awake = [path for path in TESTS if ROOT / "tests" / "faults" not in path.parents]
    assert [in_repository(path) for path in awake if sleeps(path)] == []


def test_nobody_waits_without_end() -> None:
    found = {(str(path.relative_to(ROOT / "src")), call) for path in SOURCES for call in unbounded_waits(path)}
    assert found == UNBOUNDED.keys()  # what is listed and no longer there goes from the list
