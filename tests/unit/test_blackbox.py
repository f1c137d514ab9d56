"""The black box of a worker: what the slots write, the one who started it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from bndl.errors import LastTask
from bndl.execute.blackbox import BlackBox, BlackBoxReader
from bndl.execute.definitions import Definition
from bndl.execute.slots import Prepared
from bndl.net.messages import Attempt, Define
from tests.unit.attempts import Bench

STAGE = 7
NUMBER = (STAGE << 32) + 3


@pytest.fixture
def reader() -> Iterator[BlackBoxReader]:
    reader = BlackBoxReader(2)
    yield reader
    reader.close()


@pytest.fixture
def box(reader: BlackBoxReader) -> BlackBox:
    return BlackBox(reader.fd, 2, "driver")


def define(stage: str = "work", job: str = "census") -> Definition:
    return Definition(Define(STAGE, job, stage, b"", calls=False, kept=False))


def prepare(index: int = 3, number: int = 2, definition: Definition | None = None, started: float = 10.0) -> Prepared:
    attempt = Attempt((STAGE << 32) + index, number, b"")
    prepared = Prepared(Bench().tenancy, definition or define(), attempt)
    prepared.started = started
    return prepared


def in_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_new_box_is_empty(reader: BlackBoxReader) -> None:
    assert reader.last_tasks(1.0) == []
    assert reader.busy_threads() == []
    assert reader.dump_size == 0


def test_what_runs_is_there_while_it_runs_and_after(reader: BlackBoxReader, box: BlackBox) -> None:
    seen: list[LastTask] = []
    threads: list[int] = []

    def look(_: Prepared) -> None:
        seen.extend(reader.last_tasks(12.5))
        threads.extend(reader.busy_threads())

    box.recording(look)(prepare())
    assert seen == [LastTask(0, "work[3]", "census", 2, running=True, seconds=2.5, task=NUMBER)]
    assert threads == [threading.get_ident()]
    assert reader.last_tasks(13.0) == [LastTask(0, "work[3]", "census", 2, running=False, seconds=3.0, task=NUMBER)]
    assert reader.busy_threads() == []


def test_an_attempt_that_raises_is_over(reader: BlackBoxReader, box: BlackBox) -> None:
    def leave(_: Prepared) -> NoReturn:
        raise SystemExit

    with pytest.raises(SystemExit):
        box.recording(leave)(prepare())
    assert [task.running for task in reader.last_tasks(11.0)] == [False]


def test_each_thread_has_its_own_record(reader: BlackBoxReader, box: BlackBox) -> None:
    execute = box.recording(lambda _: None)
    execute(prepare(1))
    in_thread(lambda: execute(prepare(2)))
    execute(prepare(4))
    assert [(task.slot, task.name) for task in reader.last_tasks(11.0)] == [(0, "work[4]"), (1, "work[2]")]


def test_a_thread_without_a_record_executes_all_the_same(reader: BlackBoxReader, box: BlackBox) -> None:
    executed: list[int] = []
    execute = box.recording(lambda prepared: executed.append(prepared.attempt.number))
    for number in (1, 2, 3):
        in_thread(lambda number=number: execute(prepare(number, number)))  # type: ignore[misc]
    assert executed == [1, 2, 3]
    assert [task.attempt for task in reader.last_tasks(11.0)] == [1, 2]


def test_the_names_change_with_the_stage(reader: BlackBoxReader, box: BlackBox) -> None:
    execute = box.recording(lambda _: None)
    execute(prepare(definition=define("a long name of a stage", "one")))
    execute(prepare(definition=define("b", "two")))
    (task,) = reader.last_tasks(11.0)
    assert (task.name, task.job) == ("b[3]", "two")


def test_numbers_of_other_drivers_mean_nothing(reader: BlackBoxReader, box: BlackBox) -> None:
    execute = box.recording(lambda _: None)
    execute(prepare())
    other = prepare()
    other.tenancy.driver = "another driver"
    execute(other)
    assert [task.task for task in reader.last_tasks(11.0)] == [-1]


def test_long_names_are_cut_between_characters(reader: BlackBoxReader, box: BlackBox) -> None:
    box.recording(lambda _: None)(prepare(definition=define("é" * 100, "漢" * 100)))
    (task,) = reader.last_tasks(11.0)
    assert task.name == "é" * 48 + "...[3]"
    assert task.job == "漢" * 32 + "..."


def test_what_faulthandler_writes_is_behind_the_records(reader: BlackBoxReader, box: BlackBox) -> None:
    box.recording(lambda _: None)(prepare())
    with open(reader.fd, "w", closefd=False) as dump:
        dump.write("Fatal Python error")
    assert reader.dump_size == len("Fatal Python error")
    assert (reader.read_dump(), reader.read_dump(6)) == ("Fatal Python error", "Python error")
    assert len(reader.last_tasks(11.0)) == 1
