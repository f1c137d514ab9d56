"""The pipe of a lifeline ends with the process that made it, whatever that has forked."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: In a process of its own, which has no threads but those below: a test process that is forked may have some.
BEGIN = """
import os, select, threading
from bndl.cluster import lifeline
release, released = os.pipe()[::-1]

def fork():
    child = os.fork()
    if child == 0:
        os.close(release)
        in_child()
        os.read(released, 1)  # until the parent is done
        os._exit(0)
    return child

def in_child():
    pass

def await_end():
    return select.select([reader], [], [], 20)[0] == [reader] and reader.read(1) == b""
"""

PROGRAMS = {
    "a fork": """
reader, writer = lifeline.open_lifeline()
fork()
writer.write(b"x")
print(reader.read(1))
writer.close()
print(await_end())
""",
    "a fork of a fork": """
reader, writer = lifeline.open_lifeline()
in_child = fork
fork()
writer.write(b"x")
print(reader.read(1))
writer.close()
print(await_end())
""",
    # The other thread forks when the pipe is made and not yet noted, unless it has to wait.
    "a fork meanwhile": """
make = os.pipe
forking = threading.Thread(target=fork)

def make_slowly():
    made = make()
    forking.start()
    forking.join(0.2)
    return made

os.pipe = make_slowly
reader, writer = lifeline.open_lifeline()
forking.join()
writer.write(b"x")
print(reader.read(1))
writer.close()
print(await_end())
""",
}


def run(program: str) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=40).stdout


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_fork_does_not_keep_it_open(what: str) -> None:
    assert run(PROGRAMS[what]) == "b'x'\nTrue\n"


def test_a_fork_may_use_the_number_of_the_file_again() -> None:
    program = """
reader, writer = lifeline.open_lifeline()
number = writer.fileno()
if (child := os.fork()) == 0:
    again = os.dup(0)
    writer.close()
    del writer
    os.fstat(again)
    os._exit(0 if again == number else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(program) == "0\n"
