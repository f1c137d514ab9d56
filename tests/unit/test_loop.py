"""``ThreadLoop``: order, timers, stop and crash."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TypeVar

import pytest

from bndl.loop import ThreadLoop
from tests.unit.interrupting import interrupt_everywhere

TIMEOUT = 10.0

T = TypeVar("T")


@pytest.fixture
def crashes() -> SimpleQueue[BaseException]:
    return SimpleQueue()


@pytest.fixture
def loop(crashes: SimpleQueue[BaseException]) -> Iterator[ThreadLoop]:
    loop = ThreadLoop("test loop", crashes.put)
    loop.start()
    yield loop
    assert loop.stop(TIMEOUT), "the loop did not end"


def on_loop(loop: ThreadLoop, function: Callable[[], T]) -> T:
    result: SimpleQueue[T] = SimpleQueue()
    loop.post(lambda: result.put(function()))
    return result.get(timeout=TIMEOUT)


def test_callbacks_run_in_the_order_they_were_posted_in(loop: ThreadLoop) -> None:
    ran: SimpleQueue[int] = SimpleQueue()
    for number in range(1000):
        loop.post(ran.put, number)
    assert [ran.get(timeout=TIMEOUT) for _ in range(1000)] == list(range(1000))


def test_callbacks_of_many_threads_run_one_at_a_time_on_the_loops_thread(loop: ThreadLoop) -> None:
    running, done = [0], SimpleQueue[tuple[int, bool]]()

    def callback() -> None:
        running[0] += 1
        done.put((running[0], loop.is_current()))
        running[0] -= 1

    def post_many() -> None:
        for _ in range(100):
            loop.post(callback)

    threads = [threading.Thread(target=post_many) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert {done.get(timeout=TIMEOUT) for _ in range(500)} == {(1, True)}
    for thread in threads:
        thread.join(TIMEOUT)
    assert not loop.is_current()


def test_timers_run_in_the_order_of_their_times_and_not_before(loop: ThreadLoop) -> None:
    ran: SimpleQueue[tuple[str, float]] = SimpleQueue()
    start = time.monotonic()
    on_loop(loop, lambda: loop.call_later(0.05, lambda: ran.put(("late", loop.now()))))
    on_loop(loop, lambda: loop.call_later(0.01, lambda: ran.put(("early", loop.now()))))
    on_loop(loop, lambda: loop.call_later(0.0, lambda: ran.put(("now", loop.now()))))
    events = [ran.get(timeout=TIMEOUT) for _ in range(3)]
    assert [name for name, _ in events] == ["now", "early", "late"]
    assert events[1][1] - start >= 0.01
    assert events[2][1] - start >= 0.05


def test_a_cancelled_timer_does_not_run(loop: ThreadLoop) -> None:
    ran: SimpleQueue[str] = SimpleQueue()

    def schedule() -> None:
        timer = loop.call_later(0.005, lambda: ran.put("cancelled"))
        loop.call_later(0.01, lambda: ran.put("kept"))
        timer.cancel()
        timer.cancel()

    loop.post(schedule)
    assert ran.get(timeout=TIMEOUT) == "kept"
    assert ran.empty()


def test_a_timer_that_is_due_runs_although_the_queue_is_never_empty(loop: ThreadLoop) -> None:
    due = threading.Event()

    def again() -> None:
        if not due.is_set():
            loop.post(again)

    on_loop(loop, lambda: loop.call_later(0.005, due.set))
    loop.post(again)
    assert due.wait(TIMEOUT), "the timer did not run"


def test_stop_runs_what_was_posted_before_and_nothing_after(crashes: SimpleQueue[BaseException]) -> None:
    ran: SimpleQueue[str] = SimpleQueue()
    loop = ThreadLoop("stopping", crashes.put)
    loop.start()
    loop.post(ran.put, "before")
    assert loop.stop(TIMEOUT)
    loop.post(ran.put, "after")
    assert ran.get(timeout=TIMEOUT) == "before"
    assert ran.empty()
    assert loop.stop(TIMEOUT), "a second stop must be harmless"


def test_stop_on_the_loop_itself_does_not_wait(loop: ThreadLoop) -> None:
    assert on_loop(loop, loop.stop) is False
    assert loop.stop(TIMEOUT)


def test_stop_says_so_if_a_callback_does_not_return(crashes: SimpleQueue[BaseException]) -> None:
    release = threading.Event()
    loop = ThreadLoop("stuck", crashes.put)
    loop.start()
    loop.post(release.wait, TIMEOUT)
    assert not loop.stop(timeout=0.01)
    release.set()
    assert loop.stop(TIMEOUT)


def test_a_callback_that_raises_ends_the_loop_and_is_reported(
    loop: ThreadLoop, crashes: SimpleQueue[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    ran: SimpleQueue[str] = SimpleQueue()
    loop.post(int, "not a number")
    loop.post(ran.put, "after")
    assert isinstance(crashes.get(timeout=TIMEOUT), ValueError)
    assert loop.stop(TIMEOUT)
    assert ran.empty()
    assert "the loop test loop crashed" in caplog.text


def test_a_timer_that_raises_ends_the_loop_and_is_reported(
    loop: ThreadLoop, crashes: SimpleQueue[BaseException]
) -> None:
    on_loop(loop, lambda: loop.call_later(0.0, lambda: int("not a number")))
    assert isinstance(crashes.get(timeout=TIMEOUT), ValueError)


def test_what_is_handed_over_runs_at_once_if_there_is_nothing_else_to_do(loop: ThreadLoop) -> None:
    threads: list[str] = []
    loop.run_or_post(lambda: threads.append(threading.current_thread().name))
    assert threads == [threading.current_thread().name]


def test_what_is_handed_over_waits_for_its_turn(loop: ThreadLoop) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        begun.set()
        go_on.wait(TIMEOUT)
        order.append("first")

    def second() -> None:
        order.append(threading.current_thread().name)
        done.set()

    loop.post(first)
    assert begun.wait(TIMEOUT)
    loop.run_or_post(second)
    assert order == []
    go_on.set()
    assert done.wait(TIMEOUT)
    assert order == ["first", "test loop"]


def test_a_timer_that_is_set_by_what_was_handed_over_runs(loop: ThreadLoop) -> None:
    ran = threading.Event()
    loop.run_or_post(lambda: loop.call_later(0.001, ran.set))
    assert ran.wait(TIMEOUT)


def test_nothing_runs_after_what_was_handed_over_raised(loop: ThreadLoop, crashes: SimpleQueue[BaseException]) -> None:
    ran: list[int] = []

    def fail() -> None:
        loop.post(lambda: ran.append(1))
        raise ValueError("broken")

    loop.run_or_post(fail)
    assert isinstance(crashes.get(timeout=TIMEOUT), ValueError)
    assert loop.stop(TIMEOUT)
    assert ran == []


def test_an_interrupt_of_who_posts_does_no_harm(loop: ThreadLoop) -> None:
    ran: list[int] = []
    places = 0
    for _ in interrupt_everywhere(lambda: loop.post(ran.append, 1)):
        places += 1
        assert on_loop(loop, lambda: "alive") == "alive"
    assert places > 0
    assert len(ran) <= places + 1


class Posting:
    """Garbage that has a reference to itself, and whose finalizer posts."""

    def __init__(self, post: Callable[[], None]) -> None:
        self.post = post
        self.itself = self

    def __del__(self) -> None:
        self.post()


def test_a_collection_of_garbage_may_post_while_something_is_posted(loop: ThreadLoop) -> None:
    collected: SimpleQueue[int] = SimpleQueue()
    done = threading.Event()

    def post_much() -> None:
        # A collection begins with the first object that is made, with the second, and so on.
        for objects in range(1, 60):
            gc.disable()
            gc.collect()
            Posting(lambda: loop.post(collected.put, 1))
            gc.set_threshold(objects)
            gc.enable()
            loop.post(list, ())
        done.set()

    thresholds = gc.get_threshold()
    gc.freeze()  # what other tests left behind would make each collection take long
    try:
        threading.Thread(target=post_much, daemon=True).start()
        assert done.wait(TIMEOUT), "the thread waits for itself"
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        gc.enable()
    gc.collect()
    assert on_loop(loop, collected.qsize) == 59


def test_what_is_handed_over_from_many_threads_runs_one_at_a_time_and_in_the_order_of_each(loop: ThreadLoop) -> None:
    running, most, finished = [0], [0], SimpleQueue[int]()
    seen: dict[int, list[int]] = {thread: [] for thread in range(4)}

    def callback(thread: int, number: int) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        seen[thread].append(number)
        running[0] -= 1

    def hand_over(thread: int) -> None:
        for number in range(2000):
            loop.run_or_post(callback, thread, number)
            if number % 7 == 0:
                loop.post(int)
        loop.run_or_post(finished.put, thread)

    threads = [threading.Thread(target=hand_over, args=(thread,)) for thread in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert {finished.get(timeout=TIMEOUT) for _ in threads} == set(seen)
    assert {thread: len(numbers) for thread, numbers in seen.items()} == dict.fromkeys(seen, 2000)
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert most == [1]


def test_cancelled_timers_do_not_pile_up_behind_one_that_is_far_away(loop: ThreadLoop) -> None:
    def schedule() -> int:
        far = loop.call_later(1000.0, int)
        for _ in range(10_000):
            loop.call_later(2000.0, int).cancel()
        held = len(loop._timers)  # noqa: SLF001 - what piles up cannot be seen from outside
        far.cancel()
        return held

    assert on_loop(loop, schedule) < 200


def test_nothing_is_kept_of_what_is_posted_after_the_end(crashes: SimpleQueue[BaseException]) -> None:
    loop = ThreadLoop("over", crashes.put)
    loop.start()
    assert loop.stop(TIMEOUT)
    posted = Posting(lambda: None)
    gone = weakref.ref(posted)
    for hand_in in (loop.post, loop.run_or_post):
        hand_in(print, posted)
    del posted
    gc.collect()
    assert gone() is None
