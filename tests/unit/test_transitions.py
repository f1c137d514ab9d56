"""Every cell of the table of transitions, allowed and forbidden."""

from __future__ import annotations

import re
from itertools import product

import pytest

from bndl.errors import ForbiddenTransition
from bndl.schedule import Scheduler
from bndl.schedule.transitions import TRANSITIONS, Cause, State, diagram
from tests.unit.scheduling import Scheduling, succeeded

#: What is to be: a row for each cause, a column for each state, in the cell the state after it. A dot: forbidden.
TABLE = """
    cause                    new      blocked  ready    pending  done

    added                    ready    .        .        .        .
    added, inputs missing    blocked  .        .        .        .
    inputs are there         .        ready    .        .        .
    launched                 .        .        pending  .        .
    succeeded                .        .        .        done     .
    failed                   .        .        .        done     .
    failed, tried again      .        .        .        ready    .
    failed, tried again later  .      .        .        blocked  .
    taken back               .        .        .        ready    .
    worker lost              .        .        .        ready    .
    inputs lost              .        .        blocked  blocked  .
    result lost              .        .        .        .        ready
    result and inputs lost   .        .        .        .        blocked
    cancelled                .        done     done     done     .
    no worker may run it     .        .        done     .        .
"""

HEAD, *ROWS = [re.split(r"  +", line.strip()) for line in TABLE.splitlines() if line.strip()]
EXPECTED = {
    (state, cause): after
    for cause, *cells in ROWS
    for state, after in zip(HEAD[1:], cells, strict=True)
    if after != "."
}


def scheduler_with_task_in(state: str) -> Scheduler:
    """A scheduler in which task 1 is in a state, brought there by events."""
    scheduling = Scheduling()
    first, second = scheduling.stage(tasks=1, kept=True), scheduling.stage(tasks=1)
    if state == "blocked":
        first, second = second, first  # task 1 is behind the barrier
    scheduling.submit(first, second)
    if state in {"pending", "done"}:
        scheduling.join("a")
    if state == "done":
        scheduling.finish("a", succeeded(1, stored=True))
    if state == "new":
        # What ``move`` sees when a task is added, and no event leaves behind.
        scheduling.scheduler.tasks[1].state = None
    return scheduling.scheduler


def test_the_table_has_every_state_and_every_cause() -> None:
    assert HEAD[1:] == ["new", *State]
    assert [cause for cause, *_ in ROWS] == list(Cause)


def test_the_table_is_what_the_scheduler_uses() -> None:
    assert {(str(state or "new"), str(cause)): str(after) for (state, cause), after in TRANSITIONS.items()} == EXPECTED


@pytest.mark.parametrize(("state", "cause"), [*product(HEAD[1:], Cause)])
def test_cell(state: str, cause: Cause) -> None:
    scheduler = scheduler_with_task_in(state)
    task = scheduler.tasks[1]
    before = task.state
    assert str(before or "new") == state
    if (state, cause) in EXPECTED:
        scheduler.move(task, cause)
        assert task.state == EXPECTED[state, cause]
    else:
        with pytest.raises(ForbiddenTransition, match=rf"^task 1 is {state}: .* is forbidden") as raised:
            scheduler.move(task, cause)
        assert task.state is before
        assert repr(cause) in str(raised.value)


def test_a_forbidden_transition_tells_the_story_of_the_task() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(tasks=2))
    scheduling.now = 1.5
    scheduling.join("a", 2)
    with pytest.raises(ForbiddenTransition) as raised:
        scheduling.scheduler.move(scheduling.scheduler.tasks[2], Cause.UNBLOCKED)
    assert raised.value.story == [
        "0.000000 new -> ready: added (attempt 0)",
        "1.500000 ready -> pending: launched (attempt 1 on a)",
    ]
    lines = str(raised.value).splitlines()
    assert lines[0].endswith("This is a bug in bndl, please report it.")
    assert [line.strip() for line in lines[1:]] == raised.value.story


def test_the_diagram_is_the_table() -> None:
    first, *arrows, last = diagram().splitlines()
    assert first == "stateDiagram-v2"
    assert last.strip() == "done --> [*]: the job is over"
    drawn = {}
    for arrow in arrows:
        match = re.fullmatch(r" +(\S+) --> (\S+): (.+)", arrow)
        assert match, arrow
        drawn[match[1].replace("[*]", "new"), match[3]] = match[2]
    assert drawn == EXPECTED
    assert len(arrows) == len(EXPECTED)
