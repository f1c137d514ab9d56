"""``bndl profile`` as a process."""

import json
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BNDL = [sys.executable, "-c", "from bndl.cli.main import main; main()"]
SCRIPT = """
import os, sys
def work(n):
    return sum(i * i for i in range(n))
print(sum(ctx.map(work, [1000] * 20)), sys.argv[1:])
os.chdir("/")
if sys.argv[1:] == ["fail"]:
    raise SystemExit(3)
"""


def profile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT)
    command = [*BNDL, "profile", "--workers", "1", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=40)


def test_a_script_is_run_and_a_report_written(tmp_path: Path) -> None:
    done = profile(tmp_path, "--mode", "tracing", "script.py", "one", "--two")
    assert (done.returncode, done.stdout) == (0, "6656670000 ['one', '--two']\n"), done.stderr
    assert done.stderr.splitlines()[-1] == "bndl: wrote profile.html"
    page = (tmp_path / "profile.html").read_text()
    assert '["work","script.py:3"]' in page
    assert "map work / work" in page


def test_it_samples_unless_told_otherwise(tmp_path: Path) -> None:
    report = tmp_path / "out.pstats"
    done = profile(tmp_path, "-o", report.name, "script.py")
    assert done.returncode == 0, done.stderr
    # Sampling counts no calls: 20 tasks of 1,000 steps would be more than 20,000.
    calls = [counts[1] for counts in marshal.loads(report.read_bytes()).values()]  # noqa: S302 - made a line before
    assert sum(calls) < 1000


def test_settings_are_heeded_as_by_bndl_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("ctx.await_workers(1); print(ctx.workers[0].concurrency)")

    def start(command: str, settings: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "bndl.toml").write_text(settings)
        arguments = [*BNDL, command, "--workers", "1", "script.py"]
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=40)

    for command in ("run", "profile"):
        done = start(command, "concurrency = 3\n")
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
        done = start(command, 'seeds = ["tcp/127.0.0.1:1"]\n')
        assert done.returncode != 0
        assert "secret" in done.stderr  # which takes seeds


def test_a_script_that_fails_has_a_report_as_well(tmp_path: Path) -> None:
    report = tmp_path / "out.speedscope.json"
    done = profile(tmp_path, "--mode", "sampling", "--interval", "0.002", "-o", report.name, "script.py", "fail")
    assert done.returncode == 3, done.stderr
    assert json.loads(report.read_text())["profiles"][0]["name"] == "all"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-o", "report.txt"), "'report.txt' is no kind of report; let it end in one of .html, .speedscope.json"),
        (("-o", "nowhere/report.html"), "cannot write to 'nowhere/report.html' (No such file or directory)"),
        (("--mode", "magic"), "--mode must be one of tracing, sampling, got 'magic'."),
        (("--clock", "sun"), "--clock must be one of cpu, wall, got 'sun'."),
        (("--mode", "sampling", "--clock", "wall"), "--clock cannot be 'wall' with sampling, which has the CPU clock"),
        (("--mode", "tracing", "--interval", "0.01"), "--interval has no meaning with tracing; sample"),
        (("--mode", "tracing", "--native"), "--native has no meaning with tracing; sample, or leave it out."),
        (("--interval", "0"), "--interval must be more than 0, got 0.0: seconds between two samples."),
        (("--interval", "0.0001"), "--interval must be at least 0.0005, got 0.0001: seconds between two samples."),
    ],
)
def test_bad_input_is_refused_before_anything_runs(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = profile(tmp_path, *arguments, "script.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"bndl profile: {complaint}" in done.stderr
