"""Environments that give less than a desktop does: bndl works, or one error says what is missing, in bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.surroundings import TIMEOUT, in_namespace, run_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces, limits and capabilities are Linux's"),
]

#: What a program does: small and large results, a result kept for a later stage, prints, the end of a worker.
PROGRAM = """
import os, bndl, logging
def make(x):
    print("printed", x)
    return bytes(300_000 + x)
def end():
    os._exit(3)
with bndl.connect(config=bndl.Config(workers=2)) as ctx:
    assert ctx.await_workers(2) == 2
    assert [len(each) for each in ctx.map(make, range(3))] == [300_000, 300_001, 300_002]
    job = bndl.Job("kept")
    job.stage(sum, [job.stage(len, [b"a" * 200_000, b"b"]).results])
    assert ctx.run(job) == [200_001]
    try:
        ctx.submit(end).result(30)
    except bndl.errors.TaskFailed as error:
        assert "exit code 3" in str(error), error
    ctx.memory_profiling.start()
    assert ctx.submit(len, b"abc").result(30) == 3
    ctx.memory_profiling.take_snapshot()
    ctx.memory_profiling.stop()
print("works")
"""


def fails_with(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """It ended with one error of bndl's, with these texts, and without a panic of a library."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("bndl.errors."), done.stderr
    assert all(text in last for text in texts), last
    assert "panicked" not in done.stderr
    assert "memory allocation" not in done.stderr


def works(done: subprocess.CompletedProcess[str]) -> None:
    assert not done.returncode, done.stderr
    assert done.stdout.strip() == "works"
    assert "printed 2" in done.stderr
    assert "bug in bndl" not in done.stderr


def limited(name: str, value: int) -> list[str]:
    return ["prlimit", f"--{name}={value}"]


#: As another user, whom no table of users has, who may still read the Python that is installed for this one.
STRANGER = [
    "setpriv",
    "--reuid=54321",
    "--regid=54321",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]


def as_stranger() -> list[str]:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return STRANGER


#: Where else Python looks for a folder for temporary files.
OTHER_PLACES = ["/var/tmp", "/usr/tmp"]  # noqa: S108 - nothing is written there


def read_only(folder: Path) -> str:
    return f"mount --bind {folder} {folder}\nmount -o remount,bind,ro {folder}"


def without_temporary(folder: Path) -> str:
    """No folder for temporary files can be written to. The program's own is somewhere below /tmp."""
    places = "\n".join(f"test ! -d {each} || mount -t tmpfs -o ro none {each}" for each in OTHER_PLACES)
    return f"{places}\n{read_only(Path('/tmp'))}\n{read_only(folder)}\ncd {folder}"  # noqa: S108 - it is made read-only


def test_the_current_folder_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    works(run_program(PROGRAM, tmp_path, cwd=gone, before=["sh", "-c", f'rmdir {gone}; exec "$@"', "sh"]))


def test_the_current_folder_is_read_only(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    works(run_program(PROGRAM, tmp_path, before=in_namespace(f"{read_only(here)}\ncd {here}")))


def test_no_folder_for_temporary_files_can_be_written_to(tmp_path: Path) -> None:
    before = in_namespace(without_temporary(tmp_path))
    works(run_program(PROGRAM, tmp_path, before=before, environment={"TMPDIR": None}))


def test_nothing_can_be_written_and_there_is_no_proc(tmp_path: Path) -> None:
    before = in_namespace(f"{without_temporary(tmp_path)}\numount -l /proc")
    done = run_program(PROGRAM, tmp_path, before=before, environment={"TMPDIR": None})
    fails_with(done, "ClusterError", "/proc", "TMPDIR")


def test_there_is_no_proc(tmp_path: Path) -> None:
    program = PROGRAM.replace("workers=2", "workers=2, memory_limit=4 << 30")
    done = run_program(program, tmp_path, before=in_namespace("umount -l /proc"))
    works(done)
    assert "memory_limit has no effect" in done.stderr


@pytest.mark.parametrize("name", ["HOME", "PATH"])
def test_a_variable_is_not_set(tmp_path: Path, name: str) -> None:
    works(run_program(PROGRAM, tmp_path, environment={name: None}))


@pytest.mark.parametrize("home", ["/nonexistent", "relative"])
def test_there_is_no_such_home(tmp_path: Path, home: str) -> None:
    works(run_program(PROGRAM, tmp_path, environment={"HOME": home}))


def test_the_user_is_unknown_and_has_no_home(tmp_path: Path) -> None:
    nobody = {"HOME": None, "USER": None, "LOGNAME": None}
    works(run_program(PROGRAM, tmp_path, before=as_stranger(), environment=nobody))


def test_few_files_may_be_open(tmp_path: Path) -> None:
    works(run_program(PROGRAM, tmp_path, before=limited("nofile", 64)))
    program = PROGRAM.replace("workers=2", "workers=12")
    fails_with(run_program(program, tmp_path, before=limited("nofile", 64)), "12 workers", "ulimit -n", "fewer workers")


@pytest.mark.parametrize("mebibytes", [200, 300])
def test_there_is_too_little_address_space(tmp_path: Path, mebibytes: int) -> None:
    fails_with(run_program(PROGRAM, tmp_path, before=limited("as", mebibytes << 20)), "ClusterError", "ulimit -v")


def test_a_batch_job_has_some_address_space(tmp_path: Path) -> None:
    works(run_program(PROGRAM, tmp_path, before=limited("as", 800 << 20)))


@pytest.mark.parametrize("threads", [8, 30])
def test_few_threads_may_run(tmp_path: Path, threads: int) -> None:
    before = [*limited("nproc", threads), *as_stranger()]
    fails_with(run_program(PROGRAM, tmp_path, before=before), "ClusterError", "threads", "ulimit -u")


def test_files_may_not_grow(tmp_path: Path) -> None:
    works(run_program(PROGRAM, tmp_path, before=limited("fsize", 100_000)))
    fails_with(run_program(PROGRAM, tmp_path, before=limited("fsize", 0)), "ClusterError", "ulimit -f")


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_a_standard_stream_is_closed(tmp_path: Path, closed: str) -> None:
    done = run_program(PROGRAM, tmp_path, before=["sh", "-c", f'exec "$@" {closed}', "sh"])
    assert not done.returncode, done.stderr
    assert done.stdout.strip() == "works"


def run_bndl(folder: Path, *arguments: str, setup: str) -> subprocess.CompletedProcess[str]:
    program = "from bndl.cli.main import main\nmain()\n"
    arguments_too = ["sh", "-c", 'arguments="$1"; shift; exec "$@" $arguments', "sh", " ".join(arguments)]
    return run_program(program, folder, before=[*in_namespace(setup), *arguments_too], environment={"TMPDIR": None})


COMMANDS: dict[str, tuple[Callable[[Path], str], list[str], str]] = {
    "config": (lambda folder: f"mkdir {folder}/gone; cd {folder}/gone; rmdir {folder}/gone", ["config"], ""),
    "worker": (without_temporary, ["worker", "--workers", "1"], "--secret-file"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_or_says_why_not(tmp_path: Path, command: str) -> None:
    setup, arguments, missing = COMMANDS[command]
    done = run_bndl(tmp_path, *arguments, setup=setup(tmp_path))
    assert bool(done.returncode) == bool(missing), done.stderr
    assert "Traceback" not in done.stderr
    if missing:
        assert missing in done.stderr


def test_a_worker_without_room_is_given_up_soon_and_says_why(tmp_path: Path) -> None:
    program = """
import bndl
from bndl.cluster import worker_process
class Limited(worker_process.subprocess.Popen):
    def __init__(self, command, **kwargs):
        super().__init__(["prlimit", "--nofile=12", *command], **kwargs)
worker_process.subprocess.Popen = Limited
with bndl.connect(workers=1) as ctx:
    ctx.submit(len, "abc").result(40)
"""
    done = run_program(program, tmp_path, timeout=TIMEOUT)
    assert done.returncode == 1
    assert "WorkerFailedToStart" in done.stderr
    assert "ulimit -n" in done.stderr
