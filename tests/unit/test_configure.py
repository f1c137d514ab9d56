"""Settings come from defaults, files, the environment and arguments, and mistakes are told with where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bndl.cli.main import app
from bndl.config import Config
from bndl.configure import Configured, configure, field_names
from bndl.errors import InvalidOption, InvalidSetting


class Places:
    """A home and a project, each with room for a ``bndl.toml``."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.project = folder / "project"
        self.user_file = self.home / ".config" / "bndl" / "bndl.toml"
        self.project_file = self.project / "bndl.toml"
        self.user_file.parent.mkdir(parents=True)
        self.project.mkdir()

    def configure(self, arguments: Mapping[str, object] | None = None, **variables: str) -> Configured:
        environment = {"HOME": str(self.home), **variables}
        return configure(arguments, environment=environment, folder=self.project)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_without_anything_all_is_default(places: Places) -> None:
    configured = places.configure()
    assert configured.config == Config()
    assert configured.origins == dict.fromkeys(field_names(), "default")


def test_later_layers_win_and_each_value_knows_its_origin(places: Places) -> None:
    places.user_file.write_text("lease = 1\nhello_interval = 1.0\ndrain_timeout = 1\nstop_timeout = 1\n")
    places.project_file.write_text("# ours\nhello_interval = 2\ndrain_timeout = 2\nstop_timeout = 2\n")
    configured = places.configure(
        {"stop_timeout": 4.0, "workers": None}, BNDL_DRAIN_TIMEOUT="3", BNDL_STOP_TIMEOUT="3", PATH="/bin"
    )
    config, origins = configured.config, configured.origins
    assert (config.lease, origins["lease"]) == (1.0, f"{places.user_file}, line 1")
    assert (config.hello_interval, origins["hello_interval"]) == (2.0, f"{places.project_file}, line 2")
    assert (config.drain_timeout, origins["drain_timeout"]) == (3.0, "BNDL_DRAIN_TIMEOUT")
    assert (config.stop_timeout, origins["stop_timeout"]) == (4.0, "argument")
    assert (config.workers, origins["workers"]) == (None, "default")


def test_the_projects_file_is_found_from_below(places: Places) -> None:
    places.project_file.write_text("lease = 7.5\n")
    below = places.project / "a" / "b"
    below.mkdir(parents=True)
    assert configure(environment={"HOME": str(places.home)}, folder=below).config.lease == 7.5


def test_the_users_file_is_where_xdg_says(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "xdg" / "bndl" / "bndl.toml"
    file.parent.mkdir(parents=True)
    file.write_text("lease = 9.0\n")
    assert places.configure(XDG_CONFIG_HOME=str(tmp_path / "xdg")).config.lease == 9.0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lease", "2.5", 2.5),
        ("workers", "3", 3),
        ("store_bytes", "1.5 GiB", 3 << 29),
        ("memory_limit", "1GiB", 1 << 30),
        ("seeds", "tcp/a:1, tcp/b:2", ("tcp/a:1", "tcp/b:2")),
        ("seeds", "", ()),
        ("cluster", "blue", "blue"),
        ("insecure_plaintext", "yes", True),
        ("insecure_plaintext", "0", False),
    ],
)
def test_variables_are_read_by_the_type_of_the_setting(places: Places, name: str, text: str, value: object) -> None:
    assert getattr(places.configure(None, **{f"BNDL_{name.upper()}": text}).config, name) == value


def test_files_have_types_of_their_own(places: Places) -> None:
    places.project_file.write_text('seeds = ["tcp/a:1"]\nlisten = "tcp/b:0"\nstore_bytes = "2 MiB"\nworkers = 2\n')
    config = places.configure().config
    assert (config.seeds, config.listen, config.store_bytes, config.workers) == (("tcp/a:1",), ("tcp/b:0",), 2 << 20, 2)


def test_paths_in_a_file_are_seen_from_its_folder(places: Places) -> None:
    places.project_file.write_text('secret_file = "keys/secret"\ncredentials = "/etc/bndl"\n')
    config = places.configure().config
    assert config.secret_file == str(places.project / "keys" / "secret")
    assert config.credentials == "/etc/bndl"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("leese = 1.0\n", 1, "there is no setting 'leese'. Did you mean lease?"),
        ("\n# so\nqqq = 1\n", 3, "there is no setting 'qqq'. `bndl config` lists all there are."),
        ("lease = 5.0\n[workers]\nnumber = 3\n", 2, "workers must be a whole number"),
        ('lease = "soon"\n', 1, "lease must be a number, not 'soon'"),
        ("workers = true\n", 1, "workers must be a whole number"),
        ("seeds = [1]\n", 1, "seeds must be a list of texts"),
        ("insecure_plaintext = 1\n", 1, "insecure_plaintext must be true or false, not 1"),
        ("\nlease = -1.0\n", 2, "lease must not be negative"),
        ("\nconcurrency = 0\n", 2, "concurrency must be more than 0"),
        ("lease = nan\n", 1, "lease must be a number, got nan"),
        ('cluster = "a/b"\n', 1, "'a/b' cannot name a cluster"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(places: Places, text: str, line: int, message: str) -> None:
    places.project_file.write_text(text)
    with pytest.raises(InvalidSetting) as raised:
        places.configure()
    assert raised.value.where == f"{places.project_file}, line {line}"
    assert str(raised.value).startswith(f"{places.project_file}, line {line}: ")
    assert message in str(raised.value)


def test_a_file_that_is_no_toml_is_told(places: Places) -> None:
    places.project_file.write_text("lease = \n")
    with pytest.raises(InvalidSetting, match=r"bndl\.toml: .*line 1"):
        places.configure()


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("BNDL_LEASES", "3", "there is no setting 'leases'"),
        ("BNDL_LEASE", "soon", "lease must be a number, not 'soon'"),
        ("BNDL_WORKERS", "1.5", "workers must be a whole number"),
        ("BNDL_WORKERS", "two", "workers must be a whole number, not 'two'"),
        ("BNDL_WORKERS", "2 KiB", "workers must be a whole number, not '2 KiB'"),
        ("BNDL_MEMORY_LIMIT", "much", "a size such as '512 MiB'"),
        ("BNDL_MEMORY_LIMIT", "1 GB", r"\(KiB, MiB, GiB, TiB\), not '1 GB'"),
        ("BNDL_MEMORY_LIMIT", "1 KiB", "memory_limit must be 0 or at least 134,217,728"),
        ("BNDL_LEASE", "inf", "lease must be at most 31,536,000 seconds"),
        ("BNDL_CHUNK_BYTES", "0", "chunk_bytes must be at least 1,024"),
        ("BNDL_INSECURE_PLAINTEXT", "perhaps", "must be true or false"),
        ("BNDL_LEASE", "0", "lease must be more than 0"),
        ("BNDL_CLUSTER", "a#b", "'a#b' cannot name a cluster"),
    ],
)
def test_a_mistake_in_a_variable_is_told_with_its_name(places: Places, variable: str, text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as raised:
        places.configure(None, **{variable: text})
    assert raised.value.where == variable


def test_a_secret_in_a_variable_is_refused_and_not_told(places: Places) -> None:
    with pytest.raises(InvalidSetting) as raised:
        places.configure(BNDL_SECRET="hunter2")  # noqa: S106 - the point of the test
    assert "hunter2" not in str(raised.value)


def test_a_mistake_in_an_argument_is_no_matter_of_files(places: Places) -> None:
    with pytest.raises(InvalidOption, match="lease must be more than 0") as raised:
        places.configure({"lease": 0.0})
    assert not isinstance(raised.value, InvalidSetting)


def test_with_a_base_nothing_else_is_read(places: Places) -> None:
    places.project_file.write_text("lease = 9.0\nnonsense = 1\n")
    base = Config(hello_interval=2.0)
    config = configure({"workers": 3}, base=base, environment={"BNDL_LEASE": "3"}, folder=places.project).config
    assert config == Config(hello_interval=2.0, workers=3)


def test_a_file_that_others_can_write_is_not_trusted(places: Places) -> None:
    places.project_file.write_text("lease = 9.0\n")
    places.project_file.chmod(0o666)
    with pytest.raises(InvalidSetting, match="is not trusted"):
        places.configure()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_trusted(places: Places) -> None:
    places.project_file.write_text("lease = 9.0\n")
    os.chown(places.project_file, 12345, -1)
    with pytest.raises(InvalidSetting, match="belongs to another user"):
        places.configure()


def test_bndl_config_prints_each_value_with_its_origin(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places.project_file.write_text("lease = 7.5\n")
    monkeypatch.chdir(places.project)
    monkeypatch.setenv("HOME", str(places.home))
    monkeypatch.setenv("BNDL_SEEDS", "tcp/a:1,tcp/b:2")
    monkeypatch.setenv("COLUMNS", "200")
    app(["config"], standalone_mode=False)
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()}
    assert rows["lease"].split() == ["7.5", f"{places.project_file},", "line", "1"]
    assert rows["seeds"].split() == ["tcp/a:1,", "tcp/b:2", "BNDL_SEEDS"]
    assert rows["workers"].split() == ["-", "default"]
    assert list(rows) == ["setting", *field_names()]
