"""Programs that are started in odd places, or change them: their workers find what the programs find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bndl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 50

PROGRAM = """
import bndl
with bndl.connect(workers=1, progress=False) as ctx:
    print(ctx.submit({}).result(30))
"""


def run(program: str, folder: Path, *flags: str) -> str:
    """Run a program, which is in a folder of its own, in another folder. Returns what it printed."""
    script = folder / "bin" / "program.py"
    script.parent.mkdir()
    script.write_text(program)
    command = [sys.executable, *flags, str(script)]
    done = subprocess.run(command, cwd=folder, timeout=TIMEOUT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_modules_in_the_current_folder_are_not_taken_for_others(tmp_path: Path) -> None:
    for name in ("logging", "json", "bndl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    assert run(PROGRAM.format("abs, -1"), tmp_path) == "1"


def test_workers_find_bndl_where_the_program_found_it(tmp_path: Path) -> None:
    places = [*(entry for entry in sys.path if "site-packages" in entry), str(Path(bndl.__file__).parents[1])]
    program = f"import sys\nsys.path[:0] = {places!r}\n{PROGRAM.format('abs, -1')}"
    assert run(program, tmp_path, "-I", "-S") == "1"


def test_workers_run_as_the_program_does(tmp_path: Path) -> None:
    call = 'eval, \'__import__("sys").flags.optimize, __import__("sys").warnoptions\''
    assert run(PROGRAM.format(call), tmp_path, "-OO", "-W", "ignore::ResourceWarning") == (
        "(2, ['ignore::ResourceWarning'])"
    )


def test_modules_of_a_folder_that_became_the_current_one_are_found(tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "found_later.py").write_text("def double(x):\n    return 2 * x\n")
    program = """
import os, sys, bndl
sys.path.insert(0, "")
with bndl.connect(workers=2, progress=False) as ctx:
    ctx.submit(abs, -1).result(30)
    os.chdir("later")
    import found_later
    print(ctx.submit(found_later.double, 2).result(30), list(ctx.map(found_later.double, [1, 2])))
    job = bndl.Job()
    job.stage(found_later.double, [3])
    print(ctx.run(job))
"""
    assert run(program, tmp_path).split("\n") == ["4 [2, 4]", "[6]"]


def test_folders_and_files_whose_names_are_not_valid_unicode(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "found_there.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / os.fsdecode(b"secr\xe8t")).write_text("not-for-all")
    program = r"""
import os, sys, warnings
sys.path.insert(0, "")
import bndl, found_there
def fail(path):
    warnings.warn(path)
    raise ValueError(path)
secret = os.fsdecode(b"secr\xe8t")
os.chmod(secret, 0o600)
with bndl.connect(workers=1, progress=False, secret_file=secret) as ctx:
    print(list(ctx.map(found_there.double, [1])))
    try:
        list(ctx.map(fail, [os.getcwd()]))
    except bndl.errors.TaskFailed as error:
        print(ascii(str(error.__cause__)))
    os.mkdir(os.fsdecode(b"\xff"))
    os.chdir(os.fsdecode(b"\xff"))
    with open("found_later.py", "w") as file:
        file.write("def triple(x): return 3 * x")
    import found_later
    print(list(ctx.map(found_later.triple, [1])))
    print(ctx.worker_count)
"""
    double, error, triple, workers = run(program, folder).splitlines()
    assert (double, triple, workers) == ("[2]", "[3]", "1")
    assert "udce9" in error


def test_workers_take_over_what_the_documentation_says(tmp_path: Path) -> None:
    program = """
import os, sys, bndl
os.environ["BEFORE"] = "1"
sys.argv = ["program", "argument"]
sys.setrecursionlimit(7777)
def look():
    return os.environ.get("BEFORE"), os.environ.get("AFTER"), os.getcwd(), sys.argv, sys.getrecursionlimit() == 7777
with bndl.connect(workers=1, progress=False) as ctx:
    ctx.await_workers()
    os.environ["AFTER"] = "1"
    before = os.getcwd()
    os.chdir("/")
    print(ctx.submit(look).result(30) == ("1", None, before, ["-c", "bndl.execute"], False))
"""
    assert run(program, tmp_path) == "True"
