"""A job whose results are not taken is paused until they are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bndl.context import waiting
from bndl.context.waiting import Ended, Mailbox
from bndl.driver.execution import Execution
from bndl.driver.tasks import Task


class FakeDriver:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self, _: Any) -> None:
        self.told.append("pause")

    def resume(self, _: Any) -> None:
        self.told.append("resume")


class FakeExecution:
    def __init__(self) -> None:
        self.driver = FakeDriver()


def tasks(count: int, size: int = 0) -> list[Task]:
    made = [Task.of_item(None) for _ in range(count)]
    for task in made:
        task.succeed(bytes(size), 1, "worker", 0.0)
    return made


@pytest.fixture
def execution(monkeypatch: pytest.MonkeyPatch) -> FakeExecution:
    monkeypatch.setattr(waiting, "MOST_TASKS", 10)
    monkeypatch.setattr(waiting, "MOST_BYTES", 1000)
    return FakeExecution()


@pytest.fixture
def mailbox(execution: FakeExecution) -> Mailbox:
    mailbox = Mailbox()
    mailbox.bind(cast("Execution", execution))
    return mailbox


def test_too_many_tasks_pause_it_until_half_of_them_are_taken(mailbox: Mailbox, execution: FakeExecution) -> None:
    for _ in range(4):
        mailbox.tasks_settled(tasks(3))
    assert execution.driver.told == ["pause"]
    mailbox.tasks_settled(tasks(3))
    assert execution.driver.told == ["pause"], "once"
    for _ in range(3):
        mailbox.take()
    assert execution.driver.told == ["pause"]
    mailbox.take()
    assert execution.driver.told == ["pause", "resume"]


def test_so_do_too_many_bytes(mailbox: Mailbox, execution: FakeExecution) -> None:
    mailbox.tasks_settled(tasks(2, 600))
    assert execution.driver.told == ["pause"]
    mailbox.take()
    assert execution.driver.told == ["pause", "resume"]


def test_what_is_taken_in_time_never_pauses_it(mailbox: Mailbox, execution: FakeExecution) -> None:
    for _ in range(100):
        mailbox.tasks_settled(tasks(10, 50))
        mailbox.take()
    mailbox.execution_ended(None)
    assert isinstance(mailbox.take(), Ended)
    assert execution.driver.told == []
