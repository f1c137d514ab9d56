"""The sampler inside of the process, and the choice of one."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bndl.errors import ProfilerUnavailable
from bndl.profiling import pyspy, sampling
from bndl.profiling.profile import Part, Place, add_samples
from bndl.profiling.sampling import ThreadSampler, make_sampler
from bndl.profiling.stats import CpuStats, Price
from bndl.profiling.wire import OUTSIDE, SampledStacks, TaskKey

KEY = TaskKey("job", "stage", 1, 0, 1)
STAGE = TaskKey("job", "stage", 1)


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(500))


def burn_until_seen(sampler: ThreadSampler) -> None:
    """Until a look began and ended in here: the one that ends next may have begun before."""
    for _ in range(2):
        before = sampler.seconds
        while sampler.seconds == before:
            burn(0.001)


def burn_between_looks(sampler: ThreadSampler, seconds: float) -> None:
    burn_until_seen(sampler)
    burn(seconds)
    burn_until_seen(sampler)


@pytest.fixture
def sampler() -> Iterator[ThreadSampler]:
    made = ThreadSampler(0.002)
    yield made
    made.stop()


def seconds_in(samples: list[SampledStacks], key: TaskKey, name: str) -> float:
    return sum(
        seconds
        for each in samples
        if each.key == key
        for stack, seconds in each.stacks
        if any(each.functions[position][2] == name for position in stack)
    )


def test_stacks_weigh_what_their_threads_took_of_the_processor(sampler: ThreadSampler) -> None:
    waiting = threading.Event()
    idle = threading.Thread(target=waiting.wait, args=(30,))
    idle.start()
    began = time.thread_time()
    sampler.run(KEY, lambda: burn_between_looks(sampler, 0.5))
    burned = time.thread_time() - began
    samples = sampler.take()
    waiting.set()
    idle.join(10)
    assert 0.5 <= seconds_in(samples, KEY, "burn_between_looks") < burned + 0.1
    assert seconds_in(samples, OUTSIDE, "burn") < 0.05
    assert seconds_in(samples, OUTSIDE, "Event.wait") < 0.05
    assert sampler.seconds > 0


def test_what_was_taken_is_gone(sampler: ThreadSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.sampling._REPORT_INTERVAL", 1000.0)
    sampler.run(KEY, lambda: burn_between_looks(sampler, 0.05))
    assert seconds_in(sampler.take(), KEY, "burn") > 0
    assert seconds_in(sampler.take(), KEY, "burn") == 0
    assert sampler.take_now_and_then() == ()  # the last time was a moment ago


def test_stacks_are_bounded(sampler: ThreadSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bndl.profiling.sampling._MOST_STACKS", 0)
    sampler.take()  # from before it was bounded
    sampler.run(KEY, lambda: burn_between_looks(sampler, 0.05))
    stacks = [stack for each in sampler.take() for stack, _ in each.stacks]
    assert stacks
    assert {len(stack) for stack in stacks} == {1}


def test_py_spy_is_for_functions_of_c(monkeypatch: pytest.MonkeyPatch) -> None:
    made, remark = make_sampler("auto", 0.01, native=False)
    made.stop()
    assert (made.name, remark) == ("in-process sampler", "")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    made, remark = make_sampler("auto", 0.01, native=True)
    made.stop()
    assert made.name == "in-process sampler"
    assert remark == "py-spy is not installed here: pip install 'bndl[sampling]'."
    with pytest.raises(ProfilerUnavailable):
        make_sampler("py-spy", 0.01, native=True)


def test_py_spy_says_why_it_cannot_attach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyspy, "_find", lambda: "/bin/false")
    with pytest.raises(ProfilerUnavailable, match="py-spy cannot attach here: no answer"):
        make_sampler("py-spy", 0.01, native=False)


def test_deep_stacks_of_py_spy_keep_their_innermost_frames_and_fit_into_a_page(tmp_path: Path) -> None:
    frames = [f"f{number} (/src/app.py:{number + 1})" for number in range(600)]
    (samples,) = pyspy.parse_raw(f"bndl-task-7 (<bndl>:1);{';'.join(frames)} 3\n", {7: KEY}.__getitem__, 0.01)
    assert samples.key == KEY
    assert [name for _, _, name, _, _ in samples.functions] == [f"f{number}" for number in range(400, 600)]
    part = Part(Place("w.1", KEY))
    add_samples(part, samples)
    path = CpuStats([part], "sampling", "cpu", Price()).save(tmp_path / "deep.html")
    assert "f599" in path.read_text()


def attempt(index: int, number: int = 1) -> TaskKey:
    return TaskKey("job", "stage", number, index, 1)


def test_py_spy_tells_so_many_attempts_apart_and_further_ones_by_their_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyspy, "_MOST_ATTEMPTS", 2)
    marks = pyspy.Marks()
    first, second, third, fourth = (marks.begin(attempt(index)) for index in range(4))
    assert [marks.key(number) for number in (first, second, third)] == [attempt(0), attempt(1), STAGE]
    assert fourth == third
    for number in range(2, 100):  # of stages as well
        marks.end(marks.begin(attempt(0, number)))
    assert len(marks) == 4
    assert marks.key(marks.begin(attempt(0, 100))) == OUTSIDE


def test_py_spy_forgets_attempts_that_it_has_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyspy, "_MOST_ATTEMPTS", 2)
    marks = pyspy.Marks()
    running = [marks.begin(attempt(index)) for index in range(2)]
    shared = marks.begin(attempt(2))
    marks.end(shared)
    retired = marks.retire()
    assert retired == [shared]
    later = marks.begin(attempt(3))  # while what was seen is told: another number, which is not forgotten
    marks.end(later)
    assert marks.key(shared) == marks.key(later) == STAGE
    marks.forget(retired)
    assert [marks.key(number) for number in (*running, shared, later)] == [attempt(0), attempt(1), OUTSIDE, STAGE]
    for number in running:
        marks.end(number)
    marks.forget(marks.retire())
    assert len(marks) == 0


def hold_the_lock() -> None:
    """A few milliseconds in which the interpreter's lock is not released unless another thread asks for it."""
    end = time.thread_time() + 0.004
    while time.thread_time() < end:
        pass


@pytest.fixture
def blind() -> Iterator[ThreadSampler]:
    """A sampler that looks only when it is told to."""
    made = ThreadSampler(1000.0)
    look_once(made)  # to know what threads took before
    made.clear()
    yield made
    made.stop()


def look_once(sampler: ThreadSampler) -> None:
    looking = threading.Thread(target=sampler.look)
    looking.start()
    looking.join(30)


def run_unseen(sampler: ThreadSampler, key: TaskKey) -> float:
    began = time.thread_time()
    sampler.run(key, hold_the_lock)
    return time.thread_time() - began


def seconds_of_stages(samples: list[SampledStacks]) -> float:
    return sum(seconds for each in samples if each.key.job for _, seconds in each.stacks)


def test_what_no_look_saw_of_a_stage_is_given_to_what_the_next_one_sees(blind: ThreadSampler) -> None:
    took = sum(run_unseen(blind, KEY) for _ in range(20))
    blind.run(KEY, lambda: look_once(blind))
    samples = blind.take()
    assert seconds_in(samples, STAGE, "look_once") == pytest.approx(took, rel=0.05)
    assert 0 < seconds_in(samples, KEY, "look_once") < 0.01


def test_a_look_gives_an_attempt_nothing_of_what_was_before_it(blind: ThreadSampler) -> None:
    def burn_and_look() -> None:
        burn(0.02)
        look_once(blind)

    burn(0.2)
    blind.run(KEY, burn_and_look)
    samples = blind.take()
    assert 0.02 <= seconds_of_stages(samples) < 0.1
    assert seconds_in(samples, OUTSIDE, "test_a_look_gives_an_attempt_nothing_of_what_was_before_it") >= 0.2
    assert seconds_in(samples, OUTSIDE, "burn") == 0  # that is where the attempt was


def test_attempts_on_threads_that_no_look_has_seen_count_as_well(blind: ThreadSampler) -> None:
    took = []
    for _ in range(3):  # which have one identifier, most likely
        fresh = threading.Thread(target=lambda: took.append(run_unseen(blind, KEY)))
        fresh.start()
        fresh.join(30)
        look_once(blind)
    assert seconds_of_stages(blind.take()) == pytest.approx(sum(took), rel=0.1)


def test_what_no_look_saw_waits_for_one_until_all_is_wanted(
    blind: ThreadSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_REPORT_INTERVAL", 0.0)
    took = run_unseen(blind, KEY)
    assert seconds_of_stages(list(blind.take_now_and_then())) == 0
    samples = blind.take()
    assert seconds_of_stages(samples) == pytest.approx(took, rel=0.2)
    assert seconds_in(samples, STAGE, "run_unseen") > 0  # where it is called from is known
    assert seconds_of_stages(blind.take()) == 0


def test_many_stages_lose_nothing(blind: ThreadSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_MOST_STAGES", 2)
    took = sum(run_unseen(blind, TaskKey("job", "stage", number, 0, 1)) for number in range(10))
    samples = blind.take()
    assert {each.key.number for each in samples if each.key.job} == set(range(10))
    assert seconds_of_stages(samples) == pytest.approx(took, rel=0.05)


def test_stages_have_what_their_short_tasks_took(sampler: ThreadSampler) -> None:
    burn_until_seen(sampler)
    in_tasks = 0.0
    while in_tasks < 0.4:
        began = time.thread_time()
        sampler.run(KEY, hold_the_lock)
        in_tasks += time.thread_time() - began
        os.sched_yield()  # releases the lock, as sending a result does
    assert seconds_of_stages(sampler.take()) == pytest.approx(in_tasks, rel=0.05)


def test_with_too_many_stacks_it_is_only_told_where_a_thread_is(
    sampler: ThreadSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_MOST_STACKS", 0)
    sampler.clear()
    sampler.run(KEY, lambda: burn_between_looks(sampler, 0.1))
    stacks = [each for each in sampler.take() if each.key.job]
    names = {each.functions[position][2] for each in stacks for stack, _ in each.stacks for position in stack}
    assert {len(stack) for each in stacks for stack, _ in each.stacks} == {1}
    assert "burn" in names
    assert "<module>" not in names
