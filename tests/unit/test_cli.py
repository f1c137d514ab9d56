"""What the command line takes, what it refuses, and what it says about that."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import bndl
from bndl.cli import demo, main, settings, shell
from bndl.cli.main import app
from bndl.cli.settings import ConnectSettings
from bndl.errors import NoWorkers

COMMANDS = ["demo", "run", "shell"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def no_connection(**_: object) -> object:
    raise AssertionError("bad input has to be refused before workers are started")


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "connect", no_connection)
    monkeypatch.setattr(settings, "connect", no_connection)


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if name not in result.output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "--workers" in result.output


def test_version() -> None:
    result = call("--version")
    assert (result.exit_code, result.output) == (0, f"bndl {bndl.__version__}\n")


def test_help_loads_neither_the_network_nor_the_pickler() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bndl.cli.main import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print([name for name in ('zenoh', 'cloudpickle', 'msgspec', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--workers", "0"],
        ["demo", "--workers", "two"],
        ["demo", "--concurrency", "0"],
        ["demo", "--top", "0"],
        ["run"],
        ["shell", "--workers", "0"],
    ],
    ids=" ".join,
)
def test_bad_options_are_refused(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


class TestDemo:
    def test_a_path_that_is_not_there(self, tmp_path: Path) -> None:
        result = call("demo", str(tmp_path / "gone"))
        assert result.exit_code == 2
        assert result.stderr.startswith("bndl demo: no file or folder at ")
        assert result.stderr.count("\n") == 1

    def test_a_folder_without_code(self, tmp_path: Path) -> None:
        result = call("demo", str(tmp_path))
        assert result.exit_code == 2
        assert result.stderr == f"bndl demo: no .py files in {tmp_path}: give a folder with Python code, or no path\n"

    def test_a_text_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "x.py").touch()
        result = call("demo", str(tmp_path), "--text", str(tmp_path))
        assert result.exit_code == 2
        assert "Is a directory" in result.stderr
        assert result.stderr.count("\n") == 1

    def test_the_job_has_no_more_merge_tasks_than_files(self) -> None:
        job = demo.make_job(["a.py", "b.py"], parts=8, top=1)
        assert [(stage.name, len(stage)) for stage in job.stages] == [("parse", 2), ("merge", 2), ("rank", 1)]
        assert job.options.attempts == 3


class TestRun:
    def test_a_script_that_is_not_there(self) -> None:
        result = call("run", "no such script.py")
        assert result.exit_code == 2
        assert result.stderr == (
            "bndl: can't open file 'no such script.py': No such file or directory; give the path of a Python script\n"
        )

    def test_a_folder_without_a_main_module_is_no_script(self, tmp_path: Path) -> None:
        result = call("run", str(tmp_path))
        assert result.exit_code == 2
        assert "can't find '__main__' module" in result.stderr

    def test_what_comes_after_the_script_is_the_scripts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        got: list[object] = []
        monkeypatch.setattr("bndl.cli.run.run_script", lambda *arguments, **_: got.extend(arguments))
        options = ["--workers", "3", "--concurrency", "2", "--seeds", "tcp/a:1", "--seeds", "tcp/b:2"]
        assert call("run", *options, "--secret-file", "s", "x.py", "--workers", "9", "--", "-x").exit_code == 0
        assert got == ["x.py", ["--workers", "9", "--", "-x"], ConnectSettings(3, 2, ("tcp/a:1", "tcp/b:2"), Path("s"))]


class TestShell:
    def test_its_options(self, monkeypatch: pytest.MonkeyPatch) -> None:
        got: list[ConnectSettings] = []
        monkeypatch.setattr(shell, "run_shell", got.append)
        assert call("shell", "--workers", "3").exit_code == 0
        assert got == [ConnectSettings(3)]


def test_an_error_of_bndl_ends_the_command_with_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: ConnectSettings) -> None:
        raise NoWorkers("no worker connected; start one")

    monkeypatch.setattr(shell, "run_shell", fail)
    monkeypatch.setattr(sys, "argv", ["bndl", "shell"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "no worker connected; start one\n"
