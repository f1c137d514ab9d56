"""``bndl run`` and ``bndl shell`` as processes: what users see of them, next to what they see of python."""

import os
import signal
import subprocess
import sys
import zipapp
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


# Folders, zip files, modules


LOOK = (
    "import sys, __main__\n"
    "print(sys.argv[1:], __name__, repr(__package__), __spec__ and __spec__.name, __main__.__dict__ is globals())\n"
    "print(sys.path[0].endswith({where!r}), __file__.endswith({file!r}), sys.argv[0].endswith({file!r}))\n"
)
WORK = """
from bndl import ctx as default
import {beside}
def double(x):
    from {dot}{beside_name} import triple
    return triple(2 * x)
print(list(default.map(double, [1, 2])), ctx is default)
"""


def lay_out(folder: Path) -> None:
    """A package ``pack`` with modules and a ``__main__``, a folder and a zip file that can be run."""
    pack = folder / "pack"
    pack.mkdir()
    (pack / "__init__.py").touch()
    (pack / "beside.py").write_text("def triple(x):\n    return 3 * x\n")
    (pack / "__main__.py").write_text("import sys\nprint('main of pack', sys.argv[1:], __package__)\n")
    (pack / "wrong.py").write_text("def f():\n    raise KeyError('x')\nf()\n")
    (pack / "spoilt.py").write_text("x = = 1\n")
    (folder / "empty").mkdir()
    app = folder / "app"
    app.mkdir()
    (app / "aside.py").write_text("def triple(x):\n    return 3 * x\n")
    (app / "__main__.py").write_text(
        "import sys\nprint(sys.argv[1:], __name__, repr(__package__), __spec__.name)\n"
        "if sys.argv[-1] == 'wrong':\n    raise KeyError('x')\n"
    )
    zipapp.create_archive(app, folder / "app.pyz")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    lay_out(folder)
    (folder / "pack" / "look.py").write_text(LOOK.format(where=folder.name, file="look.py"))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "pack", "a", "--workers"],
        ["-m", "pack.look", "-m"],
        ["-m", "pack.wrong"],
        ["app", "b"],
        ["app.pyz", "b"],
        ["app.pyz", "wrong"],
    ],
    ids=" ".join,
)
def test_modules_folders_and_zip_files_run_as_with_python(programs: Path, arguments: list[str]) -> None:
    ours = call(BNDL, "run", "--workers", "1", *arguments, folder=programs)
    theirs = call([sys.executable], *arguments, folder=programs)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), ours.stderr
    assert bool(ours.stderr) == bool(theirs.stderr)
    if theirs.stderr:
        assert ours.stderr.splitlines()[-1] == theirs.stderr.splitlines()[-1]
        assert "bndl/cli" not in ours.stderr
        assert "importlib" not in ours.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["-m", "missing"], 2, "no module named 'missing'"),
        (["-m", "pack.missing"], 2, "no module named 'pack.missing'"),
        (["-m", "pack.beside.more"], 1, "pack.beside"),
        (["-m", "pack.spoilt"], 1, "SyntaxError"),
        (["empty"], 2, "can't find '__main__' module in 'empty'"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_told(programs: Path, arguments: list[str], code: int, text: str) -> None:
    done = call(BNDL, "run", "--workers", "1", *arguments, folder=programs)
    assert done.returncode == code
    assert text in done.stderr
    assert "bndl/cli" not in done.stderr


@pytest.mark.parametrize("kind", ["module", "zip file"])
def test_tasks_find_what_lies_beside_the_program(tmp_path: Path, kind: str) -> None:
    lay_out(tmp_path)
    if kind == "module":
        text = WORK.format(beside="pack.beside", dot=".", beside_name="beside")
        (tmp_path / "pack" / "work.py").write_text(text)
        arguments = ["-m", "pack.work"]
    else:
        text = WORK.format(beside="aside", dot="", beside_name="aside")
        (tmp_path / "app" / "__main__.py").write_text(text)
        zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
        arguments = ["app.pyz"]
    done = call(BNDL, "run", "--workers", "1", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[6, 12] True\n"), done.stderr


def test_the_safe_path_of_python_is_heeded(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys, os\nprint(os.getcwd() in sys.path, '' in sys.path)\n")
    code = "from bndl.cli.main import main; main()"
    done = call([sys.executable, "-P", "-c", code], "run", "--workers", "1", "script.py", folder=tmp_path)
    assert done.stdout == "False False\n", done.stderr
