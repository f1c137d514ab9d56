"""However a driver ends, nothing that it started is left: no worker, and nothing that its tasks started."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

#: Seconds that all may take to be gone.
PATIENCE = 10.0

BEGIN = """
import itertools, os, select, signal, subprocess, sys, time
import bndl
# A process that was started in the background of a shell ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
ctx = bndl.connect(workers=2, progress=False)
ctx.await_workers(2)

def nap(marker):
    open(marker, "w").close()
    time.sleep(600)

def hold(marker):
    open(marker, "w").close()
    max(itertools.repeat(0, 10**13))  # in C, without ever letting go of the GIL

def spawn(marker):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(marker, "w").close()
    child.wait()

def start(function):
    for index in (0, 1):
        ctx.submit(function, f"{sys.argv[1]}/{index}")
    while len(os.listdir(sys.argv[1])) < 2:
        time.sleep(0.01)
"""

READY = """
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    pass  # Python sees a signal that comes just before a wait when that is over
sys.stdin.readline()
"""

#: A fork that lives on, as those of a pool of multiprocessing do.
FORK = """
if os.fork() == 0:
    os.closerange(0, 3)
    signal.pause()
"""

WORK = {
    "idle": "",
    "tasks that sleep": "start(nap)",
    "tasks that hold the GIL": "start(hold)",
    "tasks with children": "start(spawn)",
}


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def await_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [process for process in processes if not is_gone(process)]:
        if time.monotonic() > deadline:
            texts = [f"{process.pid}: {process.cmdline()}" for process in left]
            for process in left:
                process.kill()
            pytest.fail(f"left behind: {texts}")
        time.sleep(0.01)


@contextmanager
def driver(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A driver's process, when it says that it is ready, and all that it started by then."""
    command = [sys.executable, "-c", BEGIN + program, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            started = psutil.Process(process.pid).children(recursive=True)
            assert sum("bndl.execute" in each.cmdline() for each in started) == 2
            yield process, started
        finally:
            process.kill()


@contextmanager
def driver_with_fork(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A driver's process that has forked, and all that it started but the fork."""
    with driver(program, folder) as (process, started):
        forks = [each for each in started if each.cmdline() == psutil.Process(process.pid).cmdline()]
        try:
            assert len(forks) == 1
            yield process, [each for each in started if each not in forks]
            assert not is_gone(forks[0])
        finally:
            for fork in forks:
                fork.kill()


def await_end(process: subprocess.Popen[str], text: str = "\n") -> tuple[int, str]:
    output, _ = process.communicate(text, timeout=PATIENCE)
    return process.returncode, output


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_a_signal_ends_the_driver(tmp_path: Path, work: str, sent: signal.Signals) -> None:
    with driver(WORK[work] + READY, tmp_path) as (process, started):
        if work == "tasks with children":
            assert sum("time.sleep(600)" in " ".join(each.cmdline()) for each in started) == 2
        process.send_signal(sent)
        await_gone(started)
        process.wait(PATIENCE)


@pytest.mark.parametrize(
    ("ending", "code", "says"),
    [
        ("", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("raise ValueError('bang')", 1, "ValueError: bang"),
        ("ctx.stop()", 0, ""),
        ("os._exit(5)", 5, ""),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, ""),
    ],
    ids=["last line", "sys.exit", "exception", "stop", "os._exit", "segfault"],
)
@pytest.mark.parametrize("work", ["idle", "tasks with children"])
def test_the_driver_ends_itself(tmp_path: Path, work: str, ending: str, code: int, says: str) -> None:
    with driver(WORK[work] + READY + ending, tmp_path) as (process, started):
        got, output = await_end(process)
        await_gone(started)
    assert (got, says in output) == (code, True)
    if not says:
        assert output == ""


def test_an_interrupt_while_results_are_waited_for(tmp_path: Path) -> None:
    program = """
try:
    print("ready", flush=True)
    list(ctx.map(nap, [f"{sys.argv[1]}/{index}" for index in (0, 1)]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(ctx.worker_count, flush=True)
"""
    with driver(program, tmp_path) as (process, started):
        process.send_signal(signal.SIGINT)
        assert await_end(process) == (0, "interrupted\n2\n")
        await_gone(started)


@pytest.mark.parametrize(
    ("crash", "code"),
    [("os._exit, (5,)", 5), ("ctypes.string_at, (0,)", -signal.SIGSEGV)],
    ids=["os._exit", "segfault"],
)
def test_a_result_ends_the_driver_when_it_is_unpickled(tmp_path: Path, crash: str, code: int) -> None:
    program = f"""
import ctypes
class Result:
    def __reduce__(self):
        return {crash}
print("ready", flush=True)
sys.stdin.readline()
ctx.submit(Result).result()
"""
    with driver(program, tmp_path) as (process, started):
        assert await_end(process)[0] == code
        await_gone(started)


def test_children_of_a_task_go_with_a_worker_that_ends(tmp_path: Path) -> None:
    program = WORK["tasks with children"] + READY + "print(ctx.worker_count, flush=True)"
    with driver(program, tmp_path) as (process, started):
        children = [each for each in started if "time.sleep(600)" in " ".join(each.cmdline())]
        for child in children:
            parent = child.parent()
            assert parent is not None
            parent.kill()
        await_gone(children)
        await_end(process)


def test_a_fork_of_a_driver_that_is_killed(tmp_path: Path) -> None:
    with driver_with_fork(WORK["tasks with children"] + FORK + READY, tmp_path) as (process, started):
        assert sum("time.sleep(600)" in " ".join(each.cmdline()) for each in started) == 2
        process.kill()
        await_gone(started)


def test_a_fork_of_a_driver_that_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNDL_STOP_TIMEOUT", "600")  # nothing is ended before it does so itself
    with driver_with_fork(FORK + READY + "ctx.stop()", tmp_path) as (process, started):
        assert await_end(process)[0] == 0
        await_gone(started)
