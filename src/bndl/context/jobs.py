"""``execute``: the tasks of a job, each when it is done."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from bndl.context import progress
from bndl.context.iterating import Iteration
from bndl.context.waiting import Ended, Mailbox
from bndl.driver.driver import Driver
from bndl.driver.preparing import prepare
from bndl.schedule.instructions import TaskOutcome

if TYPE_CHECKING:
    from bndl.driver.jobs import Job
    from bndl.driver.tasks import Task

__all__ = ["execute"]


def execute(driver: Driver, job: Job, *, ordered: bool, show_progress: bool) -> Iteration[Task]:
    """Execute a job; see ``Context.execute``."""
    mailbox = Mailbox()
    execution, spec = prepare(driver, job, mailbox)
    mailbox.bind(execution)
    driver.submit(execution, spec)
    tasks = _in_order(job, mailbox) if ordered else _as_done(mailbox)
    if show_progress:
        mailbox.bars = progress.watch_execution(execution)
        tasks = _closing(mailbox.bars, tasks)
    return Iteration(execution, tasks, "its results are not taken any more", mailbox.bars)


def _closing(bars: progress.Bars, tasks: Iterator[Task]) -> Generator[Task, None, None]:
    with closing(bars):
        yield from tasks


def _as_done(mailbox: Mailbox) -> Generator[Task, None, None]:
    while True:
        got = mailbox.take()
        if isinstance(got, Ended):
            got.check()
            return
        yield from (task for task in got if _is_shown(task))


def _in_order(job: Job, mailbox: Mailbox) -> Generator[Task, None, None]:
    ended: Ended | None = None
    for stage in job.stages:
        for task in stage.tasks:
            while task.outcome is None and ended is None:
                got = mailbox.take()
                if isinstance(got, Ended):
                    ended = got
            if not _is_shown(task):
                break
            yield task
    while ended is None:
        got = mailbox.take()
        if isinstance(got, Ended):
            ended = got
    ended.check()


def _is_shown(task: Task) -> bool:
    """Whether a done task is one of those that users get, rather than the reason for an error, or its victim."""
    return task.outcome is TaskOutcome.SUCCEEDED or task.is_tolerated
