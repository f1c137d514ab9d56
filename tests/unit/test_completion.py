"""What completion shows: only what is for users, and without connecting."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from rlcompleter import Completer
from typing import Any, Self, cast

import pytest
from IPython.core.interactiveshell import InteractiveShell

import bndl
from bndl.context import default
from bndl.context.context import Context

CONTEXT = {"map", "submit", "execute", "run", "explain", "workers", "await_workers", "cpu_profiling", "stop"}
TASK = [
    "after",
    "attempts",
    "cancel",
    "error",
    "history",
    "index",
    "is_cancelling",
    "is_tolerated",
    "locality_achieved",
    "name",
    "options",
    "outcome",
    "predecessors",
    "result",
    "seconds",
    "stage",
    "state",
    "worker",
]
STAGE = ["after", "function", "job", "name", "options", "results", "split", "tasks"]
JOB = ["cancel", "name", "options", "report", "stage", "stages"]


def list_names(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def complete(namespace: dict[str, object], text: str) -> set[str]:
    """What the completion of the standard library finds: the names after the dot."""
    completer = Completer(namespace)
    found: list[str] = []
    while (match := completer.complete(text, len(found))) is not None:
        found.append(match)
    return {re.sub(r".*\.|\(.*", "", match) for match in found}


def complete_ipython(namespace: dict[str, object], text: str, *, jedi: bool = False) -> set[str]:
    shell: Any = InteractiveShell.instance()
    completer = shell.Completer
    completer.use_jedi = jedi
    completer.namespace = namespace
    completer.global_namespace = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its interface is provisional, and says so
        return {each.text.rpartition(".")[2] for each in completer.completions(text, len(text))}


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "connect", lambda: pytest.fail("completion must not connect"))
    monkeypatch.setattr(default, "_default", [])


@pytest.mark.parametrize("find", [complete, complete_ipython, partial(complete_ipython, jedi=True)])
class TestCompletion:
    """With the standard library's, and with IPython's both."""

    def test_of_the_process_wide_context(self, find: Callable[..., set[str]]) -> None:
        assert find({"ctx": bndl.ctx}, "ctx.") >= CONTEXT
        assert find({"ctx": bndl.ctx}, "ctx.awa") >= {"await_workers"}
        assert find({"bndl": bndl}, "bndl.ctx.") >= CONTEXT

    def test_of_what_users_build(self, find: Callable[..., set[str]]) -> None:
        job = bndl.Job()
        stage = job.stage(abs, [1])
        for value, names in ((job, JOB), (stage, STAGE), (stage.tasks[0], TASK)):
            found = find({"x": value}, "x.")
            assert {name for name in found if not name.startswith("_")} == set(names)

    def test_of_the_library(self, find: Callable[..., set[str]]) -> None:
        found = find({"bndl": bndl}, "bndl.")
        assert {name for name in found if not name.startswith("_")} == set(bndl.__all__) - {"__version__"}


def test_looking_at_the_process_wide_context_does_not_connect() -> None:
    assert list_names(bndl.ctx) == list_names(Context)
    assert "not connected" in repr(bndl.ctx)
    assert inspect.signature(bndl.ctx.map) == inspect.signature(partial(Context.map, cast("Any", None)))
    assert bndl.ctx.map.__doc__ == Context.map.__doc__
    assert inspect.getattr_static(bndl.ctx, "workers").__doc__ == Context.workers.__doc__
    bndl.ctx.stop()
    with pytest.raises(AttributeError):
        bndl.ctx.nothing_of_this_name  # type: ignore[attr-defined]  # noqa: B018 - looking is the test


def test_with_enters_and_stops_the_process_wide_context(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Fake:
        is_stopped = False

        def __enter__(self) -> Self:
            return self

        def stop(self) -> None:
            self.is_stopped = True

    def connect() -> Fake:
        made.append(Fake())
        return cast("Fake", made[-1])

    monkeypatch.setattr(default, "connect", connect)
    for number in range(2):  # its next use connects it again
        with bndl.ctx as context:
            assert made[number:] == [context]
            assert not made[number].is_stopped
        assert made[number].is_stopped


def test_names_that_are_listed_exist() -> None:
    job = bndl.Job()
    stage = job.stage(abs, [1])
    for value, names in ((bndl.Job, JOB), (bndl.Stage, ["results", "split"]), (bndl.Task, TASK)):
        assert [name for name in names if name not in ("name", "options", "stages") and not hasattr(value, name)] == []
    assert all(hasattr(stage, name) for name in STAGE)
    assert all(hasattr(job, name) for name in JOB)


def test_types_that_users_meet_are_exported_and_documented() -> None:
    job = bndl.Job()
    stage = job.stage(abs, [1])
    met = [job, stage, stage.tasks[0], stage.tasks[0].state, stage.results, stage.results[0], stage.options]
    for value in met:
        assert type(value) in [getattr(bndl, name) for name in bndl.__all__]
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "types.md").read_text(encoding="utf-8")
    types = [name for name in bndl.__all__ if isinstance(getattr(bndl, name), type)]
    assert [name for name in types if f"`{name}`" not in page] == []
    assert {"Options", "Report", "Explanation", "Broadcast", "Accumulator", "TaskState", "Outcome"} <= set(types)


def test_what_options_return_is_exported() -> None:
    assert Context.options.__annotations__["return"] == bndl.View.__name__


def test_what_map_returns_has_close_in_its_type() -> None:
    for method in (Context.map, Context.execute):
        assert str(method.__annotations__["return"]).startswith("Iteration[")
    assert callable(bndl.Iteration.close)
