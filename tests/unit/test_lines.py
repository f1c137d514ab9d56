"""What tasks print: taken apart into lines, batched, limited, and what is dropped is counted."""

from __future__ import annotations

import logging

import pytest

from bndl.execute.lines import (
    AT_ONCE_PER_SECOND,
    CHARACTERS_PER_SECOND,
    DELAY,
    DROPPED_INTERVAL,
    LINES_PER_SECOND,
    MOST_CHARACTERS,
    MOST_IN_MESSAGE,
    MOST_LINES,
    SAVED_SECONDS,
    Limit,
    Rest,
)
from bndl.net.messages import Finished, Line, Result, Said, encode
from tests.unit.attempts import TASK, Bench

AT_ONCE = AT_ONCE_PER_SECOND
SAVED_LINES = LINES_PER_SECOND * SAVED_SECONDS


def say_at_once(bench: Bench) -> None:
    """Use up what may be sent without waiting."""
    prepared = bench.prepare()
    for _ in range(AT_ONCE):
        bench.lines.write(prepared, "stdout", "at once\n")
    assert len(bench.sent) == AT_ONCE
    bench.sent.clear()


def printed(*pieces: str) -> list[str]:
    """The lines that come of pieces that are printed."""
    bench = Bench()
    prepared = bench.prepare()
    for piece in pieces:
        bench.lines.write(prepared, "stdout", piece)
    bench.lines.end(prepared)
    bench.lines.flush()
    return bench.texts


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["one\n"], ["one"]),
        (["one", "\n"], ["one"]),
        (["one\ntwo\n"], ["one", "two"]),
        (["o", "n", "e\nt", "wo", "\n"], ["one", "two"]),
        (["\n\n"], ["", ""]),
        (["no end"], ["no end"]),
        (["one\nno end"], ["one", "no end"]),
        ([""], []),
        ([], []),
        (["windows\r\n"], ["windows"]),
        (["windows\r", "\n"], ["windows"]),
        (["10%\r20%\r100%\n"], ["100%"]),
        (["10%", "\r20%", "\r100%", "\ndone"], ["100%", "done"]),
        (["10%\r", "20%\r", "100%\r", "\n"], ["100%"]),
        (["\r10%", "\r20%"], ["20%"]),
        (["one\rtwo", " and three\n"], ["two and three"]),
        (["caf\udce9\n"], ["caf\\udce9"]),
        (["日本\n"], ["日本"]),
    ],
)
def test_what_is_printed_is_taken_apart_into_lines(pieces: list[str], lines: list[str]) -> None:
    assert printed(*pieces) == lines


def test_a_line_says_who_said_it_and_where() -> None:
    bench = Bench()
    prepared = bench.prepare(task=3)
    bench.lines.write(prepared, "stdout", "out\n")
    bench.lines.write(prepared, "stderr", "err\n")
    bench.lines.say(prepared, "my.logger", logging.ERROR, "two\nlines")
    bench.lines.flush()
    assert bench.said == [
        Line(TASK + 3, 1, "stdout", logging.INFO, "out"),
        Line(TASK + 3, 1, "stderr", logging.WARNING, "err"),
        Line(TASK + 3, 1, "my.logger", logging.ERROR, "two\nlines"),
    ]


def test_the_pieces_of_two_streams_and_of_two_attempts_are_kept_apart() -> None:
    bench = Bench()
    first, second = bench.prepare(task=1), bench.prepare(task=2)
    bench.lines.write(first, "stdout", "a")
    bench.lines.write(second, "stdout", "b")
    bench.lines.write(first, "stderr", "c")
    bench.lines.write(first, "stdout", "d\n")
    bench.lines.write(second, "stdout", "e\n")
    bench.lines.end(first)
    bench.lines.flush()
    assert [(line.task - TASK, line.text) for line in bench.said] == [(1, "ad"), (2, "be"), (1, "c")]


# Long lines


def test_a_long_line_is_cut_with_a_mark() -> None:
    (line,) = printed("x" * MOST_CHARACTERS + "yz", "y" * 998, "\n")
    assert line == "x" * MOST_CHARACTERS + "... (1,000 characters more)"
    assert printed("x" * MOST_CHARACTERS + "\n") == ["x" * MOST_CHARACTERS]


def test_a_long_line_takes_no_memory() -> None:
    rest = Rest()
    for _ in range(1000):
        rest.add("x" * MOST_CHARACTERS)
    assert len(rest._text) == MOST_CHARACTERS  # noqa: SLF001
    assert rest.take().endswith(f"... ({999 * MOST_CHARACTERS:,} characters more)")
    assert not rest
    assert rest.take() == ""


def test_what_is_logged_is_cut_too() -> None:
    bench = Bench()
    bench.lines.say(bench.prepare(), "logger", logging.INFO, "x" * 10_000)
    assert bench.texts[0].endswith(f"x... ({10_000 - MOST_CHARACTERS:,} characters more)")


# Batches


def test_the_first_lines_are_sent_at_once() -> None:
    bench = Bench()
    prepared = bench.prepare()
    for number in range(3):
        bench.lines.write(prepared, "stdout", f"{number}\n")
        assert bench.texts[-1] == f"{number}"
    assert bench.pauses == 3, "the network has its turn: it may be the last line"


def test_an_unfinished_line_is_not_sent() -> None:
    bench = Bench()
    bench.lines.write(bench.prepare(), "stdout", "not yet")
    bench.lines.flush()
    assert bench.sent == []


def test_many_lines_go_in_one_message() -> None:
    bench = Bench()
    say_at_once(bench)
    prepared = bench.prepare()
    for number in range(100):
        bench.lines.write(prepared, "stdout", f"{number}\n")
    assert bench.sent == []
    bench.time.run(DELAY)
    assert len(bench.sent) == 1
    assert bench.texts == [f"{number}" for number in range(100)]


def test_a_full_message_does_not_wait() -> None:
    bench = Bench()
    say_at_once(bench)
    prepared = bench.prepare()
    for number in range(MOST_LINES + 1):
        bench.lines.write(prepared, "stdout", f"{number}\n")
    assert [len(message.lines) for message in bench.sent if isinstance(message, Said)] == [MOST_LINES]
    for _ in range(MOST_IN_MESSAGE // MOST_CHARACTERS):
        bench.lines.write(prepared, "stdout", "x" * MOST_CHARACTERS + "\n")
    assert len(bench.sent) == 2


def test_no_message_is_large() -> None:
    bench = Bench()
    bench.lines.write(bench.prepare(), "stdout", ("x" * 1000 + "\n") * 3000)
    assert len(bench.texts) == 3000
    assert max(len(encode(message)) for message in bench.sent) < 64 << 10


def test_after_a_while_lines_are_sent_at_once_again() -> None:
    bench = Bench()
    say_at_once(bench)
    bench.time.run_until(1.0)
    bench.lines.write(bench.prepare(), "stdout", "again\n")
    assert bench.texts == ["again"]


def test_lines_go_before_results() -> None:
    bench = Bench()
    say_at_once(bench)
    prepared = bench.prepare()
    bench.lines.write(prepared, "stdout", "first this\nthen this")
    bench.lines.end(prepared)
    bench.outbox.add(Result(TASK, 1, 0, 0.0), more=False)
    assert [type(message) for message in bench.sent] == [Said, Finished]
    assert bench.texts == ["first this", "then this"]


# The limit


def test_over_the_limit_lines_are_dropped_and_counted() -> None:
    bench = Bench()
    prepared = bench.prepare()
    for number in range(SAVED_LINES + 500):
        bench.lines.write(prepared, "stdout", f"{number}\n")
    bench.lines.flush()
    assert bench.texts == [f"{number}" for number in range(SAVED_LINES)]
    assert bench.dropped == 500


def test_the_rest_of_a_large_text_is_dropped_and_counted() -> None:
    bench = Bench()
    prepared = bench.prepare()
    bench.lines.write(prepared, "stdout", "".join(f"{number}\n" for number in range(1_000_000)) + "the end")
    bench.lines.flush()
    assert len(bench.texts) == SAVED_LINES
    assert bench.dropped == 1_000_000 - SAVED_LINES
    bench.time.run_until(5.0)
    bench.lines.write(prepared, "stdout", " of it\n")
    assert bench.texts[-1] == "the end of it"


def test_characters_are_limited_as_well() -> None:
    bench = Bench()
    prepared = bench.prepare()
    count = CHARACTERS_PER_SECOND * SAVED_SECONDS // 8000
    for _ in range(count + 7):
        bench.lines.write(prepared, "stdout", "x" * 8000 + "\n")
    bench.lines.flush()
    assert (len(bench.texts), bench.dropped) == (count, 7)


def test_after_a_second_there_is_room_for_a_second() -> None:
    now = [0.0]
    limit = Limit(lambda: now[0])
    assert sum(limit.take(1) for _ in range(10_000)) == SAVED_LINES
    now[0] = 0.5
    assert not limit.take(1), "what is dropped is dropped in long runs"
    now[0] = 1.0
    assert sum(limit.take(1) for _ in range(10_000)) == LINES_PER_SECOND
    now[0] = 100.0
    assert sum(limit.take(1) for _ in range(10_000)) == SAVED_LINES


def test_the_limit_is_one_for_all_drivers() -> None:
    bench = Bench()
    other = bench.make_lines()
    prepared = bench.prepare()
    for _ in range(SAVED_LINES // 2):
        bench.lines.write(prepared, "stdout", "one\n")
        other.write(prepared, "stdout", "other\n")
    other.write(prepared, "stdout", "too much\n")
    other.flush()
    assert bench.dropped == 1


def test_a_count_of_dropped_lines_that_nothing_follows_is_sent_after_a_second() -> None:
    bench = Bench()
    bench.lines.write(bench.prepare(), "stdout", "x\n" * (SAVED_LINES + 1))
    assert len(bench.texts) == SAVED_LINES
    bench.sent.clear()
    bench.lines.write(bench.prepare(), "stdout", "x\n" * 9)
    bench.time.run_until(DROPPED_INTERVAL - 0.01)
    assert bench.sent == []
    assert bench.time.run(10.0)
    assert bench.sent == [Said([], 10)]


def test_of_what_is_dropped_all_the_time_the_count_is_sent_once_a_second() -> None:
    bench = Bench()
    bench.lines.write(bench.prepare(), "stdout", "x\n" * SAVED_LINES)
    bench.sent.clear()
    for tick in range(301):
        bench.time.run_until(tick / 100)
        bench.lines.write(bench.prepare(), "stdout", "x\n" * 20)
    bench.time.run(DROPPED_INTERVAL)
    counts = [message.dropped for message in bench.sent if isinstance(message, Said) and message.dropped]
    assert 2 <= len(counts) <= 4
    assert len(bench.texts) + sum(counts) == 301 * 20


def test_a_count_of_dropped_lines_goes_with_the_last_results_and_not_with_all() -> None:
    bench = Bench()
    bench.lines.write(bench.prepare(), "stdout", "x\n" * (SAVED_LINES + 1))
    bench.sent.clear()
    bench.lines.write(bench.prepare(), "stdout", "x\n" * 9)
    bench.time.run_until(0.01)
    bench.outbox.add(Result(TASK, 1, 0, 0.0), more=True)
    bench.time.run_until(0.02)
    bench.outbox.add(Result(TASK, 2, 0, 0.0), more=True)
    assert [type(message) for message in bench.sent] == [Finished]
    bench.outbox.add(Result(TASK, 3, 0, 0.0), more=False)
    assert [type(message) for message in bench.sent] == [Finished, Said, Finished]
    assert bench.dropped == 10
