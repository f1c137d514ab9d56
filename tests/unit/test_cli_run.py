"""``bndl run`` and ``bndl shell`` as processes: what users see of them, next to what they see of python."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

#: A process that was started in the background of a shell ignores interrupts, and so would its children.
HEED_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
BNDL = [sys.executable, "-c", f"{HEED_INTERRUPTS}; from bndl.cli.main import main; main()"]
#: The same where IPython is not installed.
PLAIN_BNDL = [sys.executable, "-c", "import sys; sys.modules['IPython'] = None; from bndl.cli.main import main; main()"]

TIMEOUT = 40


def call(
    command: list[str], *arguments: str, folder: Path, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "HOME": str(folder)}
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


def run_both(folder: Path, source: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """The same script with bndl and with python."""
    (folder / "script.py").write_text(source)
    ours = call(BNDL, "run", "--workers", "1", "script.py", "a", "--workers", folder=folder)
    theirs = call([sys.executable], "script.py", "a", "--workers", folder=folder)
    return ours, theirs


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            "'''About it.'''\nimport sys, __main__\nprint(sys.argv, sys.path[0], __file__, __name__, __doc__, "
            "__spec__, __package__, __cached__, __main__.__dict__ is globals(), __builtins__)",
            id="globals",
        ),
        pytest.param(
            "def f():\n    raise KeyError('x')\ntry:\n    f()\nexcept KeyError:\n    raise OSError(1)", id="error"
        ),
        pytest.param("x = = 1", id="syntax"),
        pytest.param("import sys\nsys.exit('the end')", id="exit with a text"),
        pytest.param("import sys\nsys.exit(7)", id="exit with a code"),
        pytest.param("import sys\nsys.excepthook = lambda *a: print(a[0])\n1 / 0", id="hook"),
        pytest.param(
            "import threading\nt = threading.Timer(0.2, print, ['late'])\nt.start()\nprint('end')", id="thread"
        ),
    ],
)
def test_a_script_runs_as_with_python(tmp_path: Path, source: str) -> None:
    ours, theirs = run_both(tmp_path, source)
    assert outcome(ours) == outcome(theirs)


SCRIPT = """
from dataclasses import dataclass
from bndl import ctx as the_default
from beside import triple

FACTOR = 7

@dataclass
class Point:
    x: int

def make(x):
    return Point(triple(x) * FACTOR)

print(the_default is ctx, ctx.await_workers(2), ctx.workers[0].pid != ctx.workers[1].pid)
points = list(ctx.map(make, range(3)))
print(points, type(points[0]) is Point)
print(list(ctx.map(lambda point: point.x + FACTOR, points)))
print(*[worker.pid for worker in ctx.workers])
"""


def test_what_a_script_defines_works_on_workers(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def triple(x):\n    return 3 * x\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = call(BNDL, "run", "--workers", "2", str(tmp_path / "script.py"), folder=tmp_path.parent)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, pids = done.stdout.splitlines()
    assert lines == ["True 2 True", "[Point(x=0), Point(x=21), Point(x=42)] True", "[7, 28, 49]"]
    assert [pid for pid in map(int, pids.split()) if psutil.pid_exists(pid)] == []


def test_a_failed_task_shows_where_it_failed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("def invert(x):\n    return 1 / x\n\nlist(ctx.map(invert, [1, 0]))\n")
    done = call(BNDL, "run", "--workers", "1", "script.py", folder=tmp_path)
    assert done.returncode == 1
    assert 'script.py", line 2, in invert' in done.stderr
    assert 'script.py", line 4, in <module>' in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "bndl/cli" not in done.stderr


def test_a_script_that_is_interrupted(tmp_path: Path) -> None:
    lines = ["import time", "ctx.await_workers(1)", "print(ctx.workers[0].pid, flush=True)"]
    (tmp_path / "script.py").write_text("\n".join([*lines, "list(ctx.map(time.sleep, [60]))"]))
    command = [*BNDL, "run", "--workers", "1", str(tmp_path / "script.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert stderr.endswith("KeyboardInterrupt\n")
    assert not psutil.pid_exists(worker)


def test_a_secret_that_cannot_be_read_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('never')")
    options = ["--seeds", "tcp/127.0.0.1:1", "--secret-file", "gone"]
    done = call(BNDL, "run", *options, "script.py", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "the secret cannot be read from 'gone' (No such file or directory); name the cluster's secret file.\n"
    )


TYPED = """
def twice(x): return 2 * x

class Empty: pass

print("answers:", list(ctx.map(twice, range(3))), type(ctx.submit(Empty).result()) is Empty, bndl.ctx is ctx)
import beside
print("beside:", ctx.submit(beside.triple, 3).result())
1 / 0
print("still here")
"""


@pytest.mark.parametrize("command", [BNDL, PLAIN_BNDL], ids=["IPython", "plain"])
def test_a_shell_has_the_context(tmp_path: Path, command: list[str]) -> None:
    if command is BNDL:
        pytest.importorskip("IPython")
    (tmp_path / "beside.py").write_text("def triple(x):\n    return 3 * x\n")
    done = call(command, "shell", "--workers", "1", folder=tmp_path, text=TYPED)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert f"on Python {sys.version_info.major}." in output
    assert "ctx.await_workers()" in output
    assert "answers: [0, 2, 4] True True" in output
    assert "beside: 9" in output
    assert "ZeroDivisionError" in output
    assert "During handling" not in output
    assert "still here" in output
