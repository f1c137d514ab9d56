"""Bars of progress on a real terminal, in a real notebook's kernel, and where there is neither."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow

TIMEOUT = 50.0
BAR = "\u2501"


class Session:
    """A program on a terminal, and its user.

    Attributes:
        frames: all that was on the screen.
    """

    def __init__(self, *arguments: str, stdout: Path | None = None) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (30, 110))
        display = pyte.HistoryScreen(110, 30, history=2000)
        self._display = display
        self._stream = pyte.ByteStream(display)
        self._deadline = time.monotonic() + TIMEOUT
        self.frames: list[str] = []
        with open(stdout or os.devnull, "wb") as file:  # noqa: PTH123 - either of them
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=slave,
                stdout=slave if stdout is None else file,
                stderr=slave,
                # Buffered, so that a line is written as one, and not in between lines of tasks.
                env={**os.environ, "TERM": "xterm-256color", "PYTHON_BASIC_REPL": "1", "PYTHONUNBUFFERED": ""},
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread runs
            )
        os.close(slave)

    def read(self, seconds: float) -> bool:
        """Look at the terminal until it was quiet for so many seconds; whether the program is there still."""
        while select.select([self._master], [], [], seconds)[0]:
            assert time.monotonic() < self._deadline, self.text
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the last one that had it open is gone
                return False
            if not data:
                return False
            self._stream.feed(data)
            self.frames.append(self.text)
        return True

    @property
    def text(self) -> str:
        """What is on the screen now."""
        return "\n".join(line.rstrip() for line in self._display.display).rstrip("\n")

    @property
    def line(self) -> str:
        """The line that the cursor is in."""
        return str(self._display.display[self._display.cursor.y]).rstrip()

    def expect(self, prompt: str) -> str:
        """Wait for a prompt, and look at it for a while. Nothing may come beneath it."""
        while self.line != prompt:
            assert time.monotonic() < self._deadline, self.text
            assert self.read(0.05), self.text
        self.read(0.5)  # longer than until a bar would be shown
        assert self.text.split("\n")[-1] == prompt
        assert BAR not in self.text
        return self.text

    def type(self, text: str) -> None:
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> list[str]:
        """Wait for the program's end; all lines that are left of it."""
        while self.read(0.5):
            assert time.monotonic() < self._deadline, self.text
        assert self.process.wait(TIMEOUT) == 0, self.text
        above = ["".join(cell.data for _, cell in sorted(line.items())) for line in self._display.history.top]
        return [line for line in (each.rstrip() for each in [*above, *self.text.split("\n")]) if line]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)
        os.close(self._master)


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    started: list[Session] = []
    yield started
    for session in started:
        session.close()


SCRIPT = """
import time, bndl

def work(x):
    time.sleep(0.03)
    if x % 4 == 0:
        print("said", x)
    return x

with bndl.connect(workers=2) as ctx:
    for result in ctx.map(work, range(20)):
        print("result", result)
    for pair in zip(ctx.map(work, range(1, 24, 4)), ctx.map(work, range(1, 24, 4))):
        print("pair", *pair)
    for outer in ctx.map(work, [1, 2]):
        print("outer", outer, sum(ctx.map(work, [1] * 20)))
    abandoned = ctx.map(work, range(1, 100, 4))
    print("first", next(abandoned))
    del abandoned
    never_begun = ctx.map(work, range(1, 100, 4))
    for result in ctx.map(work, range(1, 40, 4), ordered=False):
        print(".", end="", flush=True)
    print()
    job = bndl.Job("job")
    sums = job.stage(work, range(1, 240, 4), name="ones")
    job.stage(sum, [sums.results], name="total")
    print("total", ctx.run(job))
"""
PRINTED = [
    *(f"result {number}" for number in range(20)),
    *(f"pair {number} {number}" for number in range(1, 24, 4)),
    "outer 1 20",
    "outer 2 20",
    "first 1",
    "." * 10,
    f"total [{sum(range(1, 240, 4))}]",
]


@pytest.mark.parametrize("redirected", [True, False])
def test_bars_cost_no_output(redirected: bool, tmp_path: Path, sessions: list[Session]) -> None:  # noqa: FBT001 - by name
    script, out = tmp_path / "script.py", tmp_path / "out.txt"
    script.write_text(SCRIPT)
    session = Session(str(script), stdout=out if redirected else None)
    sessions.append(session)
    left = session.end()
    said = [line for line in left if "] said " in line]
    assert [line for line in left if line not in said] == ([] if redirected else PRINTED)
    assert sorted(int(line.rpartition(" ")[2]) for line in said) == [0, 4, 8, 12, 16]
    if redirected:
        assert out.read_text().splitlines() == PRINTED
    bars = {line for frame in session.frames for line in frame.split("\n") if BAR in line}
    assert any(" left" in line and "/s" in line for line in bars)
    for name in ("work", "ones"):
        assert any(f" {name} " in line for line in bars)
    at_once = max(sum(BAR in line for line in frame.split("\n")) for frame in session.frames)
    assert at_once == 2  # nested and zipped ones, but none that is over


def test_prompts_are_usable_while_a_map_is_under_way(sessions: list[Session]) -> None:
    program = (
        "import sys, bndl, getpass, time; ctx = bndl.connect(workers=1); sys.ps1 = 'py> '\n"
        "it = ctx.map(lambda x: time.sleep(0.4) or x, range(1000))"
    )
    session = Session("-q", "-i", "-c", program)
    sessions.append(session)
    dialogue = [
        ("py>", "next(it), next(it)"),
        ("py>", "input('name? ')"),
        ("name?", "ada"),
        ("py>", "getpass.getpass('secret? ')"),
        ("secret?", "hush"),
        ("py>", "next(it); breakpoint(); next(it)"),
        ("(Pdb)", "p 6 * 7"),
        ("(Pdb)", "c"),
        ("py>", "it.close()"),
        ("py>", "exit()"),
    ]
    for prompt, answer in dialogue:
        session.expect(prompt)
        session.type(answer)
    left = "\n".join(session.end())
    for answer in ("(0, 1)", "'ada'", "'hush'", "42"):
        assert answer in left
    assert BAR not in left
    assert any(BAR in frame for frame in session.frames)


def test_where_there_is_no_terminal_there_are_lines_of_text() -> None:
    program = """
import bndl
with bndl.connect(workers=1, progress=True) as ctx:
    print(list(ctx.map(abs, range(3))))
    job = bndl.Job("job")
    job.stage(abs, range(5), name="[/bold] five\\x1b[2J")
    ctx.run(job)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2]\n")
    first, second = done.stderr.splitlines()
    assert first.startswith("abs: 3 of 3, ")
    assert second.startswith("[/bold] five\\x1b[2J: 5 of 5, ")


@pytest.fixture
def kernel() -> Iterator[Any]:
    """Of a notebook."""
    manager, client = start_new_kernel(startup_timeout=TIMEOUT)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=False)


def run(kernel: Any, code: str) -> list[tuple[str, Any]]:
    """All that a cell shows."""
    shown: list[tuple[str, Any]] = []
    kernel.execute_interactive(
        code, timeout=TIMEOUT, output_hook=lambda message: shown.append((message["msg_type"], message["content"]))
    )
    return [(kind, content) for kind, content in shown if kind not in ("status", "execute_input")]


def test_a_cell_of_a_notebook_shows_bars_and_the_report(kernel: Any) -> None:
    code = """
import bndl, time
ctx = bndl.connect(workers=1)
for result in ctx.map(lambda x: time.sleep(0.05) or x, range(20)):
    print(result)
"""
    shown = run(kernel, code)
    assert {kind for kind, _ in shown} == {"stream", "display_data", "update_display_data"}, shown
    output = "".join(content["text"] for kind, content in shown if kind == "stream")
    assert output.split() == [str(number) for number in range(20)]
    bars = [content for kind, content in shown if kind != "stream"]
    assert len({content["transient"]["display_id"] for content in bars}) == 1
    pages = [content["data"]["text/html"] for content in bars]
    assert all("<progress max='20' value=" in page and "&lt;lambda&gt;" in page for page in pages[:-1])
    assert pages[-1] == ""
    shown = run(kernel, "job = bndl.Job(); job.stage(abs, [-1]); ctx.run(job); job.report()")
    (report,) = [content for kind, content in shown if kind == "execute_result"]  # there may have been bars, too
    assert "<table>" in report["data"]["text/html"]
    assert [kind for kind, _ in run(kernel, "job.report()")] == ["execute_result"]
    shown = run(kernel, "def fail():\n    raise ValueError('no')\nctx.submit(fail).result()")
    (traceback,) = [content["traceback"] for kind, content in shown if kind == "error"]
    assert any(line.endswith("ctx.submit(fail).result()") for line in traceback)
    assert not any("concurrent" in line for line in traceback)
    assert run(kernel, "ctx.stop()") == []
