"""Processes that tasks started end with their worker, also those that left its process group and have no parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import bndl
from bndl.cluster import guard
from bndl.cluster.guard import with_owner
from tests.faults.hosts import Program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the environment of a process"),
]

#: Seconds that all may take to be gone.
PATIENCE = 10.0

#: Tasks that start a process which writes its number to a file when it is all by itself.
KINDS = """
import os, shutil, signal, subprocess, sys, time
import bndl

DAEMON = '''
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
'''

def note(path, pid):
    with open(path + ".new", "w") as file:
        file.write(str(pid))
    os.rename(path + ".new", path)

def session(path, env=None):
    child = subprocess.Popen([shutil.which("sleep"), "600"], start_new_session=True, env=env)
    note(path, child.pid)

def renamed(path):
    child = subprocess.Popen(["[other]", "600"], executable=shutil.which("sleep"), start_new_session=True)
    note(path, child.pid)

def daemon(path):
    subprocess.run([sys.executable, "-c", DAEMON, path], check=True)

def fork(path):
    if os.fork() == 0:
        os.setsid()
        note(path, os.getpid())
        while True:
            signal.pause()

def freed(path):
    session(path, {name: value for name, value in os.environ.items() if name != "_BNDL_OWNER"})

def wait_for(*paths):
    while not all(map(os.path.exists, paths)):
        time.sleep(0.01)

def start(ctx, kinds):
    for kind in kinds:
        ctx.submit(kind, f"{sys.argv[1]}/{kind.__name__}").result()
    wait_for(*(f"{sys.argv[1]}/{kind.__name__}" for kind in kinds))
    return ctx.submit(os.getpid).result()
"""

#: They are started on one worker.
DRIVER = """
ctx = bndl.connect(workers=1, progress=False)
worker = start(ctx, [session, renamed, daemon, fork, freed])
print(worker, flush=True)
sys.stdin.readline()
ctx.stop()
print("stopped", flush=True)
sys.stdin.readline()
"""

#: The driver of an outer cluster, whose task starts a program that has a cluster of its own.
NESTED = """
if len(sys.argv) == 2:
    ctx = bndl.connect(workers=1, progress=False)
    inner = f"{sys.argv[1]}/inner"
    os.mkdir(inner)
    run = lambda: subprocess.Popen([sys.executable, __file__, inner, "inner"], start_new_session=True).pid
    ctx.submit(run).result()
    wait_for(f"{inner}/driver")
    print(ctx.submit(os.getpid).result(), flush=True)
    sys.stdin.readline()
else:
    ctx = bndl.connect(workers=1, progress=False)
    note(f"{sys.argv[1]}/worker", start(ctx, [session, daemon]))
    note(f"{sys.argv[1]}/driver", os.getpid())
    time.sleep(600)
"""


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def await_gone(processes: dict[str, psutil.Process]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [name for name, process in processes.items() if not is_gone(process)]:
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.01)


def read_processes(folder: Path) -> dict[str, psutil.Process]:
    return {path.name: psutil.Process(int(path.read_text())) for path in folder.iterdir() if path.is_file()}


@contextmanager
def driver(program: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A driver's process and the number of its worker, when its tasks have started what they are to start."""
    script = folder / "script.py"
    script.write_text(KINDS + program)
    started = folder / "started"
    started.mkdir()
    with subprocess.Popen(
        [sys.executable, script, started], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()
            for path in started.rglob("*"):
                if path.is_file():
                    with suppress(ProcessLookupError):
                        os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("ending", ["driver killed", "worker killed", "stop"])
def test_processes_of_tasks_end(tmp_path: Path, ending: str) -> None:
    with driver(DRIVER, tmp_path) as (process, worker):
        started = read_processes(tmp_path / "started")
        assert set(started) == {"session", "renamed", "daemon", "fork", "freed"}
        freed = started.pop("freed")
        if ending == "driver killed":
            process.kill()
        elif ending == "worker killed":
            os.kill(worker, signal.SIGKILL)
        else:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "stopped\n"
        await_gone(started)
        assert (process.poll() is None) == (ending != "driver killed")
        assert not is_gone(freed)  # its user took the variable out of its environment


def test_another_cluster_that_a_task_started_ends_with_all_that_it_started(tmp_path: Path) -> None:
    with driver(NESTED, tmp_path) as (_, worker):
        started = read_processes(tmp_path / "started" / "inner")
        assert set(started) == {"driver", "worker", "session", "daemon"}
        os.kill(worker, signal.SIGKILL)
        await_gone(started)


def test_a_process_that_is_about_to_run_its_program_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):  # most of them have no environment that can be read when they are looked at first
        owner = f"test.{number}"
        environment = with_owner(os.environ, owner)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
            monkeypatch.setattr(guard, "_list_processes", lambda pid=child.pid: [pid])  # at once
            assert guard.kill_owned(owner, PATIENCE)
            try:
                assert child.wait(1.0) == -signal.SIGKILL
            finally:
                child.kill()


def start_daemon() -> int:
    # It may not have begun to run its program when this returns.
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid


def test_a_worker_of_a_cluster_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]  # so that the worker finds this module
    command = [str(Path(sys.executable).with_name("bndl")), "worker", "--workers", "1"]
    program = Program(command, root, {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    try:
        seed = program.wait_line("listening on ")
        secret_file = program.wait_line("to join: ").split("--secret-file ")[1].split()[0]
        with bndl.connect(seeds=[seed], secret_file=secret_file, progress=False) as ctx:
            daemon = psutil.Process(ctx.submit(start_daemon).result())
            assert not is_gone(daemon)
            os.kill(program.pid, signal.SIGKILL)
            await_gone({"daemon": daemon})
    finally:
        program.close()
