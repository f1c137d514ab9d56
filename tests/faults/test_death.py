"""Real worker processes that end in all the ways there are, and what is known of it afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

import bndl
from bndl.cluster.memory import MemoryWatch
from bndl.config import Config
from bndl.errors import DeathCertificate, TaskFailed, WorkerFailedToStart, WorkerLost

pytestmark = [pytest.mark.slow]

MEBIBYTE = 1 << 20


@pytest.fixture
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, concurrency=2, progress=False) as context:
        context.await_workers(1)
        yield context


def lose(ctx: bndl.Context, function: Callable[[Any], Any], items: tuple[object, ...] = ("item",)) -> DeathCertificate:
    """Run what ends its worker; returns the certificate that comes with the error."""
    with pytest.raises(TaskFailed) as raised:
        list(ctx.map(function, items))
    lost = raised.value.__cause__
    assert isinstance(lost, WorkerLost)
    certificate = lost.certificate
    assert certificate is not None
    assert str(certificate) in str(raised.value)
    assert (lost.worker, lost.reason) == (certificate.worker, certificate.reason)
    copy = pickle.loads(pickle.dumps(raised.value)).__cause__
    assert copy.certificate == certificate
    assert f".worker.{certificate.pid}." in certificate.worker
    assert str(certificate).splitlines()[-1].startswith("Next: ")
    assert certificate.limit_bytes is not None
    return certificate


def running(certificate: DeathCertificate) -> list[str]:
    return [f"{task.name} of {task.job}" for task in certificate.last_tasks if task.running]


def test_killed_by_somebody(ctx: bndl.Context) -> None:
    def shoot(_: object) -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    certificate = lose(ctx, shoot)
    assert certificate.signal == "SIGKILL"
    assert certificate.exit_code is None
    assert certificate.reason == "its process was ended by SIGKILL"
    assert running(certificate) == ["shoot[0] of map shoot"]
    (task,) = certificate.last_tasks
    assert 0.2 <= task.seconds < 5.0
    assert task.seconds < certificate.uptime
    assert certificate.stack == ""
    assert certificate.memory_bytes is not None
    assert MEBIBYTE < certificate.memory_bytes < 1000 * MEBIBYTE
    if sys.platform == "linux":
        assert certificate.oom.startswith("no evidence: oom_kill in ")


def test_a_segmentation_fault_is_found_in_the_function_that_made_it(ctx: bndl.Context) -> None:
    def read_nothing(_: object) -> None:
        os.write(2, b"nothing is at 0\n")
        ctypes.string_at(0)

    certificate = lose(ctx, read_nothing)
    assert certificate.signal == "SIGSEGV"
    assert certificate.stack.startswith("Fatal Python error: Segmentation fault")
    assert re.search(r'test_death\.py", line \d+ in read_nothing', certificate.stack)
    assert "slots.py" not in certificate.stack
    assert certificate.last_lines == ("nothing is at 0",)
    assert running(certificate) == ["read_nothing[0] of map read_nothing"]
    assert "innermost line of the stack" in str(certificate)


def test_an_abort_is_found_in_the_function_that_made_it(ctx: bndl.Context) -> None:
    def give_up(_: object) -> None:
        os.abort()

    certificate = lose(ctx, give_up)
    assert certificate.signal == "SIGABRT"
    assert re.search(r'test_death\.py", line \d+ in give_up', certificate.stack)


def test_a_fatal_error_of_the_interpreter(ctx: bndl.Context) -> None:
    def break_down(_: object) -> None:
        os.write(2, b"before\n")
        ctypes.pythonapi.Py_FatalError(b"broken down")

    certificate = lose(ctx, break_down)
    assert certificate.signal == "SIGABRT"
    assert certificate.last_lines == ("before",)
    assert "broken down" in certificate.stack
    assert "in break_down" in certificate.stack


def test_a_process_that_exits(ctx: bndl.Context) -> None:
    def leave(_: object) -> None:
        os._exit(3)

    certificate = lose(ctx, leave)
    assert (certificate.exit_code, certificate.signal) == (3, "")
    assert certificate.reason == "its process ended with exit code 3"
    assert running(certificate) == ["leave[0] of map leave"]
    assert "os._exit" in str(certificate)


def test_a_worker_that_is_killed_while_two_slots_execute(ctx: bndl.Context, tmp_path: Path) -> None:
    def meet(index: int) -> int:
        if bndl.current_task().attempt > 1:
            return index
        (tmp_path / f"{index}").touch()
        deadline = time.monotonic() + 30
        while not (tmp_path / f"{1 - index}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)
        return index

    (worker,) = ctx.workers
    assert list(ctx.map(meet, (0, 1))) == [0, 1]
    certificate = find_certificate(ctx, worker.name)
    assert sorted(running(certificate)) == ["meet[0] of map meet", "meet[1] of map meet"]
    assert {task.slot for task in certificate.last_tasks} == {0, 1}


def test_an_idle_worker_is_known_by_its_last_task(ctx: bndl.Context) -> None:
    list(ctx.map(len, ["abc"]))
    (worker,) = ctx.workers
    os.kill(worker.pid, signal.SIGTERM)
    certificate = find_certificate(ctx, worker.name)
    assert certificate.signal == "SIGTERM"
    assert [(task.name, task.running) for task in certificate.last_tasks] == [("len[0]", False)]
    assert "It was executing nothing." in str(certificate)


@pytest.mark.parametrize("task", [None, 60.0], ids=["idle", "busy"])
def test_an_interrupt_from_outside_ends_a_worker_without_a_traceback(
    ctx: bndl.Context, task: float | None, capfd: pytest.CaptureFixture[str]
) -> None:
    (worker,) = ctx.workers
    if task is not None:
        ctx.submit(time.sleep, task)
    os.killpg(worker.pid, signal.SIGINT)
    certificate = find_certificate(ctx, worker.name)
    assert certificate.signal == "SIGINT"
    assert certificate.last_lines == ()
    assert "Traceback" not in capfd.readouterr().err


def find_certificate(ctx: bndl.Context, name: str) -> DeathCertificate:
    """The certificate of a worker, when there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        certificate = ctx._node.membership.death_certificate(name)  # noqa: SLF001 - nothing else asks for it
        if certificate is not None:
            return certificate
    pytest.fail(f"{name} does not end")


def test_bndl_ends_a_worker_that_holds_the_interpreter(ctx: bndl.Context, tmp_path: Path) -> None:
    def never_look_up(_: object) -> None:
        (tmp_path / str(bndl.current_task().attempt)).touch()
        re.match(r"(a+)+$", "a" * 60 + "b")

    (worker,) = ctx.workers
    future = ctx.submit(never_look_up, 0)
    deadline = time.monotonic() + 30
    while not (tmp_path / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # until it is in the match
    end_worker = ctx._node.membership.end_worker  # noqa: SLF001 - what the driver calls
    assert not end_worker("somebody else", "it is not ours")
    assert end_worker(worker.name, "never_look_up[0] did not answer its cancellation")
    certificate = find_certificate(ctx, worker.name)
    assert certificate.reason == "bndl ended it: never_look_up[0] did not answer its cancellation"
    assert re.search(r'test_death\.py", line \d+ in never_look_up', certificate.stack)
    assert "Fatal" not in certificate.stack
    assert certificate.oom == "no evidence: bndl ended it"
    assert not end_worker(worker.name, "it is gone")
    assert not psutil.pid_exists(worker.pid)
    future.cancel()


# Out of memory


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group that may have 200 MiB."""
    groups = dict(line.rstrip().split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    if "memory" in groups:
        folder, limit, swap = Path(f"/sys/fs/cgroup/memory{groups['memory']}"), "memory.limit_in_bytes", ""
    else:
        folder, limit, swap = Path(f"/sys/fs/cgroup{groups.get('', '/')}"), "memory.max", "memory.swap.max"
    group = folder / f"bndl-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(200 * MEBIBYTE))
        if swap and (group / swap).exists():
            (group / swap).write_text("0")
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"a control group with a limit cannot be made here: {error}")
    yield group
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError:  # what was in it is still going
            time.sleep(0.05)
        else:
            return


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_the_kernel_ends_a_worker_for_want_of_memory(
    ctx: bndl.Context, small_group: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    members = str(small_group / "cgroup.procs")
    look = MemoryWatch.look

    def look_and_tell(watch: MemoryWatch) -> None:
        look(watch)
        if small_group.name in str(watch._groups):  # noqa: SLF001 - that it was looked at in there is what is waited for
            (tmp_path / str(watch._pid)).touch()  # noqa: SLF001

    monkeypatch.setattr(MemoryWatch, "look", look_and_tell)

    def take_too_much(_: object) -> int:
        with open(members, "w") as file:  # noqa: PTH123 - travels by value
            file.write(str(os.getpid()))
        while not (tmp_path / str(os.getpid())).exists():
            time.sleep(0.01)
        taken = [b"x" * (1 << 20) for _ in range(400)]
        return len(taken)

    certificate = lose(ctx, take_too_much)
    assert certificate.signal == "SIGKILL"
    assert certificate.reason == "its process was ended by SIGKILL, most likely for want of memory"
    assert certificate.oom.startswith(f"likely: oom_kill in {small_group}")
    assert certificate.is_oom_likely
    assert (certificate.limit_bytes, certificate.limit) == (200 * MEBIBYTE, "what its cgroup may")
    assert "give each task less" in str(certificate)


def test_the_kernel_says_what_a_worker_took_at_most(tmp_path: Path) -> None:
    # In a process of its own: of one that was large itself, the kernel's account says nothing. Nor of one that was
    # started by such a process, as this one may be, so there is a shell in between.
    program = tmp_path / "program.py"
    program.write_text(
        "import bndl, os\n"
        "def take(_):\n"
        "    taken = b'x' * (400 << 20)\n"
        "    os._exit(len(taken) >> 27)\n"
        "with bndl.connect(workers=1, progress=False) as ctx:\n"
        "    try:\n"
        "        list(ctx.map(take, [1]))\n"
        "    except bndl.errors.TaskFailed as error:\n"
        "        certificate = error.__cause__.certificate\n"
        "        print(certificate.exit_code, certificate.peak_bytes >> 20)\n"
    )
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    code, peak = map(int, done.stdout.split())
    assert code == 3
    assert 400 <= peak < 1000


# Workers that do not come up, and workers without a supervisor


def test_a_worker_that_ends_before_it_connects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times = tmp_path / "times"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        f"open({str(times)!r}, 'a').write(f'{{time.monotonic()}}\\n')\n"
        "os.write(2, b'no licence\\nand half a line')\n"
        "os._exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with bndl.connect(workers=1, progress=False, config=Config(max_restarts=6)) as ctx:
        with pytest.raises(WorkerFailedToStart) as raised:
            ctx.await_workers(1)
        error = raised.value
        certificate = error.certificate
        assert certificate is not None
        assert (error.exit_code, certificate.exit_code) == (7, 7)
        assert certificate.last_lines == ("no licence", "and half a line")
        assert error.output == "no licence\nand half a line"
        assert certificate.last_tasks == ()
        assert str(certificate) in str(error)
        assert str(error).startswith("local worker 0 ended 7 times in a row before it joined")
    starts = [float(line) for line in times.read_text().split()]
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(gap >= backoff for gap, backoff in zip(gaps, (0.1, 0.1, 0.1, 0.1, 0.2, 0.4), strict=True))


def test_a_program_that_ignores_its_children_does_not_break_the_supervisor(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import bndl, os, signal\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "def leave(_):\n"
        "    os._exit(3)\n"
        "with bndl.connect(workers=1, progress=False) as ctx:\n"
        "    try:\n"
        "        list(ctx.map(leave, [1]))\n"
        "    except bndl.errors.TaskFailed as error:\n"
        "        certificate = error.__cause__.certificate\n"
        "        print(certificate.exit_code, certificate.last_tasks[0].name, certificate.reason)\n"
        "    print(list(ctx.map(len, ['abc'])))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, timeout=50)
    reason = "its process ended, and its exit code went to another part of this program that waits for children"
    assert done.stdout.splitlines() == [f"None leave[0] {reason}", "[3]"]


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with bndl.connect(workers=1, progress=False, config=Config(max_restarts=1)) as ctx:
        with pytest.raises(WorkerFailedToStart, match=r"2 times in a row: .*unavailable") as raised:
            ctx.await_workers(1)
        assert (raised.value.exit_code, raised.value.certificate) == (None, None)


PROGRAM = r"""
import os, re, sys, bndl
def hold(path):
    open(path, "w").close()
    re.match(r"(a+)+$", "a" * 60 + "b")
ctx = bndl.connect(workers=2, progress=False)
ctx.await_workers(2)
future = ctx.submit(hold, sys.argv[1])
print(*(worker.pid for worker in ctx.workers), flush=True)
future.result(timeout=50)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with the one that started it")
def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, begun], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
        deadline = time.monotonic() + 30
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        program.kill()
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_what_was_queued_behind_a_task_that_ends_its_workers_is_not_suspect(ctx: bndl.Context) -> None:
    def end_or_not(index: int) -> int:
        if index == 50:
            os._exit(3)
        return index

    job = bndl.Job("queued")
    stage = job.stage(end_or_not, range(200), max_failures=1)
    assert ctx.run(job) == [index for index in range(200) if index != 50]
    assert [record.outcome for record in stage.tasks[50].attempts] == ["lost"] * 3
    error = stage.tasks[50].error
    assert error is not None
    lost = error.__cause__
    assert isinstance(lost, WorkerLost)
    assert lost.certificate is not None
    assert (stage.tasks[50].number, 3) in (lost.certificate.executing or ())
