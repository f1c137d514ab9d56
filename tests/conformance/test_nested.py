"""Contexts in tasks: refused with a text that says so, before anything is started."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import psutil
import pytest

import bndl
from bndl.errors import NotPicklable, TaskFailed, UserError

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def context() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, progress=False) as made:
        made.await_workers(1)
        yield made


def use_default(_: int) -> object:
    from bndl import ctx  # noqa: PLC0415 - in the task is where it matters

    return ctx.map(abs, [1])


def connect(_: int) -> object:
    return bndl.connect(workers=1)


def connect_in_a_thread(_: int) -> object:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            bndl.connect(workers=1)
        except UserError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(TIMEOUT)
    raise errors[0]


def use_a_global(number: int) -> object:
    return bndl.ctx.worker_count + number


NESTED = [use_default, connect, connect_in_a_thread, use_a_global, lambda _: bndl.ctx.submit(abs, -1).result()]


def count_children() -> int:
    return len(psutil.Process().children(recursive=True))


@pytest.mark.parametrize("function", NESTED)
def test_a_task_that_wants_a_context_is_refused(context: bndl.Context, function: Callable[[int], object]) -> None:
    before = count_children()
    with pytest.raises(TaskFailed, match="tasks cannot start work yet") as caught:
        list(context.map(function, [1]))
    assert isinstance(caught.value.__cause__, UserError)
    with pytest.raises(TaskFailed, match="tasks cannot start work yet"):
        context.submit(function, 1).result(TIMEOUT)
    assert count_children() == before, "a second cluster was started"


def test_what_is_called_on_a_worker_beside_tasks_is_refused_too(context: bndl.Context) -> None:
    with pytest.raises(TaskFailed, match=r"bndl\.connect\(\) was used in the process of worker"):
        context.workers[0].execute(connect, 1).result(TIMEOUT)


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held

    def work(self, number: int) -> int:
        return -number


def carriers(held: Any) -> dict[str, Callable[[int], object]]:
    """Functions that drag something along, each in another way."""

    def closure(number: int) -> object:
        return held, number

    def default(number: int, _: object = held) -> int:
        return number

    return {"closure": closure, "default": default, "method": Holder(held).work, "mapped": held.map}


@pytest.mark.parametrize("way", ["closure", "default", "method", "mapped"])
def test_a_context_does_not_travel(context: bndl.Context, way: str) -> None:
    function = carriers(context)[way]
    for send in (
        lambda: list(context.map(function, [1])),
        lambda: context.submit(function, 1),
        lambda: context.submit(abs, [context]),
        lambda: list(context.map(str, [context])),
        lambda: context.broadcast({"context": context}),
        lambda: context.workers[0].execute(function, 1),
    ):
        with pytest.raises(NotPicklable, match=r"<Context: .*tasks cannot start work yet"):
            send()


@pytest.mark.parametrize("copied", [pickle.dumps, cloudpickle.dumps, copy.copy, copy.deepcopy])
def test_a_context_is_not_copied_either(context: bndl.Context, copied: Callable[[object], object]) -> None:
    with pytest.raises(NotPicklable, match="<Context: "):
        copied(context)


def test_functions_that_refer_to_the_default_context_and_do_not_use_it_can_travel(context: bndl.Context) -> None:
    assert pickle.loads(pickle.dumps(bndl.ctx)) is bndl.ctx
    default = bndl.ctx

    def work(number: int) -> object:
        return -number if number else default.map(abs, [1])

    assert list(context.map(work, [1, 2])) == [-1, -2]
    assert list(context.map(Holder(bndl.ctx).work, [1, 2])) == [-1, -2]
