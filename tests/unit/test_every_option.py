"""Every option of every entry point has an effect, or is refused.

The options are read from the signatures: a new one fails here until it has a value, and then until the value arrives.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import bndl
from bndl.cli.cluster import init_cluster
from bndl.cli.main import app
from bndl.config import Config
from bndl.context import connect as connecting
from bndl.context.connect import connect
from bndl.context.view import ViewOptions
from bndl.context.waiting import Mailbox
from bndl.driver.execution import Execution
from bndl.driver.jobs import Job
from bndl.driver.options import JobOptions, Retry, TaskOptions
from bndl.driver.preparing import prepare
from bndl.driver.tasks import Task
from bndl.errors import InvalidOption
from bndl.net.credentials import Credentials
from bndl.schedule.events import JobSpec
from bndl.testing.world import World


def locality(workers: Any) -> list[tuple[Any, int]]:
    return [(worker, 1) for worker in workers]


#: A value for each, which differs from the default.
VALUES: Mapping[str, Any] = {
    "attempts": 4,
    "timeout": 7.0,
    "priority": 5,
    "retry": Retry(attempts=2),
    "locality": locality,
    "concurrency": 2,
    "max_failures": 1,
    "speculate": True,
    "name": "renamed",
}
#: What a task has and what a job or a stage has.
TASK = list(TaskOptions.__annotations__)
JOB = list({**TaskOptions.__annotations__, **JobOptions.__annotations__})


class Seen:
    """What reaches the driver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver = World(1).driver
        self.what: list[object] = []
        monkeypatch.setattr(self.driver, "submit", self._submit)
        monkeypatch.setattr(
            self.driver, "add_tasks", lambda _, __, tasks: self.what.extend(task.name for task in tasks)
        )

    def _submit(self, execution: Execution, spec: JobSpec) -> None:
        job = execution
        self.what += [job.name.replace("map ", ""), spec.concurrency]
        for run, stage in zip(job.stages, spec.stages, strict=True):
            numbers = {"stage", "tasks", "after"}
            settings = [getattr(stage, name) for name in stage.__struct_fields__ if name not in numbers]
            by_task = [list(each.values()) if isinstance(each, Mapping) else each for each in settings]
            kinds = [each.retry.types for each in (run.options, *run.task_options.values())]
            self.what += [task.name for task in run.tasks.values()]
            self.what += [run.name, by_task, run.locality, list(run.task_localities.values()), run.max_failures, kinds]

    def run(self, job: Job) -> None:
        self._submit(*prepare(self.driver, job, Mailbox()))


def make_context(seen: Seen) -> bndl.Context:
    """A context whose driver executes nothing."""
    nothing = SimpleNamespace(workers=[], check_hope=lambda: None, follow=lambda: None)
    node: Any = SimpleNamespace(driver=seen.driver, membership=nothing, search_path=nothing)
    return bndl.Context(node, show_progress=False)


def make_job(**options: Any) -> Job:
    job = Job(**{"name": "job", **options})
    job.stage(abs, [1], name="stage")
    return job


def make_stage(**options: Any) -> Job:
    job = Job("job")
    job.stage(abs, [1], **options)
    return job


def make_task(**options: Any) -> Job:
    job = Job("job")
    job.stage(tasks=[Task(abs, 1).options(**options)], name="stage")
    return job


Use = Callable[[Seen, Any], object]
ENTRIES: dict[str, tuple[list[str], Use]] = {
    "Job": ([*JOB, "name"], lambda seen, given: seen.run(make_job(**given))),
    "job.stage": ([*JOB, "name"], lambda seen, given: seen.run(make_stage(**given))),
    "Task.options": ([*TASK, "name"], lambda seen, given: seen.run(make_task(**given))),
    "ctx.map": (JOB, lambda seen, given: make_context(seen).map(abs, [1], **given)),
    "ctx.options.map": ([*TASK, "name"], lambda seen, given: make_context(seen).options(**given).map(abs, [1])),
    "ctx.options.submit": ([*TASK, "name"], lambda seen, given: make_context(seen).options(**given).submit(abs, 1)),
}


@pytest.mark.parametrize(
    ("entry", "option"), [(entry, option) for entry, (options, _) in ENTRIES.items() for option in options]
)
def test_an_option_of_work_arrives(monkeypatch: pytest.MonkeyPatch, entry: str, option: str) -> None:
    use = ENTRIES[entry][1]
    without, again, given = (Seen(monkeypatch) for _ in range(3))
    use(without, {})
    use(again, {})
    use(given, {option: VALUES[option]})
    assert without.what == again.what != []
    assert given.what != without.what


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_option_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    options, use = ENTRIES[entry]
    for option in {*VALUES, "resources", "nonsense"} - {*options}:
        with pytest.raises((TypeError, InvalidOption), match=option):
            use(Seen(monkeypatch), {option: VALUES.get(option, 1)})


def test_a_view_has_no_option_that_is_not_looked_at() -> None:
    assert set(ViewOptions.__annotations__) == {*TASK, "name", "resources"}


RETRY: Mapping[str, Any] = {
    "attempts": 5,
    "on": OSError,
    "backoff": 1.5,
    "factor": 3.0,
    "jitter": 0.5,
    "elsewhere": False,
    "losses": 7,
}


@pytest.mark.parametrize("option", [each.name for each in fields(Retry)])
def test_a_field_of_a_retry_arrives(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    without, given = Seen(monkeypatch), Seen(monkeypatch)
    without.run(make_job(retry=Retry()))
    given.run(make_job(retry=Retry(**{option: RETRY[option]})))
    assert given.what != without.what


SOURCES = Path(bndl.__file__).parent


def test_each_setting_is_read_somewhere() -> None:
    paths = [path for path in SOURCES.rglob("*.py") if path.name not in {"config.py", "configure.py"}]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    read = set(re.findall(r"(?:config|settings)\.(?=(\w+))", text))
    assert [each.name for each in fields(Config) if each.name not in read] == []


class Deployed:
    expected = 0

    def prepare(self, config: Config) -> tuple[Config, Credentials]:
        return config, Credentials("s" * 32)

    def start(self, cluster: str, seeds: tuple[str, ...]) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Any]:
    """Files that options name."""
    with contextlib.redirect_stdout(io.StringIO()):
        init_cluster(tmp_path / "made", ["host"], 10)
    folder = tmp_path / "made" / "host"
    return {"secret_file": folder / "secret", "credentials": folder}


CONNECT: Mapping[str, Any] = {
    "workers": 3,
    "concurrency": 2,
    "max_concurrency": 5,
    "seeds": ["tcp/127.0.0.1:1"],
    "listen": ["tcp/127.0.0.1:0"],
    "insecure_plaintext": True,
    "cluster": "blue",
    "mesh": False,
    "deploy": Deployed(),
    "progress": True,
    "config": Config(lease=3.0),
}


@pytest.mark.parametrize("option", inspect.signature(connect).parameters)
def test_an_option_of_connect_arrives(monkeypatch: pytest.MonkeyPatch, files: Mapping[str, Any], option: str) -> None:
    seen: list[object] = []

    class Stopped(Exception):
        pass

    def make(node: object, *, show_progress: bool) -> None:
        seen.extend([node, show_progress])
        raise Stopped

    monkeypatch.setattr(connecting, "DriverNode", lambda **given: given)
    monkeypatch.setattr(connecting, "Context", make)
    base = {"workers": 1, "secret_file": files["secret_file"]} if option not in {"workers", "secret_file"} else {}
    for given in (base, {**base, option: {**CONNECT, **files}[option]}):
        with pytest.raises(Stopped):
            connect(**given)
    assert seen[:2] != seen[2:]


#: What does the work of each command: where it is imported from, and its name.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "cluster add": ("cluster", "add_hosts"),
    "cluster check": ("check", "check_cluster"),
    "cluster init": ("cluster", "init_cluster"),
    "config": ("config", "print_config"),
    "demo": ("demo", "run_demo"),
    "profile": ("profile", "profile_script"),
    "router": ("router", "run_router"),
    "run": ("run", "run_script"),
    "shell": ("shell", "run_shell"),
    "worker": ("worker", "run_worker"),
}
#: What commands take besides options.
ARGUMENTS = {"cluster add": ["folder", "host"], "cluster check": ["tcp/a:1"], "cluster init": ["folder"]}
ARGUMENTS |= {"profile": ["script.py"], "run": ["script.py"]}
WORDS = {"--mode": "tracing", "--clock": "wall", "--mesh": "--no-mesh"}


def list_commands() -> dict[str, list[Any]]:
    """The options of each command."""
    root: Any = typer.main.get_command(app)
    commands = {name: each for name, each in root.commands.items() if name != "cluster"}
    commands |= {f"cluster {name}": each for name, each in root.commands["cluster"].commands.items()}
    return {
        name: [each for each in command.params if each.param_type_name == "option"]
        for name, command in commands.items()
    }


@pytest.mark.parametrize(
    ("command", "option"),
    [(name, option) for name, options in list_commands().items() for option in options if option.name != "help"],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_an_option_of_a_command_arrives(monkeypatch: pytest.MonkeyPatch, command: str, option: Any) -> None:
    module, function = COMMANDS[command]
    seen: list[object] = []
    target = importlib.import_module(f"bndl.cli.{module}")
    monkeypatch.setattr(target, function, lambda *args, **kwargs: seen.append((args, kwargs)))
    flag = option.opts[0]
    value = [] if option.is_flag else [WORDS.get(flag, "3")]
    given = [WORDS[flag]] if flag == "--mesh" else [flag, *value]
    words = command.split()
    for arguments in ([], given):
        result = CliRunner().invoke(app, [*words, *arguments, *ARGUMENTS.get(command, [])])
        assert result.exit_code == 0, result.output
    without, with_it = seen
    assert without != with_it
