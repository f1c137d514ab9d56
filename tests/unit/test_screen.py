"""Lines beneath what a program prints: they cost none of it, and are there only while it waits."""

from __future__ import annotations

import gc
import logging
import os
import select
import sys
import termios
from collections.abc import Iterator
from types import SimpleNamespace

import pyte
import pytest

from bndl import screen as module
from bndl.screen import INTERVAL, Screen

COLUMNS, ROWS = 61, 10


class Lines:
    """A source of lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.is_over = False

    def render(self, width: int, most: int) -> list[str]:
        return [line[:width] for line in self.lines[:most]]


class Terminal:
    """A terminal as its user sees it, with a program that prints on it and waits in virtual time."""

    def __init__(self) -> None:
        self._master, self.descriptor = os.openpty()
        termios.tcsetwinsize(self.descriptor, (ROWS, COLUMNS))
        self._display = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._display)
        self.time = 1000.0
        self.screen = Screen(self.descriptor, lambda: self.time)

    def print(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        while select.select([self._master], [], [], 0)[0]:
            self._stream.feed(os.read(self._master, 65536))
        return [line.rstrip() for line in self._display.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    def wait(self, intervals: int = 5) -> str:
        """Wait, and return what was on the screen at the end of it."""
        with self.screen.waiting() as tick:
            for _ in range(intervals):
                self.time += INTERVAL
                tick()
            return self.text

    def close(self) -> None:
        os.close(self._master)
        os.close(self.descriptor)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_lines_are_there_while_the_program_waits_only(terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    terminal.print("before\n")
    assert terminal.wait() == "before\n\n\nbar"
    assert terminal.text == "before"


@pytest.mark.parametrize("count", [1, ROWS - 1, ROWS, 3 * ROWS])
@pytest.mark.parametrize("printed", ["{}\n", "{}\nand {}\n", "({}) ", "{}%\r", "no line break "])
def test_nothing_that_is_printed_is_lost_or_changed(printed: str, count: int, terminal: Terminal) -> None:
    plain = Terminal()
    source = Lines("bar one", "bar two")
    terminal.screen.add(source)
    for number in range(count):
        text = printed.replace("{}", str(number))
        terminal.print(text)
        plain.print(text)
        shown = terminal.wait()
        assert "bar one" in shown
        assert "bar two" in shown
        assert terminal.lines[: ROWS // 2] == plain.lines[: ROWS // 2] or count >= ROWS - 4
        said = [line for line in plain.lines if line]
        assert [line for line in terminal.lines if line] == said[-len([line for line in terminal.lines if line]) :]
    terminal.print("end")
    plain.print("end")
    assert [line for line in terminal.lines if line][-3:] == [line for line in plain.lines if line][-3:]
    plain.close()


def test_another_thread_may_print_a_line_meanwhile(terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    with terminal.screen.waiting() as tick:
        for number in range(3):
            for _ in range(4):
                terminal.time += INTERVAL
                tick()
            assert terminal.lines[number : number + 3] == ["", "", "bar"]
            terminal.print(f"line {number}\n")
    assert terminal.text == "line 0\nline 1\nline 2"


def test_a_short_wait_shows_nothing_unless_there_was_something_just_now(terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    assert terminal.wait(1) == ""
    assert "bar" in terminal.wait(5)
    assert "bar" in terminal.wait(0)  # it does not flicker from result to result
    terminal.time += 10
    assert terminal.wait(0) == ""


def test_many_short_waits_are_one_long_wait(terminal: Terminal) -> None:
    """Results of quick tasks come before any single wait is long enough."""
    source = Lines("bar")
    terminal.screen.add(source)
    shown = []
    for _ in range(100):
        with terminal.screen.waiting():
            terminal.time += 0.003
            shown.append("bar" in terminal.text)
    first = shown.index(True)
    assert 0.2 <= 0.003 * (first + 1) <= 0.25
    assert sum(shown[first:]) > len(shown[first:]) / 2


def test_sources_that_are_over_or_gone_leave_nothing(terminal: Terminal) -> None:
    outer, inner, abandoned = Lines("outer"), Lines("inner"), Lines("abandoned")
    for source in (outer, inner, abandoned):
        terminal.screen.add(source)
    del source, abandoned
    gc.collect()
    assert terminal.wait().split() == ["outer", "inner"]
    inner.is_over = True
    assert terminal.wait().split() == ["outer"]
    outer.is_over = True
    assert terminal.wait() == ""


def test_a_source_that_ends_while_others_wait_is_taken_away(terminal: Terminal) -> None:
    one, two = Lines("one"), Lines("two")
    terminal.screen.add(one)
    terminal.screen.add(two)
    with terminal.screen.waiting() as tick:
        terminal.time += 1
        tick()
        assert terminal.text.split() == ["one", "two"]
        one.is_over = True
        terminal.time += 1
        tick()
        assert terminal.text.split() == ["two"]


def test_many_sources_leave_room_for_the_program(terminal: Terminal) -> None:
    sources = [Lines(f"bar {number}") for number in range(50)]
    for source in sources:
        terminal.screen.add(source)
    terminal.print("said\n")
    shown = terminal.wait().split("\n")
    assert shown[0] == "said"
    assert shown[-1].startswith("and ")
    assert len(shown) <= ROWS


@pytest.mark.parametrize("flag", [termios.ECHO, termios.ICANON])
def test_it_pauses_while_something_reads_the_terminal_in_its_own_way(flag: int, terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    modes = termios.tcgetattr(terminal.descriptor)
    modes[3] &= ~flag  # as getpass, prompts and editors do
    termios.tcsetattr(terminal.descriptor, termios.TCSANOW, modes)
    terminal.print("Password: ")
    assert terminal.wait() == "Password:"
    modes[3] |= flag
    termios.tcsetattr(terminal.descriptor, termios.TCSANOW, modes)
    assert "bar" in terminal.wait()


def test_an_exception_ends_the_wait(terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)

    def interrupted() -> None:
        with terminal.screen.waiting() as tick:
            terminal.time += 1
            tick()
            assert "bar" in terminal.text
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.text == ""


def test_log_lines_of_bndl_come_out_whole(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            terminal.print(f"{record.getMessage()}\n")

    logger = logging.getLogger("bndl.test_screen")
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=lambda: terminal.descriptor))
    monkeypatch.setenv("TERM", "xterm")
    module.find_screen()  # has bndl's loggers take the lines away
    monkeypatch.setattr(module, "_screens", [terminal.screen])
    logger.addHandler(Handler())
    source = Lines("bar")
    terminal.screen.add(source)
    with terminal.screen.waiting() as tick:
        for number in range(2):
            terminal.time += 1
            tick()
            assert "bar" in terminal.text
            logger.warning("worker %d was lost:\nits last words\nand more", number)
            tick()  # not in the same instant
            assert "bar" not in terminal.text
    assert terminal.text == "\n".join(f"worker {number} was lost:\nits last words\nand more" for number in range(2))


def test_a_terminal_that_is_gone_or_has_no_room_is_no_error(terminal: Terminal) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    termios.tcsetwinsize(terminal.descriptor, (2, 1))
    terminal.wait()
    nothing = os.open(os.devnull, os.O_RDONLY)
    screen = Screen(nothing, lambda: terminal.time)
    os.close(nothing)
    screen.add(source)
    with screen.waiting() as tick:
        terminal.time += 1
        tick()


def test_a_forked_child_leaves_the_terminal_alone(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Lines("bar")
    terminal.screen.add(source)
    with terminal.screen.waiting() as tick:
        terminal.time += 1
        tick()
        shown = terminal.text
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            terminal.screen.hide()
            tick()
        assert terminal.text == shown
    assert terminal.text == ""
