"""What the driver keeps of figures is bounded, and counted right."""

from itertools import count

import pytest

from bndl.profiling.ledger import Ledger
from bndl.profiling.wire import AttemptNotes, CallRow, SampledStacks, TaskKey, Told, encode

SESSION = 7
INFO = ("app.py", 1, "work", "app", "/src/app.py")


def key(index: int) -> TaskKey:
    return TaskKey("job", "stage", 1, index, 1)


def traced(index: int, functions: int) -> bytes:
    """An attempt in which each function calls the next one."""
    rows = [
        CallRow(number, 1, 1, 0.1, 0.1, [(number + 1, 1, 1, 0.1, 0.1)], ("app.py", number, *INFO[2:]))
        for number in range(functions)
    ]
    return encode(AttemptNotes(SESSION, 5, key(index), rows))


def sampled(index: int) -> SampledStacks:
    return SampledStacks(key(index), [INFO], [([0], 0.01)])


def told(*samples: SampledStacks) -> Told[SampledStacks]:
    """Told by a node that begins anew each time."""
    return Told(SESSION, next(epochs), [(1, samples)])


epochs = count(1)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.begin(SESSION)
    return made


def places(ledger: Ledger) -> list[int]:
    return [part.place.key.index for part in ledger.parts()]


def test_attempts_that_are_added_up_are_noted_for_who_asks_meanwhile(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_ATTEMPTS", 1)
    ledger.take_note("w.1", traced(0, 1))
    ledger.take_note("w.1", traced(1, 1))
    assert places(ledger) == [0, -1]
    with ledger.noting_folded() as one:
        ledger.take_note("w.1", traced(2, 1))
        with ledger.noting_folded() as two:
            ledger.take_note("w.1", traced(3, 1))
            ledger.parts()
        ledger.take_note("w.1", traced(4, 1))
        ledger.parts()
    ledger.take_note("w.1", traced(5, 1))
    ledger.parts()
    assert {place.key.index for place in one} == {2, 3, 4}
    assert {place.key.index for place in two} == {2, 3}


def test_attempts_with_many_figures_are_added_up_sooner(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_FIGURES", 30)
    for index in range(5):
        ledger.take_note("w.1", traced(index, 10))  # 10 functions and 9 calls
    assert places(ledger) == [0, 1, -1]
    assert (ledger.attempts, ledger.folded) == (5, 3)
    ledger.begin(SESSION)
    ledger.take_note("w.1", traced(0, 10))
    assert (places(ledger), ledger.folded) == ([0], 0)


def test_stages_and_what_is_outside_of_tasks_do_not_count(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_FIGURES", 1)
    stage = SampledStacks(TaskKey("job", "stage", 1), [INFO], [([0], 0.01)])
    ledger.add_samples("w.1", told(stage, SampledStacks(TaskKey(), [INFO], [([0], 0.01)])))
    ledger.add_samples("w.1", told(sampled(0), sampled(1)))
    assert sorted(places(ledger)) == [-1, -1, 0]
    assert ledger.folded == 1


def test_an_attempt_that_is_told_of_several_times_is_one(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.ledger.MOST_ATTEMPTS", 1)
    for _ in range(3):
        ledger.add_samples("w.1", told(sampled(0), sampled(1), sampled(2)))
        ledger.take_note("w.1", encode(AttemptNotes(SESSION, 0, key(1), None, [sampled(1)])))
    assert ledger.parts()[-1].seconds == pytest.approx(0.09)
    assert ledger.folded == 2
    monkeypatch.setattr("bndl.profiling.ledger.MOST_COUNTED", 2)
    ledger.add_samples("w.1", told(sampled(3)))
    assert ledger.folded == 2
