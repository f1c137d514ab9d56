"""The error of a task names the call, and tells each thing once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bndl
from bndl.errors import NotUnpicklable, TaskFailed, WorkerLost

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


def parse(text: object, strict: bool = False) -> None:  # noqa: FBT001, FBT002 - a user's function
    if bndl.current_task().driver:
        raise ValueError("no number", strict, type(text).__name__)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError


class Large:
    def __repr__(self) -> str:
        return "x" * 10_000_000


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        ("a.txt", "parse('a.txt')"),
        ({"k": [1, 2]}, "parse({'k': [1, 2]})"),
        (Hostile(), "parse(<Hostile object whose repr raises RuntimeError>)"),
        (Large(), "parse(xxxxxxxx"),
        (range(10**9), "parse(range(0, 1000000000))"),
        (list(range(100_000)), "parse([0, 1, 2, 3, 4, 5, ...])"),
    ],
)
def test_an_error_names_the_call(ctx: bndl.Context, item: object, shown: str) -> None:
    job = bndl.Job("reading")
    job.stage(parse, [item], name="read")
    calls = bndl.Job("calls")
    calls.stage(tasks=[bndl.Task(parse, item)], name="read")
    for run in (
        lambda: list(ctx.map(parse, [item])),
        lambda: ctx.submit(parse, item).result(TIMEOUT),
        lambda: ctx.run(job),
        lambda: ctx.run(calls),
    ):
        with pytest.raises(TaskFailed) as caught:
            run()
        first, place = str(caught.value).splitlines()
        assert f" attempt, for {shown}" in first
        assert "ValueError: ('no number'" in first
        assert len(first) < 500
        assert f'File "{__file__}", line' in place
        assert place.endswith('in parse: raise ValueError("no number", strict, type(text).__name__)')


def test_keyword_arguments_are_named(ctx: bndl.Context) -> None:
    error = ctx.submit(parse, "a", strict=True).exception(TIMEOUT)
    assert "for parse('a', strict=True): " in str(error)


def test_several_iterables_are_several_arguments(ctx: bndl.Context) -> None:
    with pytest.raises(TaskFailed, match=r"for parse\('a', True\): ValueError"):
        list(ctx.map(parse, ["a"], [True]))


def test_the_call_is_named_if_the_worker_cannot_tell(ctx: bndl.Context) -> None:
    error = ctx.submit(os._exit, 3).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, WorkerLost)
    assert "for _exit(3): " in str(error)
    certificate = error.__cause__.certificate
    assert certificate is not None
    assert str(error).count(str(certificate)) == 1
    assert str(certificate) not in str(error.__cause__), "both are shown together"


def test_items_can_be_left_out() -> None:
    with bndl.connect(workers=1, progress=False, config=bndl.Config(show_items=False)) as context:
        for function in (parse, os._exit):
            error = context.submit(function, 33333).exception(TIMEOUT)
            assert f"for {function.__name__}: " in str(error)
            assert "33333" not in str(error)


class Fragile:
    """Cannot be unpickled elsewhere."""

    def __init__(self, error: type[Exception] = ValueError) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return break_elsewhere, (os.getpid(), self.error)


def break_elsewhere(home: int, error: type[Exception]) -> object:
    if os.getpid() != home:
        raise error("broken")
    return Fragile(error)


def test_what_cannot_be_unpickled_on_the_worker_is_not_the_tasks_error(ctx: bndl.Context) -> None:
    fragile = Fragile()
    errors = [
        ctx.submit(abs, fragile).exception(TIMEOUT),
        ctx.submit(lambda: fragile).exception(TIMEOUT),
        ctx.workers[0].execute(abs, fragile).exception(TIMEOUT),
    ]
    for function, items in ((abs, [fragile]), (lambda _: fragile, [1])):
        with pytest.raises(TaskFailed) as caught:
            list(ctx.map(function, items))
        errors.append(caught.value)
    for error in errors:
        assert type(error) is NotUnpicklable
        assert isinstance(error.__cause__, ValueError)
        assert "could not be unpickled" in str(error)
        assert "not called" in str(error)


def test_how_it_counts(ctx: bndl.Context) -> None:
    for retry, attempts in (
        (bndl.Retry(attempts=3), 3),
        (bndl.Retry(attempts=3, on=OSError), 1),
        (bndl.Retry(attempts=2, on=ValueError), 2),
    ):
        with pytest.raises(NotUnpicklable) as caught:
            list(ctx.map(abs, [Fragile()], retry=retry))
        assert [attempt.outcome for attempt in caught.value.attempts] == ["failed"] * attempts


def test_a_function_that_raises_is_the_tasks_error(ctx: bndl.Context) -> None:
    error = ctx.submit(break_elsewhere, 0, KeyError).exception(TIMEOUT)
    assert type(error) is TaskFailed
    error = ctx.submit(threading.Lock).exception(TIMEOUT)
    assert type(error) is TaskFailed, "nor is a result that cannot be pickled"


SCRIPT = """
import bndl

def invert(x):
    return 1 / x

if __name__ == "__main__":
    with bndl.connect(workers=1, progress=False) as ctx:
        list(ctx.map(invert, [0]))
"""


def run(*command: str | Path, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_python_shows_each_thing_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    shown = run(sys.executable, script)
    assert shown.count("    return 1 / x\n") == 1
    assert shown.count("\nZeroDivisionError: division by zero\n") == 1
    assert shown.splitlines()[-2].startswith("bndl.errors.TaskFailed: invert[0] of job 'map invert' failed")
    assert shown.count("division by zero") == 2


def test_ipython_shows_the_users_traceback_first_and_short(tmp_path: Path) -> None:
    script = tmp_path / "script.ipy"
    script.write_text(SCRIPT)
    shown = run(sys.executable, "-m", "IPython", "--colors=NoColor", "--no-banner", script)
    lines = shown.strip().splitlines()
    first = lines.index("Traceback (most recent call last):")
    assert "in invert" in lines[first + 1]
    assert len(lines) - first <= 10, shown
    assert "site-packages" not in shown
    assert str(Path(bndl.__file__).parent) not in shown
    assert shown.count("\nZeroDivisionError: division by zero\n") == 1
    assert "bndl.errors.TaskFailed: invert[0] of job 'map invert' failed in its only attempt, for invert(0)" in shown


TYPED = """
import bndl
def invert(x):
    def inner(y):
        return 1 / y
    return inner(x)

def other(x):
    import warnings
    warnings.warn("odd")
    return 2 / x

"""
CALLS = """
ctx = bndl.connect(workers=1, progress=False)
for function in (invert, other, lambda x: 3 / x):
    for error in [ctx.submit(function, 0).exception()]:
        print(error, error.__cause__.__cause__)

ctx.stop()
"""


def run_command(_: Path) -> str:
    return run(sys.executable, "-c", TYPED + CALLS)


def run_input(folder: Path) -> str:
    (folder / "typed").write_text(TYPED + CALLS)
    with (folder / "typed").open() as file:
        done = subprocess.run([sys.executable], stdin=file, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def run_shell(folder: Path) -> str:
    """As in ``bndl shell`` without IPython: what is typed is in the history of readline."""
    program = f"""
import code, readline
class Console(code.InteractiveConsole):
    lines = iter({(TYPED + CALLS).splitlines()!r})
    def raw_input(self, prompt=""):
        line = next(self.lines, None)
        if line is None:
            raise EOFError
        if line:
            readline.add_history(line)
        return line
Console({{"__name__": "__main__"}}).interact("", "")
"""
    script = folder / "shell.py"
    script.write_text(program)
    return run(sys.executable, script)


def run_ipython(folder: Path) -> str:
    cells = [TYPED, CALLS]
    program = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in {cells!r}:
    shell.run_cell(cell, store_history=True)
"""
    (folder / "cells.py").write_text(program)
    return run(sys.executable, folder / "cells.py")


@pytest.mark.parametrize("how", [run_command, run_input, run_shell, run_ipython])
def test_lines_of_what_was_typed_in_are_shown(tmp_path: Path, how: Callable[[Path], str]) -> None:
    shown = how(tmp_path)
    for line in ("in inner\n    return 1 / y\n", "in other\n    return 2 / x\n", "in invert\n    return inner(x)\n"):
        assert line in shown, shown
    assert "in inner: return 1 / y" in shown
    assert "UserWarning: odd" in shown
    assert 'warnings.warn("odd")' in shown, "a warning shows its line, too"
    assert "lambda x: 3 / x" in shown
