"""`bndl worker` on this machine: others join, several drivers use it, and it leaves nothing behind."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import bndl
from tests.faults.at_work import see_at_work, slow_name
from tests.faults.hosts import Program

pytestmark = pytest.mark.slow

TIMEOUT = 30.0
ROOT = Path(__file__).parents[2]
BNDL = str(Path(sys.executable).with_name("bndl"))


class Shared:
    """A `bndl worker`, with what it takes to join it."""

    def __init__(self, home: Path, *options: str) -> None:
        # In the folder of the tests, so that the workers find this module.
        self.program = Program([BNDL, "worker", *options], ROOT, {"HOME": str(home)})
        self.seed = self.program.wait_line("listening on ")
        joining = self.program.wait_line("to join: ")
        self.secret_file = joining.split("--secret-file ")[1].split()[0]
        self.program.wait_line("2 workers of cluster 'default' are there")

    def connect(self, **options: int) -> bndl.Context:
        return bndl.connect(seeds=[self.seed], secret_file=self.secret_file, **options)  # type: ignore[arg-type]

    @property
    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.program.pid).children(recursive=True)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(tmp_path, "--workers", "2")
    try:
        yield shared
    finally:
        shared.program.close()


def wait_for_count(ctx: bndl.Context, workers: int) -> None:
    end = time.monotonic() + TIMEOUT
    while ctx.worker_count != workers:
        assert time.monotonic() < end, ctx.workers
        time.sleep(0.02)


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, TIMEOUT)
    assert alive == []


def test_it_joins_and_is_used_by_its_fresh_secret_which_goes_with_it(shared: Shared) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        assert ctx.await_workers() == 2
        assert {worker.name for worker in ctx.workers} == see_at_work(ctx, 2)
        assert all(re.fullmatch(r"tcp/127\.0\.0\.1:\d+", worker.addresses[0]) for worker in ctx.workers)
    assert Path(shared.secret_file).stat().st_mode & 0o777 == 0o600
    processes = shared.processes
    shared.program.signal(signal.SIGTERM)
    assert shared.program.wait() == 0
    wait_gone(processes)
    assert not Path(shared.secret_file).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="how terminals end differs")
@pytest.mark.parametrize("command", ["worker --workers 1", "router"])
def test_it_ends_with_its_terminal_and_leaves_no_secret(tmp_path: Path, command: str) -> None:
    terminal, inside = os.openpty()
    # Who runs the tests may ignore the end of a terminal, as under nohup.
    heed = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.login_tty(0); "
    code = f"{heed}os.execv({BNDL!r}, {['bndl', *command.split()]!r})"
    streams = {"stdin": inside, "stdout": inside, "stderr": inside}
    environment = {**os.environ, "HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, **streams)  # type: ignore[call-overload]
    os.close(inside)
    try:
        with os.fdopen(terminal, "rb", buffering=0) as screen:
            text = b""
            while b"to use it: " not in text:
                text += screen.read(1 << 10)
            secret_file = Path(text.split(b"--secret-file ")[1].split()[0].decode())
            assert secret_file.exists()
        process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait(TIMEOUT)
    assert not secret_file.exists()


def test_several_drivers_share_it_and_do_not_disturb_each_other(shared: Shared) -> None:
    with shared.connect() as one, shared.connect(workers=1) as other:
        # Its own workers and the local one of a driver have one seed.
        other.await_workers(3)
        assert len({worker.execute(hash, "word").result(TIMEOUT) for worker in other.workers}) == 1
        assert (one.await_workers(3), other.await_workers(3)) == (3, 3)
        assert one.await_workers() == 3
        results = [ctx.map(abs, range(-200, 0)) for ctx in (one, other)]
        assert [sorted(each) for each in results] == [list(range(1, 201))] * 2
        other.stop()
        assert one.await_workers(2) >= 2
        assert sorted(one.map(abs, range(-200, 0))) == list(range(1, 201))


def test_workers_that_join_while_a_job_runs_get_work(shared: Shared, tmp_path: Path) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        names = ctx.map(slow_name, itertools.count())
        seen = {next(names)}
        options = ("--workers", "1", "--seeds", shared.seed, "--secret-file", shared.secret_file)
        late = Program([BNDL, "worker", *options], ROOT, {"HOME": str(tmp_path)})
        try:
            end = time.monotonic() + TIMEOUT
            while len(seen) < 3:
                assert time.monotonic() < end
                seen.add(next(names))
        finally:
            late.close()


def make(number: int) -> bytes:
    time.sleep(0.02)
    return bytes([number]) * 1000


def join_all(parts: list[bytes]) -> bytes:
    time.sleep(0.4)
    return b"".join(sorted(parts))


def test_workers_that_leave_finish_what_they_run_and_hand_over_what_is_needed(shared: Shared, tmp_path: Path) -> None:
    options = ("--workers", "2", "--seeds", shared.seed, "--secret-file", shared.secret_file)
    leaving = Program([BNDL, "worker", *options], ROOT, {"HOME": str(tmp_path), "BNDL_DRAIN_TIMEOUT": "50"})
    try:
        with shared.connect() as ctx:
            ctx.await_workers(4)
            job = bndl.Job("leaving", attempts=1)
            parts = job.stage(make, range(60))
            whole = job.stage(join_all, [parts.results] * 12)
            tasks = ctx.execute(job, ordered=False)
            for _ in range(64):  # the first stage, and some of the second
                next(tasks)
            leaving.signal(signal.SIGTERM)
            assert leaving.wait() == 0  # long before its drain_timeout
            list(tasks)
            expected = b"".join(bytes([number]) * 1000 for number in range(60))
            assert [task.result for task in whole.tasks] == [expected] * 12
            # Nothing that was made on the workers that left was made again, and nothing that ran there was lost.
            assert {len(task.attempts) for task in [*parts.tasks, *whole.tasks]} == {1}
            wait_for_count(ctx, 2)
    finally:
        leaving.close()


def test_workers_leave_although_they_are_all_there_are(shared: Shared) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        future = ctx.submit(make, 7)
        assert future.result(TIMEOUT) == bytes([7]) * 1000
        shared.program.signal(signal.SIGTERM)
        assert shared.program.wait() == 0


def test_a_worker_that_crashes_is_started_again(shared: Shared) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        victim = ctx.workers[0]
        os.kill(victim.pid, signal.SIGKILL)
        end = time.monotonic() + TIMEOUT
        while victim.is_connected or ctx.worker_count < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert victim.name not in [worker.name for worker in ctx.workers]


def test_its_processes_end_when_it_is_killed(shared: Shared) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        processes = shared.processes
        assert len(processes) >= 2
        shared.program.signal(signal.SIGKILL)
        wait_gone(processes)


def test_a_second_interrupt_ends_it_at_once(shared: Shared) -> None:
    with shared.connect() as ctx:
        ctx.await_workers(2)
        future = ctx.submit(time.sleep, 600)
        ctx.workers[0].execute(os.getpid).result(TIMEOUT)
        processes = shared.processes
        shared.program.signal(signal.SIGINT)
        shared.program.wait_line("leaving")
        shared.program.signal(signal.SIGINT)
        shared.program.wait()
        wait_gone(processes)
        future.cancel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--listen", "tcp/0.0.0.0:0"], "so it takes a secret"),
        (["--listen", "tls/127.0.0.1:0"], "bndl cluster init"),
        (["--listen", "nonsense"], "is no address of a node"),
        (["--seeds", "tcp/127.0.0.1:1"], "joining a cluster takes its secret"),
        (["--secret-file", "no such file"], "No such file"),
    ],
)
def test_what_is_not_safe_or_makes_no_sense_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = subprocess.run(
        [BNDL, "worker", *options], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_the_network_takes_tls_or_an_explicit_wish(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame-5f2c\n")
    secret.chmod(0o600)
    options = ["--listen", "tcp/0.0.0.0:0", "--secret-file", str(secret), "--workers", "1"]
    done = subprocess.run(
        [BNDL, "worker", *options], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, "--insecure-plaintext" in done.stderr) == (1, True)
    program = Program([BNDL, "worker", *options, "--insecure-plaintext"], tmp_path, {"HOME": str(tmp_path)})
    try:
        assert program.wait_line("listening on ").startswith("tcp/")
    finally:
        program.close()


def hold_the_lock(seconds: int) -> str:
    """Sleep without letting any other thread of this process run Python code."""
    ctypes.PyDLL(None).sleep(seconds)
    return bndl.current_worker()


def test_a_worker_whose_task_holds_the_interpreter_is_not_lost() -> None:
    config = bndl.Config(lease=2.0)
    with bndl.connect(workers=3, config=config) as ctx:
        ctx.await_workers(3)
        workers = {worker.name: worker for worker in ctx.workers}
        held = ctx.submit(hold_the_lock, 8)
        # More than there is room for on the way to a worker that takes none, and then a steady flow.
        pings = [worker.execute(abs, -1) for worker in workers.values() for _ in range(2000)]
        while not held.done():
            for worker in workers.values():
                pings += [worker.execute(abs, -1) for _ in range(20)]
            time.sleep(0.02)
        assert held.result(TIMEOUT) in workers
        assert {ping.result(TIMEOUT) for ping in pings} == {1}
        assert all(worker.is_connected for worker in workers.values())
        assert [worker.name for worker in ctx.workers] == sorted(workers)


def library_threads(_: int) -> tuple[str, str]:
    return os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]


def test_numeric_libraries_get_their_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    cores = len(os.sched_getaffinity(0))
    with bndl.connect(workers=2 * cores) as ctx:
        assert ctx.submit(library_threads, 0).result(TIMEOUT) == ("1", "7")
    with bndl.connect(workers=1) as ctx:
        assert ctx.submit(library_threads, 0).result(TIMEOUT) == (str(cores), "7")
    with bndl.connect(workers=1, config=bndl.Config(library_threads=3)) as ctx:
        assert ctx.submit(library_threads, 0).result(TIMEOUT) == ("3", "7")
